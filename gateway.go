package weixin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// gateway decides about a request before it is forwarded: who makes it, which
// account it means, whether that is allowed, and whether the proxy answers it
// itself. Handler and transport module have it in common.
type gateway struct {
	app     *App
	access  *Access
	account string // its name may have placeholders; "" is whichever the request means

	// behindReverseProxy is whether reverse_proxy has prepared the requests.
	behindReverseProxy bool
}

// passage is a request that may pass.
type passage struct {
	account *Account
	caller  *caller // nil where there are none

	// request is what to forward: the client's, but for the account's AppID and
	// AppSecret where the API takes them.
	request *http.Request

	// virtual says that the request carries a virtual token. Its application
	// knows no other, so it must not hear of others' deaths.
	virtual bool

	// grant answers the request in WeChat's place; nil where it is forwarded.
	grant *grantAnswer
}

// admit lets a request pass, or returns the answer that refuses it.
func (g *gateway) admit(req *http.Request) (*passage, *proxyError) {
	kind := wechat.KindOf(req.URL.Path)
	if err := g.checkRequest(req, kind); err != nil {
		return nil, err
	}
	claims, err := g.readClaims(req, kind)
	if err != nil {
		return nil, err
	}
	caller, err := g.identify(kind, claims)
	if err != nil {
		return nil, err
	}
	if caller != nil {
	}
	account, err := g.selectAccount(req, kind, claims, caller)
	if err != nil {
		return nil, err.of(nil, caller)
	}
	if caller != nil {
		if err := caller.check(req, account, kind == wechat.TokenEndpoint); err != nil {
			return nil, err.of(account, caller)
		}
	}
	p := &passage{account: account, caller: caller, request: req, virtual: claims.virtual != nil}
	switch kind {
	case wechat.TokenEndpoint:
		p.grant, err = g.app.grant(req.Context(), account, caller)
	case wechat.AppSecret:
		p.request, err = claims.secretRequest.inject(req, account)
	case wechat.AccountToken:
		p.grant, err = g.app.ticketAnswer(req, account)
	default:
	}
	if err != nil {
		return nil, err.of(account, caller)
	}
	return p, nil
}

// served counts the answer.
func (p *passage) served(status int) {
	name := ""
	if p.caller != nil {
		name = p.caller.name
	}
	p.account.watcher.served(name, status)
}

// checkRequest refuses what nobody may send.
func (g *gateway) checkRequest(req *http.Request, kind wechat.PathKind) *proxyError {
	if madeByWebPage(req.Header) {
		return forbidden("web pages may not call the WeChat API: call it from a server, " +
			"or type the address into a browser on localhost or over HTTPS")
	}
	if req.Method == http.MethodTrace || req.Method == http.MethodConnect {
		return badRequest("the WeChat API knows no method " + req.Method)
	}
	if _, hasBearer := bearerOf(req.Header); !g.access.allowsAddress(g.app, req, needsKey(kind, hasBearer)) {
		return forbidden("the client's address may not call: add it to allow_ips")
	}
	if err := g.checkHost(req); err != nil {
		return err
	}
	if err := wechat.CheckPath(req.URL); err != nil {
		return badRequest(err.Error())
	}
	// Caddy may have tidied the path up on its way here.
	if original, ok := req.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if err := wechat.CheckPath(original.URL); err != nil {
			return badRequest(err.Error())
		}
	}
	return nil
}

// needsKey reports whether a request needs a caller's key, where there are
// callers. A user's own token is worth the same without the account.
func needsKey(kind wechat.PathKind, hasBearer bool) bool {
	return kind != wechat.UserToken || hasBearer
}

// checkHost refuses what a web page could have sent by the proxy's name.
func (g *gateway) checkHost(req *http.Request) *proxyError {
	host := req.Host
	if g.behindReverseProxy {
		host = originalHost(req)
	}
	switch g.access.judgeHost(g.app, req, host) {
	case hostForeign:
		return forbidden(fmt.Sprintf("any web site could have the name %s, and its pages would call the WeChat API: "+
			"call the proxy by its IP address, a name without a dot or HTTPS, or add to weixin: hosts %[1]s", shownHost(host)))
	case hostUnspecified:
		return forbidden(fmt.Sprintf("every web page reaches the proxy by the address %s: "+
			"call it by 127.0.0.1, localhost or its own address", shownHost(host)))
	default:
		return nil
	}
}

// identify returns the caller that makes the request, nil where there are no
// callers.
func (g *gateway) identify(kind wechat.PathKind, c *claims) (*caller, *proxyError) {
	if len(g.app.callers) == 0 {
		return nil, nil
	}
	switch {
	case !needsKey(kind, c.hasBearer):
		return nil, nil
	case c.hasBearer:
		caller := g.app.callerByKey(c.bearer)
		if caller == nil {
			return nil, forbidden("the key in the Authorization header is no caller's")
		}
		if c.virtual != nil && c.virtual.caller != caller.id {
			return nil, forbidden("the access_token was issued to another caller than " + caller.name)
		}
		return caller, nil
	case c.tokenRequest != nil:
		caller := g.app.callerByKey(c.tokenRequest.Secret)
		if caller == nil {
			return nil, wechatError(wechat.InvalidAppSecret, "invalid appsecret: the secret is no caller's key")
		}
		return caller, nil
	case c.virtual != nil:
		return g.app.callersByID[c.virtual.caller], nil // it has one, or it were forged
	case c.real:
		return g.app.callerOfRealToken(c.bound)
	case c.secretRequest != nil && c.secretRequest.secret != "":
		if caller := g.app.callerByKey(c.secretRequest.secret); caller != nil {
			return caller, nil
		}
	}
	if c.foreign {
		// A token from before there were callers, or from before the proxy.
		return nil, tokenRefused(errVirtualTokenExpired)
	}
	return nil, forbidden("no caller's key: ask for a token with it as secret, or send it as Authorization: Bearer")
}

// selectAccount returns the account that the request means.
func (g *gateway) selectAccount(req *http.Request, kind wechat.PathKind, c *claims, caller *caller) (*Account, *proxyError) {
	account, err := g.namedAccount(req)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	if c.tokenRequest != nil {
		if account == nil {
			account = g.app.byAppID[c.appID]
		}
		if account == nil || account.Credentials.AppID != c.appID {
			return nil, wechatError(wechat.InvalidAppID, "invalid appid")
		}
		return account, nil
	}
	if c.bound != nil && account != nil && account != c.bound {
		return nil, tokenRefused(errOtherAccount)
	}
	if account == nil {
		account = c.bound
	}
	if account == nil {
		account = g.app.byAppID[c.appID]
	}
	if account == nil {
		account = g.app.onlyAccount()
	}
	if account == nil && (kind == wechat.UserToken || kind == wechat.ComponentToken) {
		account = g.app.anyAccount(caller)
	}
	if c.secretRequest != nil && !c.secretRequest.mayMean(account) {
		return nil, wechatError(wechat.InvalidAppID, "invalid appid")
	}
	if account == nil {
		return nil, badRequest("several accounts are served here: name one with its appid in the query, or with a token fetched here for it")
	}
	return account, nil
}

// namedAccount returns the account that the configuration names, or nil.
func (g *gateway) namedAccount(req *http.Request) (*Account, error) {
	name := g.account
	if name == "" {
		return nil, nil
	}
	if hasPlaceholder(name) {
		repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return nil, errors.New("the account's name cannot be told for this request")
		}
		if name = repl.ReplaceAll(name, ""); name == "" {
			return nil, errors.New("the account's name is empty for this request")
		}
	}
	account, ok := g.app.accounts[name]
	if !ok {
		return nil, errors.New("there is no account of this name")
	}
	return account, nil
}

// anyAccount returns an account for a request that takes no account's
// credentials, only its upstream, if all have the same.
func (app *App) anyAccount(caller *caller) *Account {
	var first *Account
	for _, name := range sortedKeys(app.accounts) {
		account := app.accounts[name]
		if first != nil && first.Upstream.String() != account.Upstream.String() {
			return nil
		}
		if first == nil && (caller == nil || caller.mayUse(account)) {
			first = account
		}
	}
	return first
}

// bearerOf returns the key in an Authorization header.
func bearerOf(h http.Header) (string, bool) {
	for _, value := range h["Authorization"] {
		if scheme, key, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key), true
		}
	}
	return "", false
}
