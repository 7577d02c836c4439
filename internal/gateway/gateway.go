// Package gateway decides about a request before it is forwarded: who makes it,
// which account it means, whether that is allowed, and whether the proxy answers
// it itself.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

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
	Caller  string     // the caller's name; "" where there are none
	Client  netip.Addr // the client's address

	// Request is what to forward: the client's, but for the account's ID and
	// secret where the API takes them.
	Request *http.Request

	// TokenParams are the query parameters that take the account's token; nil where
	// the request takes none.
	TokenParams []string

	// Virtual is whether the request carries a virtual token. Its application
	// knows no other, so it must not hear of others' deaths.
	Virtual bool

	// Translate returns an answer as the client may see it; nil where it may see it as
	// it is.
	Translate func(context.Context, []byte) ([]byte, error)

	// Issued answers the request in WeChat's place; nil where it is forwarded.
	Issued *Issued
}

// Unasked returns the admission of a request that no application has made, so that
// nothing is checked.
func Unasked(a *account.Account, req *http.Request) *Admission {
	p := &Admission{Account: a, Request: req, Client: ClientAddr(req)}
	if a.Kind.RouteOf(req.URL).Takes == wechat.TakesToken {
		p.TokenParams = a.Kind.TokenParams()[:1]
	}
	return p
}

// Served counts the answer.
func (a *Admission) Served(status int) { a.Account.Observer.Served(a.Caller, status) }

// apiCall is a request with what its path takes.
type apiCall struct {
	*http.Request
	kind   *wechat.Kind
	route  *wechat.Route
	client netip.Addr // the client's address

	// isOfKind is whether the request shows that it means an account of the kind.
	isOfKind bool

	bodyObject jsonObject // the body's members, once they were looked for
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
	name := ""
	if caller != nil {
		name = caller.Name
	}
	if err != nil {
		return nil, answer.Of(err, nil, name)
	}
	s, err := g.selectSubject(call, claims, caller)
	if err != nil {
		return nil, answer.Of(err, s.counted(), name)
	}
	p := &Admission{Account: s.account, Caller: name, Client: call.client, Virtual: claims.virtual != nil}
	if err := g.permit(p, call, claims, s, caller); err != nil {
		return nil, answer.Of(err, s.account, name)
	}
	return p, nil
}

// permit lets a caller use an account, and does for the request what its path
// needs.
func (g *Gateway) permit(p *Admission, call *apiCall, claims *claims, s subject, caller *Caller) (err error) {
	if p.Account.Kind != call.kind {
		return answer.BadRequest("account " + p.Account.Name + " is of kind " + p.Account.Kind.Name + ", and the request is for one of kind " + call.kind.Name)
	}
	if caller != nil {
		if err := caller.check(call, s); err != nil {
			return err
		}
	}
	p.Translate = g.translator(call, claims, s, caller)
	p.Request = call.Request // whose body may have been looked into
	switch call.route.Takes {
	case wechat.TakesTokenRequest:
		p.Issued, err = g.Registry.issue(call, s, caller)
	case wechat.TakesSecret:
		p.Request, err = claims.secretRequest.inject(call, p.Account)
	case wechat.TakesToken:
		p.TokenParams = call.tokenParams()
		p.Issued, err = g.Registry.issueTicket(call, p.Account)
	default:
	}
	return err
}

// tokenParams returns the query parameters that take the account's token: those
// in which the request has one, or else one that is empty, or the one that is
// documented.
func (c *apiCall) tokenParams() []string {
	all := c.kind.TokenParams()
	if len(all) == 1 {
		return all
	}
	var params []string
	for _, param := range all {
		if param == c.route.TokenParam || wechat.HasQueryParam(c.URL.RawQuery, param) {
			params = append(params, param)
		}
	}
	for _, param := range all {
		// An empty one is an SDK's that has no token yet.
		_, stands := wechat.QueryParam(c.URL.RawQuery, param)
		if stands && len(params) == 0 && c.route.Of != wechat.OfAuthorizer {
			params = append(params, param)
		}
	}
	if len(params) == 0 {
		return all[:1]
	}
	return params
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
	if _, hasBearer := BearerOf(call.Header); !g.Access.AllowsAddress(g.Registry, call.client, call.needsKey(hasBearer)) {
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

// passesBesidePlatform reports whether a request passes with another platform's
// token, and shows no account's.
func (c *apiCall) passesBesidePlatform() bool {
	return c.kind == wechat.Platform && c.needsNoAccount() && !wechat.MayShowTokens(c.URL.Path)
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
// callers. It may return one beside an error, if that is known.
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
			return caller, answer.Forbidden("the access_token was issued to another caller than " + caller.Name)
		}
		return caller, nil
	case c.tokenRequest != nil && call.route.Endpoint.Secret != "":
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

// BearerOf returns the key in an Authorization header.
func BearerOf(h http.Header) (string, bool) {
	for _, value := range h["Authorization"] {
		if scheme, key, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key), true
		}
	}
	return "", false
}
