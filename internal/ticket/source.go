package ticket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Source is the API that hands out an account's tickets of a type. The account's
// token is the parent of the credential whose source it is.
type Source struct {
	Kind *wechat.Kind // of the account
	Type wechat.TicketType
	Base *url.URL // of the account's API

	// RoundTripper reaches the API. It gets requests with what Context adds to
	// theirs.
	RoundTripper http.RoundTripper
	Context      func(context.Context) context.Context

	// Redact returns a text of WeChat's without the account's secrets. It may be nil.
	Redact func(string) string
}

const maxAnswer = 64 << 10

// Fetch implements credential.Source.
func (s *Source) Fetch(ctx context.Context, parent *credential.Value, _ string, _ bool) (credential.Grant, error) {
	if s.Context != nil {
		ctx = s.Context(ctx)
	}
	status, body, err := s.get(ctx, parent)
	if err != nil {
		return credential.Grant{}, wechat.RedactError(err, func(text string) string { return s.redact(text, parent) })
	}
	if errcode, result := wechat.ScanErrcode(body); result == wechat.ScanFound && errcode != wechat.OK {
		return credential.Grant{}, s.failure(errcode, wechat.ErrmsgOf(body), parent)
	}
	if status != http.StatusOK {
		return credential.Grant{}, fmt.Errorf("the ticket's API answered with HTTP status %d", status)
	}
	parent.Accept()
	var answer struct {
		Ticket string `json:"ticket"`
	}
	if json.Unmarshal(body, &answer) != nil || !wechat.IsToken(answer.Ticket) {
		return credential.Grant{}, errors.New("the ticket's API answered without a usable ticket")
	}
	return credential.Grant{Value: answer.Ticket, ExpiresIn: Policy.Life}, nil
}

// get asks the API.
func (s *Source) get(ctx context.Context, parent *credential.Value) (status int, body []byte, err error) {
	u := s.Base.JoinPath(s.Type.Path)
	u.RawQuery = s.Kind.TokenParam + "=" + parent.Escaped()
	if query := s.Type.URLQuery(); query != "" {
		u.RawQuery += "&" + query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, nil, errors.New("the upstream is no URL")
	}
	res, err := wechat.Send(s.RoundTripper, req, maxAnswer)
	if err != nil {
		return 0, nil, err
	}
	return res.Status, bytes.TrimSpace(bytes.TrimPrefix(res.Body, []byte("\ufeff"))), nil
}

// failure is a refusal of WeChat's.
func (s *Source) failure(errcode int, errmsg string, parent *credential.Value) error {
	f := &credential.Failure{Errcode: errcode, Message: s.redact(errmsg, parent), ParentRejected: s.Kind.IsTokenError(errcode)}
	if errcode > 0 && s.Kind.Accepts(errcode) {
		// Also where the day's quota is used up: it can be cleared at any time.
		f.Class = credential.Configuration
		parent.Accept() // WeChat looks at the token before it looks at anything else
	}
	return f
}

func (s *Source) redact(text string, parent *credential.Value) string {
	if s.Redact != nil {
		text = s.Redact(text)
	}
	return wechat.Redact(text, parent.Secret())
}

// Check implements credential.Source. No call tells whether a ticket is good.
func (s *Source) Check(context.Context, *credential.Value) credential.Verdict {
	return credential.Unknown
}
