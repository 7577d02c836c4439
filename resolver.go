package weixin

import (
	"cmp"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// resolvers are the DNS servers that accounts have configured.
type resolvers struct {
	all       []*upstream.Resolver          // each once
	byAccount map[string]*upstream.Resolver // by the account's name
}

// provisionResolvers resolves what the app and the accounts say of DNS.
func (app *App) provisionResolvers() error {
	app.resolvers = resolvers{byAccount: make(map[string]*upstream.Resolver)}
	if _, err := app.addResolver("weixin", app.Resolver); err != nil {
		return err
	}
	for _, name := range sortedKeys(app.Accounts) {
		text := app.Resolver
		if cfg := app.Accounts[name]; cfg != nil {
			text = cmp.Or(cfg.Resolver, text)
		}
		r, err := app.addResolver("account "+name, text)
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		app.resolvers.byAccount[name] = r
	}
	return nil
}

// addResolver returns the resolver of that address, nil for none.
func (app *App) addResolver(owner, text string) (*upstream.Resolver, error) {
	if text == "" {
		return nil, nil
	}
	text, err := app.resolve(owner, "resolver", text)
	if err != nil {
		return nil, err
	}
	parsed, err := upstream.ParseResolver(text)
	if err != nil {
		return nil, fmt.Errorf("resolver %s %w%s", text, err, app.positions.of(owner, "resolver"))
	}
	r := &app.resolvers
	for _, known := range r.all {
		if known.String() == parsed.String() {
			return known, nil
		}
	}
	r.all = append(r.all, parsed)
	return parsed, nil
}

// parseResolverOption parses the resolver option of the app or an account.
func parseResolverOption(d *caddyfile.Dispenser, resolver *string) error {
	if err := parseString(d, resolver, "223.5.5.5"); err != nil {
		return err
	}
	if gateway.HasPlaceholder(*resolver) {
		return nil // resolved when the configuration is loaded
	}
	if _, err := upstream.ParseResolver(*resolver); err != nil {
		return d.Errf("resolver %s %v", *resolver, err)
	}
	return nil
}
