package weixin

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

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
}

// parseGlobalOption sets up the app from the weixin global option. Syntax:
//
//	weixin {
//		upstream <url>
//		resolver <ip[:port]>
//		store    <module> ...
//		account <name> {
//			appid    <appid>
//			secret   <secret>
//			token    stable|classic
//			upstream <url>
//			resolver <ip[:port]>
//			issue    virtual|real|off
//		}
//		caller <name> {
//			key      <key>
//			accounts <accounts...>
//			allow    <paths...>
//			ips      <ranges...>
//		}
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	positions.Clear() // of another configuration
	if existing != nil {
		return nil, d.Err("the weixin global option is given twice: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "weixin", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. See
// parseGlobalOption for the syntax.
func (app *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
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
		case "resolver":
			if err := parseResolverOption(d, &app.Resolver); err != nil {
				return err
			}
			rememberPosition(d, "", option)
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
			return d.Errf("unknown option %s of weixin: write one of upstream, resolver, store, account, caller", option)
		}
	}
	if len(app.Accounts) == 0 {
		return d.Err("weixin has no account: write account <name> { appid …  secret … }")
	}
	return nil
}

func (app *App) parseStore(d *caddyfile.Dispenser) error {
	if app.StoreRaw != nil {
		return d.Err("store is given twice")
	}
	if !d.NextArg() {
		return d.Err("store needs a module: write store storage, for example")
	}
	name := d.Val()
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
		return d.Errf("account %s is given twice", name)
	}
	cfg := new(AccountConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "appid":
			err = parseString(d, &cfg.AppID, "{env.WEIXIN_APPID}")
			if other, ok := appIDs[cfg.AppID]; err == nil && ok {
				return d.Errf("appid %s is that of account %s already: give every account an appid of its own", cfg.AppID, other)
			}
			appIDs[cfg.AppID] = name
		case "secret":
			err = parseString(d, &cfg.AppSecret, "{env.WEIXIN_SECRET}")
		case "token":
			if err = parseString(d, &cfg.Token, "stable"); err == nil {
				if _, sourceErr := wechat.NewSource(cfg.Token); sourceErr != nil {
					err = d.Err(sourceErr.Error())
				}
			}
		case "upstream":
			err = parseUpstreamOption(d, &cfg.Upstream)
		case "resolver":
			err = parseResolverOption(d, &cfg.Resolver)
		case "issue":
			if err = parseString(d, &cfg.Issue, issueVirtual); err == nil {
				if issueErr := checkIssue(cfg.Issue); issueErr != nil {
					err = d.Err(issueErr.Error())
				}
			}
		default:
			return d.Errf("unknown option %s of account %s: write one of appid, secret, token, upstream, issue, resolver", option, name)
		}
		if err != nil {
			return err
		}
		rememberPosition(d, "account "+name, option)
	}
	if cfg.AppID == "" {
		return d.Errf("account %s has no appid: write appid {env.WEIXIN_APPID}, for example", name)
	}
	if cfg.AppSecret == "" {
		return d.Errf("account %s has no secret: write secret {env.WEIXIN_SECRET}, for example", name)
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
		return d.Errf("caller %s is given twice", name)
	}
	cfg := new(CallerConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "key":
			err = parseString(d, &cfg.Key, "{env."+strings.ToUpper(name)+"_KEY}")
		case "accounts":
			err = parseList(d, &cfg.Accounts, "shop")
		case "allow":
			if err = parseList(d, &cfg.Allow, "/cgi-bin/message/*"); err == nil {
				if patternErr := checkPathPatterns(cfg.Allow); patternErr != nil {
					err = d.Err(patternErr.Error())
				}
			}
		case "ips":
			if err = parseList(d, &cfg.IPs, "10.0.0.0/8"); err == nil {
				if _, rangeErr := parseRanges(cfg.IPs); rangeErr != nil {
					err = d.Errf("ips: %v", rangeErr)
				}
			}
		default:
			return d.Errf("unknown option %s of caller %s: write one of key, accounts, allow, ips", option, name)
		}
		if err != nil {
			return err
		}
		rememberPosition(d, "caller "+name, option)
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

// parseName parses the name of an account or a caller.
func parseName(d *caddyfile.Dispenser) (string, error) {
	kind := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s needs a name: write %s <name> { … }", kind, kind)
	}
	name := d.Val()
	if err := checkName(name); err != nil {
		return "", d.Err(err.Error())
	}
	if d.NextArg() {
		return "", d.Errf("%s takes one name, but there is also %s", kind, d.Val())
	}
	return name, nil
}

// parseDirective sets up the handler from the weixin directive. Syntax:
//
//	weixin [<matcher>] [<account>] {
//		allow_ips     <ranges...>
//		body_buffer   <size>
//		body_limit    <size>
//		timeout       <duration>
//		round_tripper http1|net_http
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
	if _, ok := app.Accounts[handler.Account]; !ok && handler.Account != "" && !hasPlaceholder(handler.Account) {
		return nil, h.Errf("there is no account %s: write one of %s", handler.Account, strings.Join(sortedKeys(app.Accounts), ", "))
	}
	return handler, nil
}

// appOption returns the app that the global option has set up. There has to be
// one, or the accounts are nowhere.
func appOption(h httpcaddyfile.Helper) (*App, error) {
	option, ok := h.Option("weixin").(httpcaddyfile.App)
	if !ok {
		return nil, h.Err("weixin has no accounts: add the weixin global option, { weixin { account <name> { … } } }")
	}
	app := new(App)
	return app, json.Unmarshal(option.Value, app)
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
			if err := parseList(d, &p.Hosts, "status.example.com"); err != nil {
				return err
			}
			for _, name := range p.Hosts {
				if strings.ContainsAny(name, ":/*") {
					return d.Errf("hosts %s is no name: write it without scheme, port and path, like status.example.com", name)
				}
			}
		default:
			return d.Errf("unknown option %s of weixin_status: write one of read_only, allow_ips, hosts", option)
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. See
// parseDirective for the syntax.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseForwarding(d, &h.Account, &h.Access, &h.ForwardingConfig)
}

// UnmarshalCaddyfile sets up the transport from Caddyfile tokens. Syntax:
//
//	transport weixin [<account>] {
//		allow_ips     <ranges...>
//		body_buffer   <size>
//		body_limit    <size>
//		timeout       <duration>
//		round_tripper http1|net_http
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := parseForwarding(d, &t.Account, &t.Access, &t.ForwardingConfig); err != nil {
		return err
	}
	if hasPlaceholder(t.Account) {
		return d.Errf("the account of a transport cannot depend on the request: write its name instead of %s", t.Account)
	}
	rememberPosition(d, "transport", t.Account)
	return nil
}

func parseForwarding(d *caddyfile.Dispenser, account *string, access *Access, cfg *ForwardingConfig) error {
	d.Next() // the directive's name
	directive := d.Val()
	if d.NextArg() {
		*account = d.Val()
	}
	if d.NextArg() {
		return d.Errf("%s takes one account, but there is also %s", directive, d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch option := d.Val(); option {
		case "allow_ips":
			err = parseAllowIPs(d, access)
		case "body_buffer":
			err = parseSize(d, &cfg.BodyBuffer, "256KiB")
		case "body_limit":
			err = parseSize(d, &cfg.BodyLimit, "128MiB")
		case "timeout":
			err = parseTimeout(d, &cfg.Timeout)
		case "round_tripper":
			if err = parseString(d, &cfg.RoundTripper, upstream.NetHTTP); err == nil {
				if unknown := upstream.CheckRoundTripper(cfg.RoundTripper); unknown != nil {
					err = d.Err(unknown.Error())
				}
			}
		default:
			err = d.Errf("unknown option %s of %s: write one of allow_ips, body_buffer, body_limit, timeout, round_tripper", option, directive)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseAllowIPs(d *caddyfile.Dispenser, access *Access) error {
	if err := parseList(d, &access.AllowIPs, "10.0.0.0/8"); err != nil {
		return err
	}
	if _, err := parseRanges(access.AllowIPs); err != nil {
		return d.Errf("allow_ips: %v", err)
	}
	return nil
}

// parseList sets an option that takes any number of arguments.
func parseList(d *caddyfile.Dispenser, values *[]string, example string) error {
	option := d.Val()
	if *values != nil {
		return d.Errf("%s is given twice: put everything on one line", option)
	}
	if *values = d.RemainingArgs(); len(*values) == 0 {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	return nil
}

// parseString sets an option that takes one argument.
func parseString(d *caddyfile.Dispenser, value *string, example string) error {
	option := d.Val()
	if *value != "" {
		return d.Errf("%s is given twice", option)
	}
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	*value = d.Val()
	if d.NextArg() {
		return d.Errf("%s takes one value, but there is also another", option)
	}
	return nil
}

func parseUpstreamOption(d *caddyfile.Dispenser, base *string) error {
	if err := parseString(d, base, wechat.DefaultHost); err != nil {
		return err
	}
	if hasPlaceholder(*base) {
		return nil // resolved when the configuration is loaded
	}
	if _, err := upstream.ParseURL(*base); err != nil {
		return d.Errf("upstream %s %v", *base, err)
	}
	return nil
}

func parseSize(d *caddyfile.Dispenser, size *int64, example string) error {
	option := d.Val()
	var text string
	if *size != 0 {
		return d.Errf("%s is given twice", option)
	}
	if err := parseString(d, &text, example); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<62 {
		return d.Errf("%s %s is no size: write it like %s", option, text, example)
	}
	*size = int64(n)
	return nil
}

func parseTimeout(d *caddyfile.Dispenser, timeout *caddy.Duration) error {
	var text string
	if *timeout != 0 {
		return d.Err("timeout is given twice")
	}
	if err := parseString(d, &text, "30s"); err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(text)
	if err != nil || dur <= 0 {
		return d.Errf("timeout %s is no duration above 0: write it like 30s", text)
	}
	*timeout = caddy.Duration(dur)
	return nil
}

// positions remembers where options stood, so that what is found out only when
// the configuration is loaded, such as an empty placeholder, is reported with
// file and line where both happen in one process, as in caddy validate and
// caddy run.
var positions sync.Map // of "<owner>\n<option>" to "<file>:<line>"

func rememberPosition(d *caddyfile.Dispenser, owner, option string) {
	positions.Store(owner+"\n"+option, fmt.Sprintf("%s:%d", d.File(), d.Line()))
}

// positionOf returns ", at <file>:<line>", or nothing.
func positionOf(owner, option string) string {
	if position, ok := positions.Load(owner + "\n" + option); ok {
		return fmt.Sprintf(", at %s", position)
	}
	return ""
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*StatusPage)(nil)
	_ caddyfile.Unmarshaler = (*Transport)(nil)
)
