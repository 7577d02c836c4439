package weixin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

// CallerConfig is an application that may use the proxy. Once there is a
// caller, nothing passes without the key of one.
type CallerConfig struct {
	// The key by which the application proves itself: as the `secret` it asks
	// for a token with, or in a header `Authorization: Bearer <key>`. Write it
	// as a placeholder, such as `{env.ORDERS_KEY}` or
	// `{file./run/secrets/orders}`: placeholders are resolved when the
	// configuration is loaded, and the key itself appears nowhere. Required.
	Key string `json:"key,omitempty"`

	// The names of the accounts it may use. That of a platform stands for it and all
	// accounts that have authorised it, `<platform>:<appid>` for one of those, and
	// `<platform>:*` for all of those without the platform itself. Default: all.
	Accounts []string `json:"accounts,omitempty"`

	// The paths it may call, as in Caddy's path matcher. Tokens it may always
	// ask for. Default: every path.
	Allow []string `json:"allow,omitempty"`

	// The addresses it may call from, as IPs or CIDR ranges; `private_ranges`
	// stands for all loopback and private ranges. Default: anywhere.
	IPs []string `json:"ips,omitempty"`
}

var callerForms = option.Forms{
	"key":      `"{env.ORDERS_KEY}"`,
	"accounts": `["shop"]`,
	"allow":    `["/cgi-bin/message/*"]`,
	"ips":      `["10.0.0.0/8"]`,
}

// UnmarshalJSON decodes a caller's options.
func (c *CallerConfig) UnmarshalJSON(data []byte) error {
	type plain CallerConfig
	return option.Decode(data, (*plain)(c), callerForms)
}

// addCaller adds a caller to those of the registry. It may use what is served.
func addCaller(ctx caddy.Context, values option.Values, s *served, registry *gateway.Registry, name string, cfg *CallerConfig) error {
	if err := option.CheckName(name); err != nil {
		return err
	}
	owner := "caller " + name
	key, err := values.Resolve(owner, option.Key, cfg.Key)
	if err != nil {
		return err
	}
	if err := s.checkKey(key); err != nil {
		return values.Wrong(owner, option.Key, err)
	}
	c := &gateway.Caller{Name: name, Accounts: cfg.Accounts}
	if other := registry.AddCaller(c, key); other != nil {
		return values.Wrong(owner, option.Key, fmt.Errorf("its key is that of caller %s already: give every caller a key of its own", other.Name))
	}
	for name, list := range map[string][]string{"accounts": cfg.Accounts, "allow": cfg.Allow, "ips": cfg.IPs} {
		if list != nil && len(list) == 0 {
			return fmt.Errorf("%s is empty: name some, or leave it out for all", name)
		}
	}
	values.WarnOfLiteral(owner, option.Key, cfg.Key)
	for _, name := range cfg.Accounts {
		if err := s.checkCallersAccount(name); err != nil {
			return values.Wrong(owner, "accounts", err)
		}
	}
	if err := gateway.CheckPathPatterns(cfg.Allow); err != nil {
		return err
	}
	c.Allow = slices.Clone(caddyhttp.MatchPath(cfg.Allow))
	if err := c.Allow.Provision(ctx); err != nil {
		return err
	}
	if c.IPs, err = gateway.ParseRanges(cfg.IPs); err != nil {
		return fmt.Errorf("ips: %w", err)
	}
	return nil
}

// checkCallersAccount refuses what is not the name of an account or a platform,
// nor of a platform's authorizers: <platform>:<appid>, or <platform>:* for all.
func (s *served) checkCallersAccount(name string) error {
	if s.named(name) != nil {
		return nil
	}
	of, appID, ok := strings.Cut(name, ":")
	switch {
	case !ok:
		return fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(s.names(), ", "))
	case s.accounts.Named(of) != nil:
		return fmt.Errorf("%s is no account: %s is no platform that others could have authorised, so write it alone", name, of)
	case s.platforms.named(of) == nil && len(s.platforms.all) == 0:
		return fmt.Errorf("%s is no account: there is no platform %s; write one of %s", name, of, strings.Join(s.names(), ", "))
	case s.platforms.named(of) == nil:
		return fmt.Errorf("%s is no account: there is no platform %s; write one of %s before the colon", name, of, strings.Join(s.platforms.names(), ", "))
	case appID == "*":
		return nil
	case appID == "":
		return fmt.Errorf("%s has no appid behind the colon: write %[1]s* for all accounts that have authorised the platform, or %[2]s for the platform as well", name, of)
	}
	return option.CheckAppID(appID)
}

// checkKey refuses keys that could be guessed, or are worth more than a key.
func (s *served) checkKey(key string) error {
	for a := range s.accounts.All() {
		if a.Credentials.Secret == key {
			return fmt.Errorf("its key is the AppSecret of account %s: give the caller a key of its own, such as `openssl rand -hex 16` gives", a.Name)
		}
	}
	for _, a := range s.platforms.components() {
		if a.Credentials.Secret == key {
			return fmt.Errorf("its key is the AppSecret of platform %s: give the caller a key of its own, such as `openssl rand -hex 16` gives", a.Name)
		}
	}
	return checkKey(key)
}

// minKeyLength is how many characters a caller's key has at least.
const minKeyLength = 16

// checkKey refuses keys that could be guessed.
func checkKey(key string) error {
	if scheme, _, ok := strings.Cut(key, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return errors.New("key has Bearer before it, which callers write in their requests: leave it out")
	}
	if n := utf8.RuneCountInString(key); n < minKeyLength {
		return fmt.Errorf("key has %d characters, and could be guessed: write one of %d at least, such as `openssl rand -hex 16` gives", n, minKeyLength)
	}
	return nil
}
