package weixin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
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

// addCaller resolves one caller.
func (app *App) addCaller(ctx caddy.Context, name string, cfg *CallerConfig) error {
	if err := checkName(name); err != nil {
		return err
	}
	if cfg == nil {
		cfg = new(CallerConfig)
	}
	owner := "caller " + name
	key, err := app.resolve(owner, optionKey, cfg.Key)
	if err != nil {
		return err
	}
	if err := app.checkKey(key); err != nil {
		return fmt.Errorf("%w%s", err, app.positions.of(owner, optionKey))
	}
	c := &gateway.Caller{Name: name, Accounts: cfg.Accounts}
	if other := app.registry.AddCaller(c, key); other != nil {
		return fmt.Errorf("its key is that of caller %s already: give every caller a key of its own%s", other.Name, app.positions.of(owner, optionKey))
	}
	for option, values := range map[string][]string{"accounts": cfg.Accounts, "allow": cfg.Allow, "ips": cfg.IPs} {
		if values != nil && len(values) == 0 {
			return fmt.Errorf("%s is empty: name some, or leave it out for all", option)
		}
	}
	app.warnOfLiteral(owner, optionKey, cfg.Key)
	for _, name := range cfg.Accounts {
		if err := app.checkCallersAccount(name); err != nil {
			return fmt.Errorf("%w%s", err, app.positions.of(owner, "accounts"))
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
func (app *App) checkCallersAccount(name string) error {
	if app.servedNamed(name) != nil {
		return nil
	}
	of, appID, ok := strings.Cut(name, ":")
	switch {
	case !ok:
		return fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(app.servedNames(), ", "))
	case app.accounts.Named(of) != nil:
		return fmt.Errorf("%s is no account: %s is no platform that others could have authorised, so write it alone", name, of)
	case app.platforms.named(of) == nil && len(app.platforms.all) == 0:
		return fmt.Errorf("%s is no account: there is no platform %s; write one of %s", name, of, strings.Join(app.servedNames(), ", "))
	case app.platforms.named(of) == nil:
		return fmt.Errorf("%s is no account: there is no platform %s; write one of %s before the colon", name, of, strings.Join(app.platforms.names(), ", "))
	case appID == "*":
		return nil
	case appID == "":
		return fmt.Errorf("%s has no appid behind the colon: write %[1]s* for all accounts that have authorised the platform, or %[2]s for the platform as well", name, of)
	}
	return checkAppID(appID)
}

// checkKey refuses keys that could be guessed, or are worth more than a key.
func (app *App) checkKey(key string) error {
	for a := range app.accounts.All() {
		if a.Credentials.Secret == key {
			return fmt.Errorf("its key is the AppSecret of account %s: give the caller a key of its own, such as `openssl rand -hex 16` gives", a.Name)
		}
	}
	for _, a := range app.platforms.components() {
		if a.Credentials.Secret == key {
			return fmt.Errorf("its key is the AppSecret of platform %s: give the caller a key of its own, such as `openssl rand -hex 16` gives", a.Name)
		}
	}
	return checkKey(key)
}
