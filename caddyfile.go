package weixin

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
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
	appIDs := make(map[string]string) // to the account's name
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
		case "caller":
			if err := app.parseCaller(d); err != nil {
				return err
			}
		default:
			return unknownOption(d, "weixin", "upstream", "resolver", "store", "account", "caller")
		}
	}
	if len(app.Accounts) == 0 {
		return d.Err("weixin has no account: write account <name> { appid …  secret … }")
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

func (app *App) parseAccount(d *caddyfile.Dispenser, appIDs map[string]string) error {
	name, err := parseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Accounts[name]; ok {
		return d.Errf("account %s is given twice: give each a name of its own", name)
	}
	if err := checkAccountName(name); err != nil {
		return d.Err(err.Error())
	}
	cfg := new(AccountConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "appid":
			err = parseValue(d, &cfg.AppID, "{env.WEIXIN_APPID}")
			if other, ok := appIDs[cfg.AppID]; err == nil && ok {
				return d.Errf("appid %s is that of account %s already: give every account an appid of its own", cfg.AppID, other)
			}
			appIDs[cfg.AppID] = name
		case optionKind:
			if err = parseString(d, &cfg.Kind, wechat.WeCom.Name); err == nil && wechat.KindNamed(cfg.Kind) == nil {
				err = d.Errf("unknown kind %s: write official or wecom", cfg.Kind)
			}
		case optionCorpID:
			err = parseValue(d, &cfg.CorpID, "{env.CORPID}")
		case optionAgentID:
			err = parseValue(d, (*string)(&cfg.AgentID), "1000002")
		case "secret":
			err = parseValue(d, &cfg.AppSecret, "{env.WEIXIN_SECRET}")
		case "token":
			if err = parseString(d, &cfg.Token, "stable"); err == nil {
				if methodErr := checkTokenMethod(wechat.Official, cfg.Token); methodErr != nil {
					err = d.Err(methodErr.Error())
				}
			}
		case "upstream":
			err = parseUpstreamOption(d, &cfg.Upstream)
		case "resolver":
			err = parseResolverOption(d, &cfg.Resolver)
		case "issue":
			if err = parseString(d, &cfg.Issue, account.IssueVirtual); err == nil {
				if issueErr := checkIssue(cfg.Issue); issueErr != nil {
					err = d.Err(issueErr.Error())
				}
			}
		case optionAPISecurity:
			err = app.parseAPISecurity(d, name, &cfg.APISecurity)
		case "tickets":
			err = parseTickets(d, &cfg.Tickets)
		case "mirror":
			app.positions.remember(d, "account "+name, mirrorOption(len(cfg.Mirrors)))
			err = parseMirror(d, cfg)
		default:
			return unknownOption(d, "account "+name, "kind", "appid", "corpid", "agentid", "secret", "token", "upstream", "issue", "resolver", optionAPISecurity, "tickets", "mirror")
		}
		if err != nil {
			return err
		}
		app.positions.remember(d, "account "+name, option)
	}
	if cfg.Kind == wechat.WeCom.Name && cfg.AppID == "" && cfg.CorpID == "" {
		return d.Errf("account %s has no corpid: write corpid {env.CORPID}, for example", name)
	}
	if cfg.Kind != wechat.WeCom.Name && cfg.AppID == "" && cfg.CorpID == "" {
		return d.Errf("account %s has no appid: write appid {env.WEIXIN_APPID}, for example", name)
	}
	if cfg.AppSecret == "" {
		return d.Errf("account %s has no secret: write secret {env.WEIXIN_SECRET}, for example", name)
	}
	if err := app.checkParsedAccount(name, cfg); err != nil {
		return err
	}
	if app.Accounts == nil {
		app.Accounts = make(map[string]*AccountConfig)
	}
	app.Accounts[name] = cfg
	return nil
}

// parseCaller parses a caller. That its accounts exist is seen to when all of
// them are known.
func (app *App) parseCaller(d *caddyfile.Dispenser) error {
	name, err := parseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Callers[name]; ok {
		return d.Errf("caller %s is given twice: give each a name of its own", name)
	}
	cfg := new(CallerConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "key":
			err = parseKey(d, &cfg.Key, "{env."+strings.ToUpper(name)+"_KEY}")
		case "accounts":
			err = parseList(d, &cfg.Accounts, "shop")
		case "allow":
			if err = parseList(d, &cfg.Allow, "/cgi-bin/message/*"); err == nil {
				if patternErr := gateway.CheckPathPatterns(cfg.Allow); patternErr != nil {
					err = d.Err(patternErr.Error())
				}
			}
		case "ips":
			if err = parseList(d, &cfg.IPs, "10.0.0.0/8"); err == nil {
				if _, rangeErr := gateway.ParseRanges(cfg.IPs); rangeErr != nil {
					err = d.Errf("ips: %v", rangeErr)
				}
			}
		default:
			return unknownOption(d, "caller "+name, "key", "accounts", "allow", "ips")
		}
		if err != nil {
			return err
		}
		app.positions.remember(d, "caller "+name, option)
	}
	if cfg.Key == "" {
		return d.Errf("caller %s has no key: write key {env.%s_KEY}, for example", name, strings.ToUpper(name))
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
	return handler, checkAccountNamed(h, app, handler.Account)
}

// checkAccountNamed refuses the name of an account that there is not.
func checkAccountNamed(h httpcaddyfile.Helper, app *App, name string) error {
	if _, ok := app.Accounts[name]; !ok && name != "" && !gateway.HasPlaceholder(name) {
		return h.Errf("there is no account %s: write one of %s", name, strings.Join(sortedKeys(app.Accounts), ", "))
	}
	return nil
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

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*StatusPage)(nil)
	_ caddyfile.Unmarshaler = (*Transport)(nil)
)

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
