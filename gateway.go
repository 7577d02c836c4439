package weixin

import (
	"errors"
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
}

// passage is a request that may pass.
type passage struct {
	account *Account

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
	if err := g.checkRequest(req); err != nil {
		return nil, err
	}
	kind := wechat.KindOf(req.URL.Path)
	claims, err := g.readClaims(req, kind)
	if err != nil {
		return nil, err
	}
	caller, err := g.identify(claims)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		caddyhttp.SetVar(req.Context(), requesterVar, caller.name)
	}
	account, err := g.selectAccount(req, kind, claims, caller)
	if err != nil {
		return nil, err
	}
	if caller != nil {
		if err := caller.check(req, account, kind == wechat.TokenEndpoint); err != nil {
			return nil, err
		}
	}
	p := &passage{account: account, request: req, virtual: claims.virtual != nil}
	switch kind {
	case wechat.TokenEndpoint:
		p.grant, err = g.app.grant(req.Context(), account, caller)
	case wechat.AppSecret:
		p.request, err = claims.secretRequest.inject(req, account)
	default:
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// checkRequest refuses what nobody may send.
func (g *gateway) checkRequest(req *http.Request) *proxyError {
	if madeByWebPage(req.Header) {
		return forbidden("web pages may not call the WeChat API: call it from a server")
	}
	if req.Method == http.MethodTrace || req.Method == http.MethodConnect {
		return badRequest("the WeChat API knows no method " + req.Method)
	}
	if !g.access.allowsAddress(g.app, req) {
		return forbidden("the client's address may not call: add it to allow_ips")
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

// claims is what a request says of itself.
type claims struct {
	bearer    string // of the Authorization header
	hasBearer bool

	virtual *virtualClaims // of a valid virtual token
	foreign bool           // there is an access_token that is none of the proxy's

	appID string // as the request has it where it means an account

	tokenRequest  *tokenRequest  // to a token endpoint
	secretRequest *secretRequest // to an API that takes the AppSecret
}

func (g *gateway) readClaims(req *http.Request, kind wechat.PathKind) (*claims, *proxyError) {
	c := new(claims)
	c.bearer, c.hasBearer = bearerOf(req.Header)
	c.appID, _ = wechat.QueryParam(req.URL.RawQuery, "appid")
	var err *proxyError
	switch kind {
	case wechat.TokenEndpoint:
		if c.tokenRequest, err = readTokenRequest(req); err == nil {
			c.appID = c.tokenRequest.AppID
		}
		return c, err
	case wechat.AppSecret:
		if c.secretRequest, err = readSecretRequest(req); err != nil {
			return nil, err
		}
		if c.appID == "" {
			c.appID = c.secretRequest.appID
		}
	default:
	}
	return c, g.readTokens(req, kind, c)
}

// readTokens checks every virtual token that the request carries.
func (g *gateway) readTokens(req *http.Request, kind wechat.PathKind, c *claims) *proxyError {
	for value := range wechat.QueryParams(req.URL.RawQuery, wechat.Official.Parameter) {
		if !isVirtualToken(value) {
			c.foreign = c.foreign || value != "" && kind == wechat.AccountToken
			continue
		}
		if kind == wechat.UserToken || kind == wechat.ComponentToken {
			return badRequest("this API takes another token than the account's")
		}
		v, err := verifyVirtualToken(value, g.app.tokens.now(), g.app.virtualSecrets)
		switch {
		case errors.Is(err, errVirtualTokenExpired):
			return tokenRefused(wechat.AccessTokenExpired, err)
		case err != nil || c.virtual != nil && (c.virtual.account != v.account || c.virtual.caller != v.caller):
			return tokenRefused(wechat.InvalidAccessToken, errVirtualTokenForged)
		case len(g.app.callers) > 0 && v.caller == virtualID{}:
			c.foreign = true // from before there were callers
		default:
			c.virtual = v
		}
	}
	return nil
}

// tokenRefused is the one answer of the proxy's with a token's errcode: the
// token is the proxy's own, and the SDK is to ask for another.
func tokenRefused(errcode int, cause error) *proxyError {
	return wechatError(errcode, cause.Error())
}

// identify returns the caller that makes the request, nil where there are no
// callers.
func (g *gateway) identify(c *claims) (*caller, *proxyError) {
	if len(g.app.callers) == 0 {
		return nil, nil
	}
	switch {
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
	case c.secretRequest != nil && c.secretRequest.secret != "":
		if caller := g.app.callerByKey(c.secretRequest.secret); caller != nil {
			return caller, nil
		}
	}
	if c.foreign {
		// A token from before there were callers, or from before the proxy.
		return nil, tokenRefused(wechat.AccessTokenExpired, errVirtualTokenExpired)
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
	if c.virtual != nil {
		bound := g.app.byVirtualID[c.virtual.account]
		if account != nil && account != bound {
			return nil, tokenRefused(wechat.InvalidAccessToken, errors.New("the access_token was issued for another account"))
		}
		return bound, nil
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
