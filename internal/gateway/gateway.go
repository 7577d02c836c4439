// Package gateway decides about a request before it is forwarded: who makes it,
// which account it means, whether that is allowed, and whether the proxy answers
// it itself.
package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Gateway admits requests. Handler and transport module have it in common.
type Gateway struct {
	Registry *Registry
	Access   *Access
	Account  string // its name may have placeholders; "" is whichever the request means

	// BehindReverseProxy is whether reverse_proxy has prepared the requests.
	BehindReverseProxy bool
}

// Admission is a request that may pass.
type Admission struct {
	Account *account.Account
	Caller  string // the caller's name; "" where there are none

	// Request is what to forward: the client's, but for the account's ID and
	// secret where the API takes them.
	Request *http.Request

	// TokenParams are the query parameters that take the account's token; nil where
	// the request takes none.
	TokenParams []string

	// Virtual is whether the request carries a virtual token. Its application
	// knows no other, so it must not hear of others' deaths.
	Virtual bool

	// Issued answers the request in WeChat's place; nil where it is forwarded.
	Issued *Issued
}

// Unasked returns the admission of a request that no application has made, so that
// nothing is checked.
func Unasked(a *account.Account, req *http.Request) *Admission {
	p := &Admission{Account: a, Request: req}
	if a.Kind.RouteOf(req.URL).Takes == wechat.TakesToken {
		p.TokenParams = a.Kind.TokenParams()
	}
	return p
}

// Served counts the answer.
func (a *Admission) Served(status int) { a.Account.Observer.Served(a.Caller, status) }

// apiCall is a request with what its path takes.
type apiCall struct {
	*http.Request
	kind  *wechat.Kind
	route *wechat.Route

	// isOfKind is whether the request shows that it means an account of the kind.
	isOfKind bool
}

// Admit lets a request pass, or returns the answer that refuses it, which is an
// *answer.Error.
func (g *Gateway) Admit(req *http.Request) (*Admission, error) {
	call := g.call(req)
	p, err := g.admit(call)
	if err != nil {
		return nil, call.ownErrcode(err)
	}
	return p, nil
}

func (g *Gateway) admit(call *apiCall) (*Admission, error) {
	if err := g.checkRequest(call); err != nil {
		return nil, err
	}
	claims, err := g.readClaims(call)
	if err != nil {
		return nil, err
	}
	caller, err := g.identify(call, claims)
	if err != nil {
		return nil, err
	}
	name := ""
	if caller != nil {
		name = caller.Name
	}
	a, err := g.selectAccount(call, claims, caller)
	if err != nil {
		return nil, answer.Of(err, nil, name)
	}
	p := &Admission{Account: a, Caller: name, Request: call.Request, Virtual: claims.virtual != nil}
	if err := g.permit(p, call, claims, caller); err != nil {
		return nil, answer.Of(err, a, name)
	}
	return p, nil
}

// permit lets a caller use an account, and does for the request what its path
// needs.
func (g *Gateway) permit(p *Admission, call *apiCall, claims *claims, caller *Caller) (err error) {
	if p.Account.Kind != call.kind {
		return answer.BadRequest("account " + p.Account.Name + " is of kind " + p.Account.Kind.Name + ", and the request is for one of kind " + call.kind.Name)
	}
	if caller != nil {
		if err := caller.check(call.Request, p.Account, call.route.Takes == wechat.TakesTokenRequest); err != nil {
			return err
		}
	}
	switch call.route.Takes {
	case wechat.TakesTokenRequest:
		p.Issued, err = g.Registry.issue(call, p.Account, caller)
	case wechat.TakesSecret:
		p.Request, err = claims.secretRequest.inject(call, p.Account)
	case wechat.TakesToken:
		p.TokenParams = call.kind.TokenParams()
		p.Issued, err = g.Registry.issueTicket(call, p.Account)
	default:
	}
	return err
}

// call returns the request with what it takes, as far as that can be told before
// its account is known.
func (g *Gateway) call(req *http.Request) *apiCall {
	kind, ok := g.kindOf(req)
	return &apiCall{Request: req, kind: kind, route: kind.RouteOf(req.URL), isOfKind: ok}
}

// kindOf returns the kind of account that a request means, and reports whether
// the request shows it: by the account's name, token or ID, by the host, or by the
// path.
func (g *Gateway) kindOf(req *http.Request) (kind *wechat.Kind, ok bool) {
	accounts := g.Registry.Accounts
	kinds := accounts.Kinds()
	if len(kinds) == 1 {
		return kinds[0], true
	}
	if a, _ := g.namedAccount(req); a != nil { // an error is one later
		return a.Kind, true
	}
	if a := g.tokensAccount(req); a != nil {
		return a.Kind, true
	}
	for _, kind := range kinds {
		id, _ := wechat.QueryParam(req.URL.RawQuery, kind.ID)
		if a := accounts.WithID(id); a != nil && a.Kind == kind {
			return kind, true
		}
	}
	for _, kind := range kinds {
		if kind.IsHost(req.Host) {
			return kind, true
		}
	}
	if kind := accounts.KindOfPath(req.URL.Path); kind != nil {
		return kind, true
	}
	for _, kind := range kinds {
		if kind.HasForeignToken(req.URL.RawQuery) {
			return kind, true
		}
	}
	return kinds[0], false
}

// tokensAccount returns the account that a virtual token in a request names,
// which may be forged, or nil.
func (g *Gateway) tokensAccount(req *http.Request) *account.Account {
	for _, kind := range g.Registry.Accounts.Kinds() {
		token, _ := wechat.QueryParam(req.URL.RawQuery, kind.TokenParam)
		if claims, _, _ := readVirtualToken(token); claims != nil {
			return g.Registry.Accounts.WithVirtualID(claims.account)
		}
		if token != "" {
			if a := g.Registry.realTokenOwner(req.Context(), token, nil); a != nil {
				return a
			}
		}
	}
	return nil
}

// checkRequest refuses what nobody may send.
func (g *Gateway) checkRequest(call *apiCall) error {
	if madeByWebPage(call.Header) {
		return answer.Forbidden("web pages may not call the WeChat API: call it from a server, " +
			"or type the address into a browser on localhost or over HTTPS")
	}
	if call.Method == http.MethodTrace || call.Method == http.MethodConnect {
		return answer.BadRequest("the WeChat API knows no method " + call.Method)
	}
	if _, hasBearer := BearerOf(call.Header); !g.Access.AllowsAddress(g.Registry, call.Request, call.needsKey(hasBearer)) {
		return answer.Forbidden("the client's address may not call: add it to allow_ips")
	}
	if err := g.checkHost(call.Request); err != nil {
		return err
	}
	if err := wechat.CheckPath(call.URL); err != nil {
		return answer.BadRequest(err.Error())
	}
	// Caddy may have tidied the path up on its way here.
	if original, ok := call.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if err := wechat.CheckPath(original.URL); err != nil {
			return answer.BadRequest(err.Error())
		}
	}
	return nil
}

// needsKey reports whether a request needs a caller's key, where there are
// callers. A credential that the request brings along is worth the same without
// the account.
func (c *apiCall) needsKey(hasBearer bool) bool {
	return hasBearer || c.route.Takes != wechat.TakesUserToken && c.route.Takes != wechat.TakesOwn
}

// needsNoAccount reports whether a request takes no account's credentials, only
// its upstream.
func (c *apiCall) needsNoAccount() bool {
	switch c.route.Takes {
	case wechat.TakesUserToken, wechat.TakesComponentToken, wechat.TakesOwn:
		return true
	default:
		return false
	}
}

// checkHost refuses what a web page could have sent by the proxy's name.
func (g *Gateway) checkHost(req *http.Request) error {
	host := req.Host
	if g.BehindReverseProxy {
		host = originalHost(req)
	}
	switch g.Access.JudgeHost(g.Registry, req, host) {
	case HostForeign:
		return answer.Forbidden(fmt.Sprintf("any web site could have the name %s, and its pages would call the WeChat API: "+
			"call the proxy by its IP address, a name without a dot or HTTPS, or add to weixin: hosts %[1]s", ShownHost(host)))
	case HostUnspecified:
		return answer.Forbidden(fmt.Sprintf("every web page reaches the proxy by the address %s: "+
			"call it by 127.0.0.1, localhost or its own address", ShownHost(host)))
	default:
		return nil
	}
}

// identify returns the caller that makes the request, nil where there are no
// callers.
func (g *Gateway) identify(call *apiCall, c *claims) (*Caller, error) {
	if !g.Registry.HasCallers() {
		return nil, nil
	}
	switch {
	case !call.needsKey(c.hasBearer):
		return nil, nil
	case c.hasBearer:
		caller := g.Registry.CallerByKey(c.bearer)
		if caller == nil {
			return nil, answer.Forbidden("the key in the Authorization header is no caller's")
		}
		if c.virtual != nil && c.virtual.caller != caller.id {
			return nil, answer.Forbidden("the access_token was issued to another caller than " + caller.Name)
		}
		return caller, nil
	case c.tokenRequest != nil:
		caller := g.Registry.CallerByKey(c.tokenRequest.key)
		if caller == nil {
			return nil, secretRefused(call, "the secret is no caller's key")
		}
		return caller, nil
	case c.virtual != nil:
		return g.Registry.callersByID[c.virtual.caller], nil // it has one, or it were forged
	case c.real:
		return g.Registry.callerOfRealToken(c.bound)
	case c.secretRequest != nil && c.secretRequest.secret != "":
		if caller := g.Registry.CallerByKey(c.secretRequest.key); caller != nil {
			return caller, nil
		}
	}
	if c.foreign {
		// A token from before there were callers, or from before the proxy.
		return nil, call.tokenRefused(errVirtualTokenExpired)
	}
	return nil, answer.Forbidden("no caller's key: ask for a token with it as secret, or send it as Authorization: Bearer")
}

// selectAccount returns the account that the request means.
func (g *Gateway) selectAccount(call *apiCall, c *claims, caller *Caller) (*account.Account, error) {
	named, err := g.namedAccount(call.Request)
	if err != nil {
		return nil, answer.BadRequest(err.Error())
	}
	if c.tokenRequest != nil {
		return g.accountOfTokenRequest(call, c.tokenRequest, named, caller)
	}
	if c.bound != nil && named != nil && named != c.bound {
		return nil, call.tokenRefused(errOtherAccount)
	}
	a := firstAccount(named, c.bound, g.Registry.Accounts.WithID(c.id))
	if a == nil {
		a = g.accountLeft(call, caller)
	}
	if err := c.secretRequest.check(call, a, caller); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, errAccountUnclear(call)
	}
	return a, nil
}

// errAccountUnclear says how to tell which account is meant. An identity that
// several have does not.
func errAccountUnclear(call *apiCall) error {
	if call.kind.SecretsApart || !call.isOfKind {
		return answer.BadRequest("several accounts are served here, and the request does not tell which is meant: " +
			"use a token fetched here for one, write its name in the directive, as in weixin <account>, " +
			"or for an official account its appid in the query")
	}
	return answer.BadRequest("several accounts are served here: name one with its " + call.kind.ID +
		" in the query, or with a token fetched here for it")
}

func invalidID(call *apiCall) error {
	return answer.WeChat(wechat.InvalidAppID, "invalid "+call.kind.ID)
}

func firstAccount(accounts ...*account.Account) *account.Account {
	for _, a := range accounts {
		if a != nil {
			return a
		}
	}
	return nil
}

// accountLeft returns the account of a request that names none, or nil: the only
// one, or one of several where it does not matter which.
func (g *Gateway) accountLeft(call *apiCall, caller *Caller) *account.Account {
	if call.isOfKind {
		if a := g.Registry.Accounts.OnlyOf(call.kind); a != nil {
			return a
		}
	}
	if call.needsNoAccount() {
		return g.Registry.anyAccount(call.kind, caller)
	}
	return nil
}

// namedAccount returns the account that the configuration names, or nil.
func (g *Gateway) namedAccount(req *http.Request) (*account.Account, error) {
	name := g.Account
	if name == "" {
		return nil, nil
	}
	if HasPlaceholder(name) {
		repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return nil, errors.New("the account's name cannot be told for this request")
		}
		if name = repl.ReplaceAll(name, ""); name == "" {
			return nil, errors.New("the account's name is empty for this request")
		}
	}
	a := g.Registry.Accounts.Named(name)
	if a == nil {
		return nil, errors.New("there is no account of this name")
	}
	return a, nil
}

// anyAccount returns an account of a kind for a request that takes no account's
// credentials, only its upstream, if all have the same.
func (r *Registry) anyAccount(kind *wechat.Kind, caller *Caller) *account.Account {
	var first *account.Account
	for a := range r.Accounts.All() {
		if a.Kind != kind {
			continue
		}
		if first != nil && first.Upstream.String() != a.Upstream.String() {
			return nil
		}
		if first == nil && (caller == nil || caller.MayUse(a)) {
			first = a
		}
	}
	return first
}

// BearerOf returns the key in an Authorization header.
func BearerOf(h http.Header) (string, bool) {
	for _, value := range h["Authorization"] {
		if scheme, key, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key), true
		}
	}
	return "", false
}

// HasPlaceholder reports whether a name depends on the request.
func HasPlaceholder(name string) bool { return strings.Contains(name, "{") }
