package weixin

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("weixin", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("weixin", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("weixin", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("weixin_status", parseStatusDirective)
	// Further ahead than weixin, which may take every path.
	httpcaddyfile.RegisterDirectiveOrder("weixin_status", httpcaddyfile.After, "metrics")
	httpcaddyfile.RegisterHandlerDirective("weixin_health", parseHealthDirective)
	httpcaddyfile.RegisterDirectiveOrder("weixin_health", httpcaddyfile.After, "metrics")
}

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
	keepPositions(config, app.positions)
	return httpcaddyfile.App{Name: "weixin", Value: config}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. See
// parseGlobalOption for the syntax.
func (app *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := checkTokens(d); err != nil {
		return err
	}
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("weixin takes no argument here: write accounts in its block, not %s", d.Val())
	}
	appIDs := make(map[string]string) // to whose it is, such as "account shop"
	for d.NextBlock(0) {
		switch option := d.Val(); option {
		case "upstream":
			if err := parseUpstreamOption(d, &app.Upstream); err != nil {
				return err
			}
			app.positions.remember(d, "weixin", option)
		case "resolver":
			if err := parseResolverOption(d, &app.Resolver); err != nil {
				return err
			}
			app.positions.remember(d, "weixin", option)
		case "store":
			if err := app.parseStore(d); err != nil {
				return err
			}
		case "account":
			if err := app.parseAccount(d, appIDs); err != nil {
				return err
			}
		case "platform":
			if err := app.parsePlatform(d, appIDs); err != nil {
				return err
			}
		case "caller":
			if err := app.parseCaller(d); err != nil {
				return err
			}
		default:
			return unknownOption(d, "weixin", "upstream", "resolver", "store", "account", "platform", "caller")
		}
	}
	if len(app.Accounts)+len(app.Platforms) == 0 {
		return d.Err("weixin has no account: write account <name> { appid …  secret … }, or for a third-party platform platform <name> { … }")
	}
	return nil
}

func (app *App) parseStore(d *caddyfile.Dispenser) error {
	if app.StoreRaw != nil {
		return d.Err("store is given twice: leave one out")
	}
	if !d.NextArg() {
		return d.Err("store needs a module: write store storage, for example")
	}
	name := d.Val()
	if err := checkStoreName(name); err != nil {
		return d.Err(err.Error())
	}
	app.positions.remember(d, "store "+name, "url")
	if err := checkStoreURL(d, name); err != nil {
		return err
	}
	unm, err := caddyfile.UnmarshalModule(d, "weixin.stores."+name)
	if err != nil {
		return err
	}
	st, ok := unm.(store.Store)
	if !ok {
		return d.Errf("module weixin.stores.%s is no store", name)
	}
	app.StoreRaw = caddyconfig.JSONModuleObject(st, "module", name, nil)
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

// checkServedName refuses a name that neither an account nor a platform has, nor as
// <platform>:<appid> an account that could have authorised one.
func checkServedName(h httpcaddyfile.Helper, app *App, name string) error {
	of, appID, ok := strings.Cut(name, ":")
	if _, isPlatform := app.Platforms[of]; isPlatform && (!ok || wechat.IsAppID(appID)) {
		return nil
	}
	if _, ok := app.Accounts[name]; !ok && name != "" && !gateway.HasPlaceholder(name) {
		names := slices.Concat(sortedKeys(app.Accounts), sortedKeys(app.Platforms))
		return h.Errf("there is no account %s: write one of %s", name, strings.Join(names, ", "))
	}
	return nil
}

// checkAccountNamed refuses the name of an account that there is not. A platform
// is none.
func checkAccountNamed(h httpcaddyfile.Helper, app *App, name string) error {
	of, _, _ := strings.Cut(name, ":")
	if _, ok := app.Platforms[of]; ok {
		return h.Errf("%s is a platform, which this directive does not serve: write the name of an account", of)
	}
	return checkServedName(h, app, name)
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
	if err := checkTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("weixin_status takes no argument but a matcher, which begins with / or @, and here is %s", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "read_only":
			if d.NextArg() {
				return d.Errf("read_only takes no value, but there is %s", d.Val())
			}
			p.ReadOnly = true
		case "allow_ips":
			if err := parseAllowIPs(d, &p.Access); err != nil {
				return err
			}
		case "hosts":
			if err := parseHostsOption(d, &p.Access); err != nil {
				return err
			}
		default:
			return unknownOption(d, "weixin_status", "read_only", "allow_ips", "hosts")
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. See
// parseDirective for the syntax.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseForwarding(d, &h.Account, &h.Access, &h.ForwardingConfig, nil)
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
	if err := parseForwarding(d, &t.Account, &t.Access, &t.ForwardingConfig, &t.TrustUpstream); err != nil {
		return err
	}
	if gateway.HasPlaceholder(t.Account) {
		return d.Errf("the account of a transport cannot depend on the request: write its name instead of %s", t.Account)
	}
	var at positions
	at.remember(d, "transport", t.Account)
	keepPositions(transportConfig(t.Account), at)
	return nil
}

func parseForwarding(d *caddyfile.Dispenser, account *string, access *gateway.Access, cfg *ForwardingConfig, trustUpstream *bool) error {
	if err := checkTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	directive := d.Val()
	if d.NextArg() {
		*account = d.Val()
	}
	if d.NextArg() {
		if strings.HasPrefix(d.Val(), "/") || strings.HasPrefix(d.Val(), "@") {
			return d.Errf("the matcher comes first: write %s %s %s", directive, d.Val(), *account)
		}
		return d.Errf("%s takes one account, but there is also %s", directive, d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "allow_ips":
			err = parseAllowIPs(d, access)
		case "hosts":
			err = parseHostsOption(d, access)
		case "body_buffer":
			err = parseSize(d, &cfg.BodyBuffer, "256KiB")
		case "body_limit":
			err = parseSize(d, &cfg.BodyLimit, "128MiB")
		case "timeout":
			err = parseTimeout(d, &cfg.Timeout)
		case "trust_upstream":
			err = parseTrustUpstream(d, trustUpstream)
		case "round_tripper":
			if err = parseString(d, &cfg.RoundTripper, upstream.NetHTTP); err == nil {
				if unknown := upstream.CheckRoundTripper(cfg.RoundTripper); unknown != nil {
					err = d.Err(unknown.Error())
				}
			}
		case "forward_headers":
			err = parseForwardHeadersOption(d, cfg)
		default:
			options := siteOptions
			if trustUpstream != nil {
				options = append(slices.Clone(options), "trust_upstream")
			}
			err = unknownOption(d, directive, options...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseTrustUpstream sets an option that only transports have.
func parseTrustUpstream(d *caddyfile.Dispenser, trust *bool) error {
	switch {
	case trust == nil:
		return d.Err("trust_upstream is an option of transport weixin: the weixin directive sends requests to the account's upstream alone, so leave it out")
	case *trust:
		return d.Err("trust_upstream is given twice: leave one out")
	case d.NextArg():
		return d.Errf("trust_upstream takes no value, but there is %s", d.Val())
	}
	*trust = true
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
