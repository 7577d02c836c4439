package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// minLeft is how long a token lives at least that is given away, as far as
// WeChat allows.
const minLeft = 300 * time.Second

// maxSmallBody bounds the body of a request for a token, and of one that takes
// the secret.
const maxSmallBody = 64 << 10

// tokenRequest is an application's request for a token.
type tokenRequest struct {
	grantType, id, secret string

	// account is the account's name that stands before the key, or in place of the
	// secret; "" is none. key is the caller's.
	account, key string
}

// readTokenRequest reads a request to a token endpoint, in the form in which the
// proxy itself would ask it.
func readTokenRequest(call *apiCall) (*tokenRequest, error) {
	endpoint := call.route.Endpoint
	param, err := tokenRequestParams(call)
	if err != nil {
		return nil, err
	}
	r := new(tokenRequest)
	for name, value := range map[string]*string{"grant_type": &r.grantType, endpoint.ID: &r.id, endpoint.Secret: &r.secret} {
		if *value, err = param(name); err != nil {
			return nil, err
		}
	}
	_, hasBearer := BearerOf(call.Header)
	switch {
	case r.id == "":
		return nil, answer.WeChat(wechat.AppIDMissing, endpoint.ID+" missing")
	case r.secret == "" && !hasBearer:
		return nil, answer.WeChat(wechat.AppSecretMissing, endpoint.SecretMissing)
	case r.grantType != endpoint.GrantType && endpoint.GrantType != "":
		return nil, answer.WeChat(wechat.InvalidGrantType, "invalid grant_type")
	}
	return r, nil
}

// tokenRequestParams returns what looks up the parameters of a request for a token.
func tokenRequestParams(call *apiCall) (func(name string) (string, error), error) {
	if call.route.Endpoint.Method != http.MethodPost {
		if call.Method != http.MethodGet && call.Method != http.MethodHead {
			return nil, answer.WeChat(wechat.RequireGET, "require GET method")
		}
		return func(name string) (string, error) {
			value, _ := wechat.QueryParam(call.URL.RawQuery, name)
			return value, nil
		}, nil
	}
	if call.Method != http.MethodPost {
		return nil, answer.WeChat(wechat.RequirePOST, "require POST method")
	}
	body, err := readSmallBody(call.Request)
	if err != nil {
		return nil, err
	}
	var object jsonObject
	// WeChat takes what is no JSON for an empty request.
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
		if json.Unmarshal(trimmed, &object) != nil {
			return nil, errDataFormat()
		}
	}
	return object.text, nil
}

func errDataFormat() error { return answer.WeChat(wechat.DataFormatError, "data format error") }

// jsonObject is a JSON object whose members WeChat finds in whatever case.
type jsonObject map[string]json.RawMessage

// keysOf returns the members with a name.
func (o jsonObject) keysOf(name string) []string {
	var keys []string
	for key := range o {
		if strings.EqualFold(key, name) {
			keys = append(keys, key)
		}
	}
	return keys
}

// text returns the member with a name, which must be a string if it is there.
func (o jsonObject) text(name string) (string, error) {
	var value string
	for _, key := range o.keysOf(name) {
		if json.Unmarshal(o[key], &value) != nil {
			return "", errDataFormat()
		}
	}
	return value, nil
}

// readSmallBody reads a body that has to be small.
func readSmallBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	if req.ContentLength > maxSmallBody {
		return nil, answer.TooLarge("the request body is larger than such a request needs")
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxSmallBody+1))
	if err != nil {
		return nil, answer.BadRequest("the request body could not be read")
	}
	if len(body) > maxSmallBody {
		return nil, answer.TooLarge("the request body is larger than such a request needs")
	}
	return body, nil
}

// Issued answers an application that has asked for a token, or for a ticket.
type Issued struct {
	body []byte
}

// issue answers a request for a token.
func (r *Registry) issue(call *apiCall, a *account.Account, caller *Caller) (*Issued, error) {
	endpoint := call.route.Endpoint
	switch a.Issue {
	case account.IssueOff:
		return nil, answer.Forbidden("tokens are not issued for account " + a.Name + ": requests need none here")
	case account.IssueReal:
		token, err := a.TokenLasting(call.Context(), minLeft)
		if err != nil {
			return nil, answer.TokenFailure(err, a, r.now())
		}
		r.issuers.note(a, token)
		return issuedToken(endpoint, token.Secret(), token.ExpiresAt().Sub(r.now())), nil
	}
	claims := virtualClaims{account: a.VirtualID(), expiresAt: r.now().Add(virtualTokenLifetime + time.Second)}
	name := ""
	if caller != nil {
		claims.caller, name = caller.id, caller.Name
	}
	r.logger.Debug("virtual token issued", zap.String("account", a.Name), zap.String("caller", name))
	return issuedToken(endpoint, claims.sign(r.virtualSecrets(claims.account, claims.caller)), virtualTokenLifetime), nil
}

// issuedToken returns the answer as the token endpoint writes it that was asked.
func issuedToken(endpoint *wechat.TokenEndpoint, token string, expiresIn time.Duration) *Issued {
	type success struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
	type reply struct {
		*success
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	answered := reply{AccessToken: token, ExpiresIn: int64(expiresIn / time.Second)}
	if endpoint.ErrcodeOnSuccess {
		answered.success = &success{wechat.OK, "ok"}
	}
	// Encoding strings and ints cannot fail.
	body, _ := json.Marshal(answered)
	return &Issued{body}
}

// issueTicket answers a request for a ticket, if it is one for a ticket that the
// proxy keeps.
func (r *Registry) issueTicket(call *apiCall, a *account.Account) (*Issued, error) {
	if r.Ticket == nil {
		return nil, nil
	}
	body, err := r.Ticket(call.Request, a)
	if body == nil || err != nil {
		return nil, err
	}
	return &Issued{body}, nil
}

// Write answers a request.
func (i *Issued) Write(w http.ResponseWriter) {
	i.setHeader(w.Header())
	// The client may be gone, which is no concern of the proxy's.
	_, _ = w.Write(i.body)
}

// Response returns the answer for those who want an http.Response.
func (i *Issued) Response(req *http.Request) *http.Response {
	res := answer.NewResponse(req, http.StatusOK, i.body)
	i.setHeader(res.Header)
	return res
}

func (*Issued) setHeader(h http.Header) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
}
