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

	bound   *account.Account //  the account for which its tokens were issued
	virtual *virtualClaims   //  of a valid virtual token
	real    bool             // there is a real token of the account's
	foreign bool             // there is an access_token of which nothing is known

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
		return c, nil
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
	for value := range wechat.QueryParams(call.URL.RawQuery, call.kind.TokenParam) {
		var err error
		switch {
		case account.IsVirtualToken(value):
			err = g.readVirtualToken(call, c, value)
		case value != "" && call.route.Takes == wechat.TakesToken:
			err = g.readRealToken(call, c, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) readVirtualToken(call *apiCall, c *claims, value string) error {
	if call.needsNoAccount() {
		return answer.BadRequest("this API takes another token than the account's")
	}
	v, err := verifyVirtualToken(value, g.Registry.now(), g.Registry.virtualSecrets)
	switch {
	case err != nil && call.route.Takes == wechat.TakesToken && g.realTokenOwner(call, c, value) != nil:
		// The account's upstream is a proxy like this one.
		return g.readRealToken(call, c, value)
	case err != nil:
		return call.tokenRefused(err)
	case g.Registry.HasCallers() && v.caller == account.VirtualID{}:
		c.foreign = true // from before there were callers
		return nil
	case c.virtual != nil && c.virtual.caller != v.caller:
		return call.tokenRefused(errTokensDiffer)
	}
	c.virtual = v
	return c.bind(call, g.Registry.Accounts.WithVirtualID(v.account))
}

func (g *Gateway) readRealToken(call *apiCall, c *claims, value string) error {
	owner := g.realTokenOwner(call, c, value)
	if owner == nil {
		c.foreign = true
		return nil
	}
	c.real = true
	return c.bind(call, owner)
}

// realTokenOwner returns the account whose real token this is, or nil.
func (g *Gateway) realTokenOwner(call *apiCall, c *claims, value string) *account.Account {
	likely, _ := g.namedAccount(call.Request) // an error is one later
	if likely == nil {
		likely = g.Registry.Accounts.WithID(c.id)
	}
	if likely == nil {
		likely = g.Registry.Accounts.OnlyOf(call.kind)
	}
	return g.Registry.realTokenOwner(call.Context(), value, likely)
}

// bind notes for which account a token of the request was issued.
func (c *claims) bind(call *apiCall, a *account.Account) error {
	if c.bound != nil && c.bound != a {
		return call.tokenRefused(errTokensDiffer)
	}
	c.bound = a
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
