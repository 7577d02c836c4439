package gateway

import (
	"errors"
	"net/http"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// claims is what a request says of itself.
type claims struct {
	bearer    string // of the Authorization header
	hasBearer bool

	bound   subject        //  for which its tokens were issued
	virtual *virtualClaims //  of a valid virtual token
	real    bool           // there is a real token of the account's
	foreign bool           // there is a token of which nothing is known

	// besidePlatform is whether the request brings a platform's token with it that is
	// not the proxy's.
	besidePlatform bool

	id string // the AppID or corpid, as the request has it where it means an account

	tokenRequest  *tokenRequest  // to a token endpoint
	secretRequest *secretRequest // to an API that takes the secret
}

func (g *Gateway) readClaims(call *apiCall) (*claims, error) {
	c := new(claims)
	c.bearer, c.hasBearer = BearerOf(call.Header)
	c.id, _ = wechat.QueryParam(call.URL.RawQuery, call.kind.ID)
	var err error
	switch call.route.Takes {
	case wechat.TakesTokenRequest:
		if c.tokenRequest, err = readTokenRequest(call); err != nil {
			return nil, err
		}
		c.tokenRequest.account, c.tokenRequest.key = g.Registry.readSecret(c.tokenRequest.secret)
		c.id = c.tokenRequest.id
		if call.route.Endpoint != wechat.AuthorizerToken {
			return c, nil
		}
	case wechat.TakesSecret:
		if c.secretRequest, err = readSecretRequest(call); err != nil {
			return nil, err
		}
		c.secretRequest.account, c.secretRequest.key = g.Registry.readSecret(c.secretRequest.secret)
		if c.id == "" {
			c.id = c.secretRequest.id()
		}
	default:
	}
	return c, g.readTokens(call, c)
}

// Errors of tokens that the proxy has issued.
var (
	errOtherAccount = errors.New("it was issued for another account")
	errTokensDiffer = errors.New("the request has several, which were not issued to the same caller for the same account")
)

// readTokens checks every token that the request carries.
func (g *Gateway) readTokens(call *apiCall, c *claims) error {
	for _, param := range call.kind.TokenParams() {
		for value := range wechat.QueryParams(call.URL.RawQuery, param) {
			if err := g.readToken(call, c, param, value); err != nil {
				return err
			}
		}
	}
	if call.kind != wechat.Platform {
		return g.refuseOfPlatform(call)
	}
	if c.besidePlatform && call.route.Takes == wechat.TakesToken {
		if c.virtual != nil || c.real {
			return otherToken()
		}
		call.route = besidePlatform
	}
	return nil
}

// besidePlatform is the route of requests that bring with them a platform's token
// which is not the proxy's.
var besidePlatform = &wechat.Route{Takes: wechat.TakesComponentToken}

func (g *Gateway) readToken(call *apiCall, c *claims, param, value string) error {
	switch {
	case value == "":
		return nil
	case account.IsVirtualToken(value):
		return g.readVirtualToken(call, c, value)
	case call.route.Takes != wechat.TakesToken && call.route.Takes != wechat.TakesTokenRequest:
		return nil
	}
	known, err := g.readRealToken(call, c, value)
	switch {
	case known:
	case param == wechat.ComponentTokenParam:
		c.besidePlatform, c.foreign = true, true
	default:
		c.foreign = true
	}
	return err
}

// refuseOfPlatform refuses a platform's virtual token where something else is
// served.
func (g *Gateway) refuseOfPlatform(call *apiCall) error {
	if len(g.Registry.platforms) == 0 {
		return nil
	}
	for value := range wechat.QueryParams(call.URL.RawQuery, wechat.ComponentTokenParam) {
		if account.IsVirtualToken(value) {
			return call.tokenRefused(errOtherAccount)
		}
	}
	return nil
}

func (g *Gateway) readVirtualToken(call *apiCall, c *claims, value string) error {
	if call.needsNoAccount() {
		return otherToken()
	}
	v, err := verifyVirtualToken(value, g.Registry.now(), g.Registry.virtualSecrets)
	switch {
	case err != nil:
		if call.route.Takes == wechat.TakesToken {
			// The account's upstream may be a proxy like this one.
			if known, err := g.readRealToken(call, c, value); known {
				return err
			}
		}
		return call.tokenRefused(err)
	case g.Registry.HasCallers() && v.caller == account.VirtualID{}:
		c.foreign = true // from before there were callers
		return nil
	case c.virtual != nil && c.virtual.caller != v.caller:
		return call.tokenRefused(errTokensDiffer)
	}
	c.virtual = v
	return c.bind(call, g.Registry.subjectOfToken(v))
}

// readRealToken reports whether a token is a real one that was issued here.
func (g *Gateway) readRealToken(call *apiCall, c *claims, value string) (known bool, err error) {
	owner := g.realTokenOwner(call, c, value)
	if owner == (subject{}) {
		return false, nil
	}
	c.real = true
	return true, c.bind(call, owner)
}

// realTokenOwner returns whose real token this is, or the zero subject.
func (g *Gateway) realTokenOwner(call *apiCall, c *claims, value string) subject {
	r := g.Registry
	named, _ := g.named(call.Request) // an error is one later
	likely := firstAccount(named.account, r.Accounts.WithID(c.id))
	switch {
	case likely != nil || len(r.issuers.accounts) == 0:
	case call.kind != wechat.Platform:
		likely = r.Accounts.OnlyOf(call.kind)
	default:
		if p := g.platformOf(call, c.id, named); p != nil {
			likely = p.component
		}
	}
	return r.realTokenOwner(call.Context(), value, likely)
}

// bind notes for whom a token of the request was issued.
func (c *claims) bind(call *apiCall, s subject) error {
	if c.bound != (subject{}) && c.bound != s {
		return call.tokenRefused(errTokensDiffer)
	}
	c.bound = s
	return nil
}

// tokenRefused is the one answer of the proxy's with a token's errcode: the
// token is the proxy's own, and the SDK is to ask for another. Those that send
// their whole request before they look for an answer must not see a reset.
func (c *apiCall) tokenRefused(cause error) error {
	told := &c.kind.TokenExpired
	if errors.Is(cause, errVirtualTokenForged) {
		told = &c.kind.TokenForged
	}
	return &answer.Error{Status: http.StatusOK, Errcode: told.Code, Message: told.Msg + ": " + cause.Error(), ReadBody: true, AboutToken: true}
}
