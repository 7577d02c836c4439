package ticket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

const parentSecret = "the-token-of-the-account"

// parentValue is a value of an account's token.
func parentValue(t *testing.T) *credential.Value {
	t.Helper()
	m := credential.NewManager(credential.Config{Store: noStore{}, Process: credential.NewProcess(), Logger: zap.NewNop()})
	c := m.Bind(&credential.Credential{
		ID: credential.ID{Identity: "a", Upstream: "b", Secret: "c"}, Source: tokens{}, Policy: &credential.Policy{Idempotent: true},
	}, credential.NewRunner())
	v, err := m.Value(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type tokens struct{}

func (tokens) Fetch(context.Context, *credential.Value, string, bool) (credential.Grant, error) {
	return credential.Grant{Value: parentSecret, ExpiresIn: time.Hour}, nil
}

func (tokens) Check(context.Context, *credential.Value) credential.Verdict { return credential.Good }

type noStore struct{}

func (noStore) Load(context.Context, string) ([]byte, error) { return nil, nil }
func (noStore) Save(context.Context, string, []byte) error   { return nil }
func (noStore) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// Whatever the answer is, it is a ticket, WeChat's refusal or a cause, and shows no
// token.
func TestFetch(t *testing.T) {
	parent := parentValue(t)
	for name, c := range map[string]struct {
		status  int
		body    string
		err     error
		ticket  string
		failure credential.Failure
	}{
		"a ticket":           {status: 200, body: `{"errcode":0,"errmsg":"ok","ticket":"kgt8","expires_in":7200}`, ticket: "kgt8"},
		"after a mark":       {status: 200, body: "\ufeff" + ` {"ticket":"kgt8"}`, ticket: "kgt8"},
		"dead token":         {status: 200, body: `{"errcode":40001,"errmsg":"invalid credential"}`, failure: credential.Failure{Errcode: 40001, Message: "invalid credential", ParentRejected: true}},
		"as text":            {status: 200, body: `{"errcode":"42001","errmsg":"expired"}`, failure: credential.Failure{Errcode: 42001, Message: "expired", ParentRejected: true}},
		"no right":           {status: 200, body: `{"errcode":48001,"errmsg":"api unauthorized"}`, failure: credential.Failure{Errcode: 48001, Message: "api unauthorized", Class: credential.Configuration}},
		"quota":              {status: 200, body: `{"errcode":45009,"errmsg":"limit"}`, failure: credential.Failure{Errcode: 45009, Message: "limit", Class: credential.Configuration}},
		"busy":               {status: 200, body: `{"errcode":-1,"errmsg":"busy"}`, failure: credential.Failure{Errcode: -1, Message: "busy"}},
		"the token repeated": {status: 200, body: `{"errcode":40097,"errmsg":"bad ` + parentSecret + `"}`, failure: credential.Failure{Errcode: 40097, Message: "bad REDACTED", Class: credential.Configuration}},
		"no ticket":          {status: 200, body: `{"errcode":0,"errmsg":"ok"}`},
		"of lines":           {status: 200, body: `{"ticket":"a\nb"}`},
		"no JSON":            {status: 200, body: `<html>`},
		"another status":     {status: 502, body: `{"ticket":"kgt8"}`},
		"no answer":          {err: errors.New("dial " + parentSecret)},
	} {
		t.Run(name, func(t *testing.T) {
			var asked *url.URL
			s := &Source{
				Kind: wechat.Official, Type: wechat.Official.Tickets[0], Base: &url.URL{Scheme: "https", Host: "api.example", Path: "/wx"},
				RoundTripper: roundTrip(func(req *http.Request) (*http.Response, error) {
					asked = req.URL
					return &http.Response{StatusCode: c.status, Body: io.NopCloser(strings.NewReader(c.body))}, c.err
				}),
			}
			grant, err := s.Fetch(t.Context(), parent, "", false)
			if want := "https://api.example/wx/cgi-bin/ticket/getticket?access_token=" + parentSecret + "&type=jsapi"; asked.String() != want {
				t.Errorf("asked %s", asked)
			}
			if grant.Value != c.ticket || (err == nil) != (c.ticket != "") {
				t.Fatalf("got %v, %v", grant, err)
			}
			f, refused := errors.AsType[*credential.Failure](err)
			if refused != (c.failure.Errcode != 0) || refused && *f != c.failure {
				t.Errorf("got %#v", f)
			}
			if err != nil && strings.Contains(err.Error(), parentSecret) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}
