package weixin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Ways to answer applications that ask for a token.
const (
	issueVirtual = "virtual" // with a virtual token
	issueReal    = "real"    // with the account's access_token
	issueOff     = "off"     // not at all
)

// minLeft is how long a token lives at least that is given away, as far as
// WeChat allows.
const minLeft = 300 * time.Second

// maxSmallBody bounds the body of a request for a token, and of one that takes
// the AppSecret.
const maxSmallBody = 64 << 10

// wechatError is what WeChat itself would answer, so that an SDK understands.
func wechatError(errcode int, message string) *proxyError {
	return &proxyError{status: http.StatusOK, errcode: errcode, message: message}
}

// tokenRequest is an application's request for a token.
type tokenRequest struct {
	GrantType string `json:"grant_type"`
	AppID     string `json:"appid"`
	Secret    string `json:"secret"`
}

// readTokenRequest reads a request to /cgi-bin/token or /cgi-bin/stable_token.
func readTokenRequest(req *http.Request) (*tokenRequest, *proxyError) {
	r := new(tokenRequest)
	if wechat.IsStableToken(req.URL.Path) {
		if req.Method != http.MethodPost {
			return nil, wechatError(wechat.RequirePOST, "require POST method")
		}
		body, err := readSmallBody(req)
		if err != nil {
			return nil, err
		}
		// WeChat takes what is no JSON for an empty request.
		if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
			if json.Unmarshal(trimmed, r) != nil {
				return nil, wechatError(wechat.DataFormatError, "data format error")
			}
		}
	} else {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return nil, wechatError(wechat.RequireGET, "require GET method")
		}
		r.GrantType, _ = wechat.QueryParam(req.URL.RawQuery, "grant_type")
		r.AppID, _ = wechat.QueryParam(req.URL.RawQuery, "appid")
		r.Secret, _ = wechat.QueryParam(req.URL.RawQuery, "secret")
	}
	_, hasBearer := bearerOf(req.Header)
	switch {
	case r.AppID == "":
		return nil, wechatError(wechat.AppIDMissing, "appid missing")
	case r.Secret == "" && !hasBearer:
		return nil, wechatError(wechat.AppSecretMissing, "appsecret missing")
	case r.GrantType != "client_credential":
		return nil, wechatError(wechat.InvalidGrantType, "invalid grant_type")
	}
	return r, nil
}

// readSmallBody reads a body that has to be small.
func readSmallBody(req *http.Request) ([]byte, *proxyError) {
	if req.Body == nil {
		return nil, nil
	}
	if req.ContentLength > maxSmallBody {
		return nil, tooLarge("the request body is larger than such a request needs")
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxSmallBody+1))
	if err != nil {
		return nil, badRequest("the request body could not be read")
	}
	if len(body) > maxSmallBody {
		return nil, tooLarge("the request body is larger than such a request needs")
	}
	return body, nil
}

// grantAnswer is what a token endpoint answers.
type grantAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds

	raw []byte // the answer itself, where it is another API's
}

// grant answers a request for a token.
func (app *App) grant(ctx context.Context, account *Account, caller *caller) (*grantAnswer, *proxyError) {
	switch app.issue[account.Name] {
	case issueOff:
		return nil, forbidden("tokens are not issued for account " + account.Name + ": requests need none here")
	case issueReal:
		token, err := app.tokens.TokenLasting(ctx, account, minLeft)
		if err != nil {
			return nil, tokenFailure(err, account, app.tokens.now())
		}
		app.realIssuers.note(account, token)
		return &grantAnswer{AccessToken: token.Secret(), ExpiresIn: int64(token.ExpiresAt().Sub(app.tokens.now()) / time.Second)}, nil
	}
	claims := virtualClaims{account: account.virtualID, expiresAt: app.tokens.now().Add(virtualTokenLifetime + time.Second)}
	name := ""
	if caller != nil {
		claims.caller, name = caller.id, caller.name
	}
	app.logger.Debug("virtual token issued", zap.String("account", account.Name), zap.String("caller", name))
	return &grantAnswer{AccessToken: claims.sign(app.virtualSecrets(claims.account, claims.caller)), ExpiresIn: int64(virtualTokenLifetime / time.Second)}, nil
}

// tokenFailure returns the answer where there is no token.
func tokenFailure(err error, account *Account, now time.Time) *proxyError {
	if tokenErr, ok := errors.AsType[*TokenError](err); ok {
		return tokenErr.proxyError(now)
	}
	if errors.Is(err, errNestedFetch) {
		return loopDetected(err).of(account, nil)
	}
	if errors.Is(err, errStillRejected) {
		return unavailable(http.StatusServiceUnavailable, "WeChat refuses every token of account "+account.Name)
	}
	return unavailable(statusClientClosedRequest, "the client went away")
}

// virtualSecrets returns what virtual tokens of an account and a caller are
// signed with, or nil.
func (app *App) virtualSecrets(account, caller virtualID) *virtualSecrets {
	a, ok := app.byVirtualID[account]
	if !ok {
		return nil
	}
	s := &virtualSecrets{accountKey: a.virtualKey}
	if caller == (virtualID{}) {
		return s
	}
	c, ok := app.callersByID[caller]
	if !ok {
		return nil
	}
	s.callerKey = c.keyDigest
	return s
}

// body returns the answer as WeChat writes it.
func (g *grantAnswer) body() []byte {
	if g.raw != nil {
		return g.raw
	}
	// Encoding a string and an int cannot fail.
	body, _ := json.Marshal(g)
	return body
}

// response returns the answer for those who want an http.Response.
func (g *grantAnswer) response(req *http.Request) *http.Response {
	res := newResponse(req, http.StatusOK, g.body())
	g.setHeader(res.Header)
	return res
}

func (g *grantAnswer) setHeader(h http.Header) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
}
