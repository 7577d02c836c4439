package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
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

	authorizer string // the AppID of an account that has authorised the platform, or ""

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
	for name, value := range map[string]*string{
		"grant_type": &r.grantType, endpoint.ID: &r.id, endpoint.Secret: &r.secret, endpoint.Authorizer: &r.authorizer,
	} {
		if name == "" {
			continue
		}
		if *value, err = param(name); err != nil {
			return nil, err
		}
	}
	_, hasBearer := BearerOf(call.Header)
	switch {
	case r.id == "":
		return nil, answer.WeChat(wechat.AppIDMissing, endpoint.ID+" missing")
	case r.authorizer == "" && endpoint.Authorizer != "":
		return nil, answer.WeChat(wechat.AppIDMissing, endpoint.Authorizer+" missing")
	case r.secret == "" && !hasBearer && endpoint.Secret != "":
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
func (r *Registry) issue(call *apiCall, s subject, caller *Caller) (*Issued, error) {
	a, t := s.account, issuedToken{endpoint: call.route.Endpoint, expiresIn: virtualTokenLifetime}
	if s.appID != "" {
		t.refresh = s.platform.VirtualRefreshToken(s.appID)
	}
	switch a.Issue {
	case account.IssueOff:
		return nil, answer.Forbidden("tokens are not issued for account " + a.Name + ": requests need none here")
	case account.IssueReal:
		token, err := a.TokenLasting(call.Context(), minLeft)
		if err != nil {
			return nil, answer.TokenFailure(err, a, r.now())
		}
		r.noteIssued(s, token)
		t.token, t.expiresIn = token.Secret(), token.ExpiresAt().Sub(r.now())
	default:
		t.token = r.virtualToken(s, caller)
	}
	return &Issued{t.body()}, nil
}

// noteIssued remembers a real token, so that it is recognised.
func (r *Registry) noteIssued(s subject, token *account.Token) {
	if s.appID != "" {
		s.platform.issued.note(token.Secret(), s.appID)
		return
	}
	r.issuers.note(s.account, token)
}

// virtualToken returns a virtual token for a caller, which may be nil.
func (r *Registry) virtualToken(s subject, caller *Caller) string {
	claims := virtualClaims{appID: s.appID, expiresAt: r.now().Add(virtualTokenLifetime + time.Second)}
	if s.platform != nil {
		claims.account = s.platform.component.VirtualID()
	} else {
		claims.account = s.account.VirtualID()
	}
	name := ""
	if caller != nil {
		claims.caller, name = caller.id, caller.Name
	}
	r.logger.Debug("virtual token issued", zap.String("account", s.name()), zap.String("caller", name))
	return claims.sign(r.virtualSecrets(claims.account, claims.caller))
}

// issuedToken is a token as the endpoint answers that was asked.
type issuedToken struct {
	endpoint       *wechat.TokenEndpoint
	token, refresh string
	expiresIn      time.Duration
}

func (t *issuedToken) body() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	if t.endpoint.ErrcodeOnSuccess {
		b.WriteString(`"errcode":0,"errmsg":"ok",`)
	}
	fmt.Fprintf(&b, `"%s":%s,"expires_in":%d`, cmp.Or(t.endpoint.TokenMember, "access_token"), quoted(t.token), t.expiresIn/time.Second)
	if t.endpoint.RefreshMember != "" {
		fmt.Fprintf(&b, `,"%s":%s`, t.endpoint.RefreshMember, quoted(t.refresh))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// quoted returns a text in JSON.
func quoted(text string) []byte {
	// Encoding a string cannot fail.
	q, _ := json.Marshal(text)
	return q
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
