package weixin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/jssdk"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// JSSDK signs the addresses of web pages, for wx.config of WeChat's JS-SDK.
//
// A page asks with its own address, `?url=` and encodeURIComponent, and gets
// `{"appId":…,"timestamp":…,"nonceStr":…,"signature":…}`. It needs no key, and
// its client may have any address: pages are in browsers. The ticket with which
// it is signed never leaves the proxy.
type JSSDK struct {
	// The name of the account. Placeholders such as `{http.request.host}` are
	// resolved for every request. Default: the only one.
	Account string `json:"account,omitempty"`

	// The hosts whose pages are signed, and whose pages may ask across origins.
	// A label that is `*` stands for any one label. Required.
	Hosts []string `json:"hosts,omitempty"`

	// Sign for wx.agentConfig in place of wx.config. The account has to be one of
	// WeCom with an agentid. Default: false
	Agent bool `json:"agent,omitempty"`

	served  *served
	handler jssdk.Handler
}

var jssdkForms = option.Forms{"account": `"shop"`, "hosts": `["shop.example.com"]`, "agent": `true`}

// UnmarshalJSON decodes the handler's options.
func (h *JSSDK) UnmarshalJSON(data []byte) error {
	type plain JSSDK
	return option.Decode(data, (*plain)(h), jssdkForms)
}

// CaddyModule returns the Caddy module information.
func (JSSDK) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_jssdk",
		New: func() caddy.Module { return new(JSSDK) },
	}
}

// Provision sets up the handler.
func (h *JSSDK) Provision(ctx caddy.Context) error {
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	h.served = &app.served
	if h.Account == "" || !option.HasPlaceholder(h.Account) {
		a, err := h.served.account(h.Account)
		if err != nil {
			return err
		}
		if h.Agent && !signsForAgents(a) {
			return errors.New("agent signs for wx.agentConfig, which account " + a.Name + " cannot: leave agent out, " +
				"or name an account of WeCom that has an agentid")
		}
	}
	h.handler.Hosts, err = jssdkHosts(h.Hosts)
	h.handler.Identity, h.handler.Ticket = h.identity, h.ticket
	return err
}

// signsForAgents reports whether an account's tickets are good for wx.agentConfig,
// and whom they are for is known.
func signsForAgents(a *account.Account) bool {
	_, ok := a.Kind.Tickets.Named(wechat.AgentTicket)
	return ok && a.AgentID != ""
}

// jssdkHosts resolves hosts and reads them.
func jssdkHosts(names []string) (jssdk.Hosts, error) {
	resolved := make([]string, len(names))
	for i, name := range names {
		resolved[i] = name
		if option.HasPlaceholder(name) {
			var err error
			if resolved[i], err = option.Resolve("hosts", name); err != nil {
				return jssdk.Hosts{}, err
			}
		}
	}
	return jssdk.ParseHosts(resolved)
}

// ServeHTTP answers a page. It answers every request itself.
func (h *JSSDK) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, req, h.handler.ServeHTTP)
	return nil
}

// accountOf returns the account that a request means.
func (h *JSSDK) accountOf(ctx context.Context) (*account.Account, error) {
	name := h.Account
	if option.HasPlaceholder(name) {
		repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return nil, errors.New("the account's name cannot be told for this request")
		}
		if name = repl.ReplaceAll(name, ""); name == "" {
			return nil, errNoSuchPage
		}
	}
	a, err := h.served.account(name)
	if err != nil {
		return nil, errNoSuchPage
	}
	return a, nil
}

// errNoSuchPage is what a page is told whose request means no account.
var errNoSuchPage = &jssdk.Error{
	Status: http.StatusBadRequest, Errcode: wechat.InvalidParameter,
	Errmsg: "weixin proxy: there is no account for this request",
}

func (h *JSSDK) identity(ctx context.Context) (jssdk.Identity, error) {
	a, err := h.accountOf(ctx)
	if err != nil {
		return jssdk.Identity{}, err
	}
	identity := jssdk.Identity{AppID: a.Credentials.ID, Agent: h.Agent}
	if !h.Agent {
		return identity, nil
	}
	if !signsForAgents(a) {
		return jssdk.Identity{}, errNoSuchPage
	}
	identity.AgentID, err = strconv.ParseInt(a.AgentID, 10, 64)
	return identity, err
}

// ticket returns the ticket to sign with. Of an error a page sees no more than
// WeChat's errcode: the rest is about the proxy, and in its log.
func (h *JSSDK) ticket(ctx context.Context) (string, error) {
	a, err := h.accountOf(ctx)
	if err != nil {
		return "", err
	}
	name := wechat.JSAPITicket
	if h.Agent {
		name = wechat.AgentTicket
	}
	t, ok := a.Kind.Tickets.Named(name)
	if !ok {
		return "", fmt.Errorf("account %s has no tickets for pages", a.Name)
	}
	value, err := h.served.tokens.tickets.value(ctx, a, t)
	if e, ok := errors.AsType[*answer.Error](err); ok && e.OfWeChat {
		return "", &jssdk.Error{
			Status: http.StatusBadGateway, Errcode: e.Errcode,
			Errmsg: "weixin proxy: WeChat gives the account no ticket",
		}
	}
	return value, err
}

// parseJSSDKDirective sets up the handler from the weixin_jssdk directive. Syntax:
//
//	weixin_jssdk [<matcher>] [<account>] {
//		hosts <names...>
//		agent
//	}
func parseJSSDKDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(JSSDK)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	app, err := appOption(h)
	if err != nil {
		return nil, err
	}
	return handler, checkAccountNamed(h, app, handler.Account)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. See
// parseJSSDKDirective for the syntax.
func (h *JSSDK) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	if d.NextArg() {
		h.Account = d.Val()
	}
	if d.NextArg() {
		return d.Errf("weixin_jssdk takes one account, but there is also %s", d.Val())
	}
	block := option.Block{Of: "weixin_jssdk", Options: []option.Option{
		option.List("hosts", &h.Hosts, "shop.example.com").Checked(func() error { return checkJSSDKHosts(h.Hosts) }),
		option.Flag("agent", &h.Agent),
	}}
	if err := block.Parse(d); err != nil {
		return err
	}
	if len(h.Hosts) == 0 {
		return d.Err("weixin_jssdk has no hosts: write the hosts of the pages that are to be signed, hosts shop.example.com, for example")
	}
	return nil
}

// checkJSSDKHosts refuses what is seen to be no host as it stands there.
func checkJSSDKHosts(names []string) error {
	for _, name := range names {
		if option.HasPlaceholder(name) {
			continue // resolved when the configuration is loaded
		}
		if _, err := jssdk.ParseHosts([]string{name}); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*JSSDK)(nil)
	_ caddyhttp.MiddlewareHandler = (*JSSDK)(nil)
	_ caddyfile.Unmarshaler       = (*JSSDK)(nil)
)
