package weixin

import (
	"errors"
	"net/http"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// claims is what a request says of itself.
type claims struct {
	bearer    string // of the Authorization header
	hasBearer bool

	bound   *Account       // the account for which its tokens were issued
	virtual *virtualClaims // of a valid virtual token
	real    bool           // there is a real token of the account's
	foreign bool           // there is an access_token of which nothing is known

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
			c.appID = c.secretRequest.appID()
		}
	default:
	}
	return c, g.readTokens(req, kind, c)
}

// Errors of tokens that the proxy has issued.
var (
	errOtherAccount = errors.New("it was issued for another account")
	errTokensDiffer = errors.New("the request has several, which were not issued to the same caller for the same account")
)

// readTokens checks every token that the request carries.
func (g *gateway) readTokens(req *http.Request, kind wechat.PathKind, c *claims) *proxyError {
	for value := range wechat.QueryParams(req.URL.RawQuery, wechat.Official.Parameter) {
		var err *proxyError
		switch {
		case isVirtualToken(value):
			err = g.readVirtualToken(req, kind, c, value)
		case value != "" && kind == wechat.AccountToken:
			err = g.readRealToken(req, c, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) readVirtualToken(req *http.Request, kind wechat.PathKind, c *claims, value string) *proxyError {
	if kind == wechat.UserToken || kind == wechat.ComponentToken {
		return badRequest("this API takes another token than the account's")
	}
	v, err := verifyVirtualToken(value, g.app.tokens.now(), g.app.virtualSecrets)
	switch {
	case err != nil && kind == wechat.AccountToken && g.realTokenOwner(req, c, value) != nil:
		// The account's upstream is a proxy like this one.
		return g.readRealToken(req, c, value)
	case err != nil:
		return tokenRefused(err)
	case len(g.app.callers) > 0 && v.caller == virtualID{}:
		c.foreign = true // from before there were callers
		return nil
	case c.virtual != nil && c.virtual.caller != v.caller:
		return tokenRefused(errTokensDiffer)
	}
	c.virtual = v
	return c.bind(g.app.byVirtualID[v.account])
}

func (g *gateway) readRealToken(req *http.Request, c *claims, value string) *proxyError {
	owner := g.realTokenOwner(req, c, value)
	if owner == nil {
		c.foreign = true
		return nil
	}
	c.real = true
	return c.bind(owner)
}

// realTokenOwner returns the account whose real token this is, or nil.
func (g *gateway) realTokenOwner(req *http.Request, c *claims, value string) *Account {
	likely, _ := g.namedAccount(req) // an error is one later
	if likely == nil {
		likely = g.app.byAppID[c.appID]
	}
	if likely == nil {
		likely = g.app.onlyAccount()
	}
	return g.app.realTokenOwner(req.Context(), value, likely)
}

// bind notes for which account a token of the request was issued.
func (c *claims) bind(account *Account) *proxyError {
	if c.bound != nil && c.bound != account {
		return tokenRefused(errTokensDiffer)
	}
	c.bound = account
	return nil
}

// tokenRefused is the one answer of the proxy's with a token's errcode: the
// token is the proxy's own, and the SDK is to ask for another. Every SDK does so
// for this errcode, and for no other. EasyWeChat does so only where it finds
// WeChat's own words beside it.
func tokenRefused(cause error) *proxyError {
	return wechatError(wechat.AccessTokenExpired, "access_token expired: "+cause.Error())
}
