package weixin

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

// parseGlobalOption sets up the app from the weixin global option. Syntax:
//
//	weixin {
//		upstream <url>
//		resolver <ip[:port]>
//		store    <module> ...
//		account <name> {
//			kind     official|wecom
//			appid    <appid>
//			corpid   <corpid>
//			agentid  <agentid>
//			secret   <secret>
//			token    stable|classic
//			upstream <url>
//			resolver <ip[:port]>
//			issue    virtual|real|off
//			api_security {
//				...
//			}
//			tickets  kept|pass
//			mirror   wxjava|silenceper|wechatpy|powerwechat <redis url> {
//				prefix <prefix>
//			}
//		}
//		platform <name> {
//			appid        <appid>
//			secret       <secret>
//			push_token   <token>
//			push_aes_key <key>
//			upstream     <url>
//			resolver     <ip[:port]>
//			issue        virtual|real|off
//			authorizers_in_memory <n>
//		}
//		caller <name> {
//			key      <key>
//			accounts <accounts...>
//			allow    <paths...>
//			ips      <ranges...>
//		}
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // where it is given again
		return nil, d.Err("the weixin global option is given twice: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	config := caddyconfig.JSON(app, nil)
	option.KeepPositions(config, app.positions)
	return httpcaddyfile.App{Name: "weixin", Value: config}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. See
// parseGlobalOption for the syntax.
func (app *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("weixin takes no argument here: write accounts in its block, not %s", d.Val())
	}
	parse := blockParser{app: app, owners: make(appIDOwners)}
	block := option.Block{Of: "weixin", Positions: &app.positions, Options: []option.Option{
		upstreamOption(&app.Upstream),
		resolverOption(&app.Resolver),
		{Name: "store", Parse: func(d *caddyfile.Dispenser) error { return parseStore(d, &app.StoreRaw, &app.positions) }},
		{Name: "account", Parse: parse.account},
		{Name: "platform", Parse: parse.platform},
		{Name: "caller", Parse: parse.caller},
	}}
	if err := block.Parse(d); err != nil {
		return err
	}
	if len(app.Accounts)+len(app.Platforms) == 0 {
		return d.Err("weixin has no account: write account <name> { appid …  secret … }, or for a third-party platform platform <name> { … }")
	}
	return nil
}

// blockParser parses the blocks of the global option that have a name.
type blockParser struct {
	app    *App
	owners appIDOwners
}

func (p blockParser) account(d *caddyfile.Dispenser) error {
	app := p.app
	name, err := option.ParseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Accounts[name]; ok {
		return d.Errf("account %s is given twice: give each a name of its own", name)
	}
	if _, ok := app.Platforms[name]; ok {
		return d.Errf("account %s has the name of a platform: give it a name of its own", name)
	}
	if err := checkAccountName(name); err != nil {
		return d.Err(err.Error())
	}
	cfg, err := parseAccount(d, name, &app.positions, p.owners)
	if err != nil {
		return err
	}
	if app.Accounts == nil {
		app.Accounts = make(map[string]*AccountConfig)
	}
	app.Accounts[name] = cfg
	return nil
}

func (p blockParser) platform(d *caddyfile.Dispenser) error {
	app := p.app
	name, err := option.ParseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Platforms[name]; ok {
		return d.Errf("platform %s is given twice: give each a name of its own", name)
	}
	err = checkPlatformName(name)
	if _, ok := app.Accounts[name]; ok && err == nil {
		err = errNamedAsAccount
	}
	if err != nil {
		return d.Errf("platform %s: %v", name, err)
	}
	cfg, err := parsePlatform(d, name, &app.positions, p.owners)
	if err != nil {
		return err
	}
	if app.Platforms == nil {
		app.Platforms = make(map[string]*PlatformConfig)
	}
	app.Platforms[name] = cfg
	return nil
}

func (p blockParser) caller(d *caddyfile.Dispenser) error {
	app := p.app
	name, err := option.ParseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Callers[name]; ok {
		return d.Errf("caller %s is given twice: give each a name of its own", name)
	}
	cfg, err := parseCaller(d, name, &app.positions)
	if err != nil {
		return err
	}
	if app.Callers == nil {
		app.Callers = make(map[string]*CallerConfig)
	}
	app.Callers[name] = cfg
	return nil
}

// parseDirective sets up the handler from the weixin directive. Syntax:
//
//	weixin [<matcher>] [<account>] {
//		allow_ips       <ranges...>
//		hosts           <names...>
//		body_buffer     <size>
//		body_limit      <size>
//		timeout         <duration>
//		round_tripper   http1|net_http
//		forward_headers <names...>
//	}
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	app, err := appOption(h)
	if err != nil {
		return nil, err
	}
	return handler, checkServedName(h, app, handler.Account)
}

// parseStatusDirective sets up the status page from the weixin_status
// directive. Syntax:
//
//	weixin_status [<matcher>] {
//		read_only
//		allow_ips <ranges...>
//		hosts     <names...>
//	}
func parseStatusDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	page := new(StatusPage)
	if err := page.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	_, err := appOption(h)
	return page, err
}

// UnmarshalCaddyfile sets up the status page from Caddyfile tokens. See
// parseStatusDirective for the syntax.
func (p *StatusPage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("weixin_status takes no argument but a matcher, which begins with / or @, and here is %s", d.Val())
	}
	block := option.Block{Of: "weixin_status", Options: []option.Option{
		option.Flag("read_only", &p.ReadOnly),
		allowIPsOption(&p.AllowIPs),
		hostsOption(&p.Hosts),
	}}
	return block.Parse(d)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. See
// parseDirective for the syntax.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	unknown := func(d *caddyfile.Dispenser) error {
		if d.Val() != "trust_upstream" {
			return nil
		}
		return d.Err("trust_upstream is an option of transport weixin: the weixin directive sends requests to the account's upstream alone, so leave it out")
	}
	return parseForwarding(d, &h.Account, &h.Access, &h.ForwardingConfig, unknown)
}

// UnmarshalCaddyfile sets up the transport from Caddyfile tokens. Syntax:
//
//	transport weixin [<account>] {
//		allow_ips       <ranges...>
//		hosts           <names...>
//		body_buffer     <size>
//		body_limit      <size>
//		timeout         <duration>
//		round_tripper   http1|net_http
//		forward_headers <names...>
//		trust_upstream
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseForwarding(d, &t.Account, &t.Access, &t.ForwardingConfig, nil, option.OnceFlag("trust_upstream", &t.TrustUpstream)); err != nil {
		return err
	}
	if option.HasPlaceholder(t.Account) {
		return d.Errf("the account of a transport cannot depend on the request: write its name instead of %s", t.Account)
	}
	var at option.Positions
	at.Remember(d, "transport", t.Account)
	option.KeepPositions(transportConfig(t.Account), at)
	return nil
}

// parseHealthDirective sets up the health check from the weixin_health
// directive. See HealthCheck.UnmarshalCaddyfile for the syntax.
func parseHealthDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	check := new(HealthCheck)
	if err := check.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	_, err := appOption(h)
	return check, err
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*StatusPage)(nil)
	_ caddyfile.Unmarshaler = (*Transport)(nil)
)
