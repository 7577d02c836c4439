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
	all     []*upstream.Resolver          // each once
	byOwner map[string]*upstream.Resolver // such as "account shop"
}

// provisionResolvers resolves what the app, the accounts and the platforms say of
// DNS.
func (app *App) provisionResolvers() error {
	app.resolvers = resolvers{byOwner: make(map[string]*upstream.Resolver)}
	if _, err := app.addResolver("weixin", app.Resolver); err != nil {
		return err
	}
	configured := make(map[string]string)
	for name, cfg := range app.Accounts {
		if cfg != nil {
			configured["account "+name] = cfg.Resolver
		}
	}
	for name, cfg := range app.Platforms {
		if cfg != nil {
			configured["platform "+name] = cfg.Resolver
		}
	}
	for _, owner := range sortedKeys(configured) {
		r, err := app.addResolver(owner, cmp.Or(configured[owner], app.Resolver))
		if err != nil {
			return fmt.Errorf("%s: %w", owner, err)
		}
		app.resolvers.byOwner[owner] = r
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
