// Package mirror writes tokens and tickets where SDKs look for one themselves: in
// Redis, under the SDK's own key, in its form and with its time to live. An
// application that calls WeChat directly then uses the proxy's token and never
// fetches one.
//
// What is written is real: whoever reads that Redis can use it.
//
// Package mirror knows where each SDK looks; when something is written is its
// caller's to decide: each new value, each value again within RewriteWithin, and
// Remove as soon as there is none that can be used.
package mirror

import (
	"fmt"
	"strings"
	"time"
)

// Preset is an SDK whose keys are known.
type Preset string

// The presets.
const (
	WxJava      Preset = "wxjava"      // with Jedis or RedisTemplate; Redisson has a form of its own
	Silenceper  Preset = "silenceper"  // github.com/silenceper/wechat
	Wechatpy    Preset = "wechatpy"    // with its RedisStorage
	PowerWeChat Preset = "powerwechat" // github.com/ArtisanCloud/PowerWeChat
)

// ParsePreset returns the preset of a name.
func ParsePreset(name string) (Preset, error) {
	switch p := Preset(name); p {
	case WxJava, Silenceper, Wechatpy, PowerWeChat:
		return p, nil
	}
	return "", fmt.Errorf("there is no preset %q: write one of wxjava, silenceper, wechatpy, powerwechat", name)
}

// Kind is what kind of account a value is of.
type Kind uint8

// The kinds that SDKs have keys for.
const (
	Official Kind = iota // official accounts and mini programs
	WeCom
)

// Account is whose values are written.
type Account struct {
	Kind    Kind
	ID      string // the appid, or the corpid
	AgentID string // of WeCom, "" where it is not known

	// Secret is part of some SDKs' keys, hashed or cut short.
	Secret string

	// SharedCorp means that another account of the corporation is mirrored to
	// the same place. Keys that have no agentid where the value is an agent's
	// would be its too, so they are left out.
	SharedCorp bool
}

// String hides the secret.
func (a Account) String() string { return "mirror.Account{" + a.ID + " " + a.AgentID + "}" }

// GoString hides the secret.
func (a Account) GoString() string { return a.String() }

// Type is what kind of value is written.
type Type uint8

// The types of values.
const (
	AccessToken Type = iota
	JSAPITicket      // for wx.config; of WeCom the corporation's
	CardTicket       // type wx_card of official accounts
	SDKTicket        // type 2 of official accounts
	AgentTicket      // for wx.agentConfig, of WeCom
)

// ticketName is WeChat's name of a type of tickets.
func (t Type) ticketName() string {
	switch t {
	case JSAPITicket:
		return "jsapi"
	case CardTicket:
		return "wx_card"
	case SDKTicket:
		return "2"
	case AgentTicket:
		return "agent_config"
	default:
		return ""
	}
}

// Value is a token or a ticket.
type Value struct {
	Type      Type
	Text      string
	ExpiresAt time.Time
}

// String hides the value.
func (v Value) String() string { return "mirror.Value{" + v.ExpiresAt.String() + "}" }

// GoString hides the value.
func (v Value) GoString() string { return v.String() }

// Entry is one key in Redis.
type Entry struct {
	Key string

	// Value is what the SDK reads. A key without a value must not be there.
	Value string

	TTL time.Duration
}

// String hides key and value: some SDKs have a part of the secret in their keys.
func (e Entry) String() string { return "mirror.Entry{" + e.TTL.String() + "}" }

// GoString hides key and value.
func (e Entry) GoString() string { return e.String() }

const (
	// RewriteWithin is how often each value has to be written again at least.
	RewriteWithin = 10 * time.Minute

	// shortestTTL keeps a key until it is written again, while its value is good.
	shortestTTL = RewriteWithin + 5*time.Minute

	// shortestLife is what the pickiest SDK takes for a live value.
	shortestLife = 2 * time.Second
)

// Entries returns what an SDK reads for a value: none where it reads nothing of
// the type, or where the value is at its end. A prefix that is not "" replaces
// the SDK's own.
func Entries(preset Preset, prefix string, account Account, value Value, now time.Time) []Entry {
	left := value.ExpiresAt.Sub(now)
	if value.Text == "" || left < shortestLife {
		return nil
	}
	var entries []Entry
	for _, place := range places(preset, prefix, account, value.Type) {
		e := Entry{Key: place.key}
		if place.form != nil {
			e.Value, e.TTL = place.form(value, left), timeToLive(left, place.margin)
		}
		entries = append(entries, e)
	}
	return entries
}

// Keys returns the keys of all entries for a type of values.
func Keys(preset Preset, prefix string, account Account, t Type) []string {
	var keys []string
	for _, place := range places(preset, prefix, account, t) {
		keys = append(keys, place.key)
	}
	return keys
}

// timeToLive returns how long a key stays. An SDK takes margin off the life of
// what it has fetched. The proxy's token may be younger than that: it is good to
// its end and replaced before, so the key must not go earlier than it is written
// again.
func timeToLive(left, margin time.Duration) time.Duration {
	return max(left-margin, min(left, shortestTTL)).Truncate(time.Second)
}

// place is a key and the form of what stands there. A place without a form is a
// key that must not be there.
type place struct {
	key    string
	form   func(value Value, left time.Duration) string
	margin time.Duration
}

// places returns where an SDK looks for a type of values.
func places(preset Preset, prefix string, account Account, t Type) []place {
	if account.Kind == WeCom && (t == CardTicket || t == SDKTicket) || account.Kind == Official && t == AgentTicket {
		return nil
	}
	switch preset {
	case WxJava:
		return wxJavaPlaces(prefix, account, t)
	case Silenceper:
		return silenceperPlaces(prefix, account, t)
	case Wechatpy:
		return wechatpyPlaces(prefix, account, t)
	case PowerWeChat:
		return powerWeChatPlaces(prefix, account, t)
	default:
		return nil
	}
}

// orDefault returns the prefixes to write under.
func orDefault(prefix string, defaults ...string) []string {
	if prefix != "" {
		return []string{prefix}
	}
	return defaults
}

// joined returns the parts that are not empty.
func joined(separator string, parts ...string) string {
	var some []string
	for _, part := range parts {
		if part != "" {
			some = append(some, part)
		}
	}
	return strings.Join(some, separator)
}
