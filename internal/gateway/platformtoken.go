package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// otherToken is the answer to a token at an API that does not take it.
func otherToken() error { return answer.BadRequest("this API takes another token than the account's") }

// subjectOfTokenRequest returns whose token a request wants that is for a platform.
func (g *Gateway) subjectOfTokenRequest(call *apiCall, c *claims, named subject, caller *Caller) (subject, error) {
	t := c.tokenRequest
	switch call.route.Endpoint {
	case wechat.ComponentToken, wechat.AuthorizerToken:
	default:
		return g.authorizerOfTokenRequest(call, t, named, caller)
	}
	p := g.Registry.platformWithID(t.id)
	switch {
	case p == nil || named.platform != nil && named.platform != p:
		return subject{}, invalidID(call)
	case t.account != "" && t.account != p.component.Name && t.account != t.secret:
		return subject{}, secretRefused(call, "the secret names another than platform "+p.component.Name+": write "+p.component.Name+" before the colon")
	case t.authorizer == "" && named.appID != "":
		return subject{}, answer.Forbidden("account " + named.name() + " is served here, and not its platform: ask for the token where " + named.configured() + " is served")
	case t.authorizer == "":
		return p.own(), nil
	case c.bound != subject{} && c.bound != p.own():
		return subject{}, answer.BadRequest("this API takes the token of platform " + p.component.Name + ", and the request has another's")
	case !named.serves(p.of(t.authorizer)):
		return subject{}, answer.Forbidden("account " + named.name() + " is served here alone")
	}
	s := p.of(t.authorizer)
	err := s.find(call.Context(), caller)
	if errors.Is(err, platform.ErrNotAuthorized) {
		return s, answer.WeChat(wechat.Unauthorized, "component is not authorized by this account")
	}
	return s, asAnswer(call.Context(), err, s)
}

// asksForAuthorizer reports whether a request at the token endpoint of official
// accounts is for an account that has authorised a platform. One that is
// configured with the AppID comes first.
func (g *Gateway) asksForAuthorizer(call *apiCall, t *tokenRequest, named subject) bool {
	if named.account != nil || wechat.Platform.Route(call.URL.Path).Takes != wechat.TakesTokenRequest {
		return false
	}
	return g.Registry.platformNamed(t.account) != nil || len(g.Registry.Accounts.AllWithID(call.kind, t.id)) == 0
}

// authorizerOfTokenRequest returns the account that has authorised a platform whose
// token a request wants in the way in which an account itself does.
func (g *Gateway) authorizerOfTokenRequest(call *apiCall, t *tokenRequest, named subject, caller *Caller) (subject, error) {
	platforms := g.Registry.platforms
	if p := g.Registry.platformNamed(t.account); p != nil {
		platforms = []*servedPlatform{p}
	}
	switch {
	case named.platform != nil && len(platforms) == 1 && platforms[0] != named.platform:
		return subject{}, secretRefused(call, named.configured()+" is served here, and the secret names another: write "+named.platform.component.Name+" before the colon")
	case named.platform != nil:
		platforms = []*servedPlatform{named.platform}
	}
	if g.Registry.platformWithID(t.id) != nil {
		return subject{}, answer.WeChat(wechat.ComponentAtWrongToken,
			"this appid is a platform's: ask for its token at "+wechat.ComponentToken.Path)
	}
	if named.appID != "" && named.appID != t.id {
		return subject{}, invalidID(call)
	}
	if caller != nil && !slices.ContainsFunc(platforms, caller.mayUseSomeOf) {
		return subject{}, invalidID(call)
	}
	s, err := g.lookUp(call.Context(), t.id, platforms, caller)
	if errors.Is(err, platform.ErrNotAuthorized) {
		return s, invalidID(call)
	}
	call.kind, call.route = wechat.Platform, wechat.Platform.Route(call.URL.Path)
	return s, asAnswer(call.Context(), err, s)
}

// subjectOfSecretRequest returns the platform whose secret a request takes.
func (g *Gateway) subjectOfSecretRequest(call *apiCall, c *claims, named subject, caller *Caller) (subject, error) {
	if call.route.Instead != "" {
		return subject{}, g.orInstead(invalidID(call), call, c, named, caller)
	}
	id := c.secretRequest.id()
	p := g.Registry.platformWithID(id)
	if id == "" {
		p = c.bound.platform
	}
	if id == "" && p == nil {
		p = g.platformOf(call, "", named)
	}
	switch {
	case p == nil || !named.serves(p.own()):
		return subject{}, invalidID(call)
	case c.bound != subject{} && c.bound != p.own():
		return subject{}, call.tokenRefused(errOtherAccount)
	}
	return p.own(), c.secretRequest.check(call, p.component, caller)
}

// orInstead returns an error, or the answer that says what to call in place of an
// API that takes the secret of an account which has authorised a platform.
func (g *Gateway) orInstead(err error, call *apiCall, c *claims, named subject, caller *Caller) error {
	if len(g.Registry.platforms) == 0 || c.secretRequest == nil || named.account != nil && named.platform == nil {
		return err
	}
	instead := wechat.Platform.Route(call.URL.Path).Instead
	refusal := answer.BadRequest("the AppSecret of an account that has authorised a platform is not known here: call " + instead + " in place of " + call.URL.Path)
	if instead == "" {
		return err
	}
	id := c.secretRequest.id()
	if id == "" && call.kind == wechat.Platform {
		return refusal
	}
	if g.Registry.Accounts.WithID(id) != nil {
		return err
	}
	if _, lookUpErr := g.lookUp(call.Context(), id, g.candidates(call, named), caller); lookUpErr == nil {
		return refusal
	}
	return err
}

// bodyText returns a member of the request's body, which is text, or "". The body
// stays what it is.
func (c *apiCall) bodyText(name string) string {
	if c.Body == nil || c.ContentLength == 0 || c.ContentLength > maxSmallBody {
		return ""
	}
	if c.bodyObject == nil {
		c.readObject()
	}
	value, _ := c.bodyObject.text(name)
	return value
}

// readObject reads the body if it is a small JSON object.
func (c *apiCall) readObject() {
	body := c.Body
	read, err := io.ReadAll(io.LimitReader(body, maxSmallBody+1))
	var rest io.Reader = body
	if err != nil {
		rest = failingReader{err}
	}
	out := *c.Request
	out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(read), rest))
	c.Request, c.bodyObject = &out, jsonObject{}
	if len(read) <= maxSmallBody {
		// What is no object has no members.
		_ = json.Unmarshal(bytes.TrimPrefix(read, []byte("\ufeff")), &c.bodyObject)
	}
}

// failingReader fails as the body has.
type failingReader struct{ err error }

// Read implements io.Reader.
func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
