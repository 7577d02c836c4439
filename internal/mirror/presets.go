package mirror

import (
	"crypto/md5" //nolint:gosec // PowerWeChat's keys have it
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// plain is the value itself.
func plain(value Value, _ time.Duration) string { return value.Text }

// jsonString is the value as a JSON string.
func jsonString(value Value, _ time.Duration) string { return marshal(value.Text) }

// jsonExpiry is when the value ends, as a JSON number of seconds.
func jsonExpiry(value Value, _ time.Duration) string {
	return strconv.FormatInt(value.ExpiresAt.Unix(), 10)
}

// jsonToken is the token endpoint's answer.
func jsonToken(value Value, left time.Duration) string {
	return marshal(struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}{value.Text, int64(left / time.Second)})
}

// jsonTicket is the answer of the ticket's API.
func jsonTicket(value Value, left time.Duration) string {
	return marshal(struct {
		Errcode   int    `json:"errcode"`
		Errmsg    string `json:"errmsg"`
		ExpiresIn int64  `json:"expires_in"`
		Ticket    string `json:"ticket"`
	}{0, "ok", int64(left / time.Second), value.Text})
}

// marshal encodes strings and numbers, which cannot fail.
func marshal(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// wxJavaPlaces are those of WxJava's MP, MA and channel modules, or of its CP
// module. Each takes a key to be valid while it has 2 s to live.
func wxJavaPlaces(prefix string, a Account, t Type) []place {
	if a.Kind == WeCom {
		return wxJavaCPPlaces(prefix, a, t)
	}
	name := "access_token:" + a.ID
	if t != AccessToken {
		name = "ticket:key:" + a.ID + ":" + t.ticketName()
	}
	return []place{{key: orDefault(prefix, "wx")[0] + ":" + name, form: plain}}
}

func wxJavaCPPlaces(prefix string, a Account, t Type) []place {
	name := map[Type]string{
		AccessToken: "wechat_cp_access_token_key",
		JSAPITicket: "wechat_cp_jsapi_ticket_key",
		AgentTicket: "wechat_cp_agent_jsapi_ticket_key",
	}[t]
	key := joined(":", name, a.ID, a.AgentID)
	var found []place
	// The preset's own default, the Spring starter's, and the class's, which has
	// none: which the application uses cannot be known.
	for _, p := range orDefault(prefix, "wx", "wx:cp", "") {
		// The module adds no second colon.
		found = append(found, place{key: joined(":", strings.TrimSuffix(p, ":"), key), form: plain})
	}
	return found
}

// What silenceper takes off the life of what it has fetched.
const (
	silenceperMargin       = 1500 * time.Second
	silenceperStableMargin = 300 * time.Second
)

// silenceperPlaces are those of official account and mini program, for classic
// and for stable tokens: this cannot be known either.
func silenceperPlaces(prefix string, a Account, t Type) []place {
	if a.Kind == WeCom {
		return silenceperWorkPlaces(orDefault(prefix, "gowechat_work_")[0], a, t)
	}
	var found []place
	switch t {
	case AccessToken:
		for _, p := range orDefault(prefix, "gowechat_officialaccount_", "gowechat_miniprogram_") {
			found = append(
				found,
				place{key: p + "_access_token_" + a.ID, form: plain, margin: silenceperMargin},
				place{key: p + "_stable_access_token_" + a.ID, form: plain, margin: silenceperStableMargin},
			)
		}
	case JSAPITicket:
		p := orDefault(prefix, "gowechat_officialaccount_")[0]
		found = append(found, place{key: p + "_jsapi_ticket_" + a.ID, form: plain, margin: silenceperMargin})
	default:
	}
	return found
}

// silenceperWorkPlaces are those of the WeCom module. In older versions, and
// where the application sets no agentid, a token's key has the corporation alone.
func silenceperWorkPlaces(prefix string, a Account, t Type) []place {
	var keys []string
	switch {
	case t == AccessToken:
		if a.AgentID != "" {
			keys = append(keys, prefix+"_access_token_"+a.ID+"_"+a.AgentID)
		}
		if !a.SharedCorp {
			keys = append(keys, prefix+"_access_token_"+a.ID)
		}
	case t == JSAPITicket:
		keys = append(keys, prefix+"_corp_jsapi_ticket_"+a.ID)
	case t == AgentTicket && a.AgentID != "":
		keys = append(keys, prefix+"_agent_jsapi_ticket_"+a.ID+"_"+a.AgentID)
	}
	var found []place
	for _, key := range keys {
		found = append(found, place{key: key, form: plain, margin: silenceperMargin})
	}
	return found
}

// wechatpySecretLength is how much of a WeCom secret wechatpy has in its key.
const wechatpySecretLength = 10

// wechatpyPlaces are those of wechatpy's session. A token without an
// …_expires_at is one of the application's own, and used as it is; one that
// wechatpy itself has left behind would make it fetch again. Tickets need theirs.
func wechatpyPlaces(prefix string, a Account, t Type) []place {
	p := orDefault(prefix, "wechatpy")[0] + ":" + a.ID
	if t == AccessToken {
		key := p + "_access_token"
		if a.Kind == WeCom {
			key = p + "_" + a.Secret[:min(len(a.Secret), wechatpySecretLength)] + "_access_token"
		}
		return []place{{key: p + "_access_token_expires_at"}, {key: key, form: jsonString}}
	}
	name, ok := map[Type]string{JSAPITicket: "_jsapi_ticket", CardTicket: "_jsapi_card_ticket", AgentTicket: "_agent_jsapi_ticket"}[t]
	if !ok || t == AgentTicket && a.SharedCorp {
		return nil
	}
	return []place{{key: p + name, form: jsonString}, {key: p + name + "_expires_at", form: jsonExpiry}}
}

// powerWeChatTicketMargin is what PowerWeChat takes off a ticket's life.
const powerWeChatTicketMargin = 500 * time.Second

func powerWeChatPlaces(prefix string, a Account, t Type) []place {
	p := orDefault(prefix, "powerwechat")[0]
	switch {
	case t == AccessToken:
		sum := md5.Sum([]byte(a.ID + a.Secret)) //nolint:gosec // likewise
		return []place{{key: p + ".access_token." + hex.EncodeToString(sum[:]), form: jsonToken}}
	case t != AgentTicket:
		return []place{{key: p + ".basic_service.jssdk.ticket." + t.ticketName() + "." + a.ID, form: jsonTicket, margin: powerWeChatTicketMargin}}
	case a.AgentID != "":
		return []place{{key: p + ".work.jssdk.ticket." + a.AgentID + "." + t.ticketName() + "." + a.ID, form: jsonTicket, margin: powerWeChatTicketMargin}}
	}
	return nil
}
