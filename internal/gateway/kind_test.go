package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// madeUp is a kind of account that does not exist. Nothing in it is as official
// accounts have it. That it works, end to end, shows that a kind is data.
var madeUp = (&wechat.Kind{
	Name:         "made-up",
	Host:         "https://api.made-up.example",
	ID:           "shopid",
	SecretParams: []string{"passphrase", "pass"},
	TokenEndpoints: []*wechat.TokenEndpoint{{
		Name: "give", Method: http.MethodGet, Path: "/token/give", ID: "shopid", Secret: "passphrase",
		SecretMissing: "passphrase missing", ErrcodeOnSuccess: true,
		Policy: wechat.Policy{Lead: time.Minute, Idempotent: true},
	}},
	TokenParam:   "ticket",
	TokenErrors:  []int{7001},
	Undecided:    []int{7002},
	TokenExpired: wechat.Error{Code: 7001, Msg: "too old"},
	TokenForged:  wechat.Error{Code: 7003, Msg: "not ours"},
	ErrorHeader:  "X-Code",

	SecretRefused: wechat.Error{Code: 7004, Msg: "wrong passphrase"},
	CheckPath:     "/ping",
	Routes: []wechat.Route{
		{Path: "/login", Takes: wechat.TakesSecret, SecretParam: "pass"},
		{Path: "/robot/*", Takes: wechat.TakesOwn},
	},
	Families: []string{"/token/give", "/login", "/robot/", "/goods/"},
	Failures: map[int]wechat.FailureClass{7100: wechat.Configuration},
	Advice:   map[int][2]string{7100: {"Call the shop.", "请致电商店。"}},
}).Indexed()

// madeUpServer is the API of that kind.
type madeUpServer struct {
	mu      sync.Mutex
	tokens  int  // handed out; the last one is good
	refuses bool // the token endpoint
	query   url.Values
}

func (s *madeUpServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.query = req.URL.Query()
	good := fmt.Sprintf("token-%d", s.tokens)
	answered := func(errcode int, body string) {
		w.Header().Set("X-Code", fmt.Sprint(errcode))
		_, _ = io.WriteString(w, body)
	}
	switch {
	case req.URL.Path == "/token/give" && s.refuses:
		answered(7100, `{"errcode":7100,"errmsg":"closed"}`)
	case req.URL.Path == "/token/give":
		if s.query.Encode() != "passphrase=open+sesame&shopid=s1" || req.Method != http.MethodGet {
			answered(7101, `{"errcode":7101,"errmsg":"what is that"}`)
			return
		}
		s.tokens++
		answered(0, fmt.Sprintf(`{"errcode":0,"errmsg":"ok","access_token":"token-%d","expires_in":7200}`, s.tokens))
	case req.URL.Path == "/login" || strings.HasPrefix(req.URL.Path, "/robot/"):
		answered(0, `{"errcode":0}`)
	case s.query.Get("ticket") != good:
		// The header alone tells it: the body says something else.
		answered(7001, `{"errcode":0,"errmsg":"see the header"}`)
	default:
		answered(0, `{"errcode":0,"goods":[]}`)
	}
}

// kill has the current token be refused.
func (s *madeUpServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens++
}

func (s *madeUpServer) setRefuses() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = true
}

// last returns the query of the last request.
func (s *madeUpServer) last() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.query
}

type emptyStore struct{}

// Load returns nothing.
func (emptyStore) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

// Save does nothing.
func (emptyStore) Save(context.Context, string, []byte) error { return nil }

// Lock locks nothing.
func (emptyStore) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// served is a gateway with a proxy behind it.
type served struct {
	t       *testing.T
	gateway *gateway.Gateway
	proxy   *proxy.Proxy
}

// serve returns a proxy for accounts.
func serve(t *testing.T, accounts ...*account.Account) *served {
	t.Helper()
	logger := zap.NewNop()
	connections := upstream.NewTransport(time.Minute)
	base, err := upstream.NewRoundTripper(upstream.NetHTTP, connections)
	if err != nil {
		t.Fatal(err)
	}
	m := credential.NewManager(credential.Config{
		Store: store.Watch(emptyStore{}, logger), Process: credential.NewProcess(), Logger: logger,
	})
	t.Cleanup(m.Close)
	for _, a := range accounts {
		a.Bind(m, base, credential.NewRunner())
		if err := a.MakeVirtualKey(); err != nil {
			t.Fatal(err)
		}
	}
	directory, err := account.NewDirectory(accounts...)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := gateway.NewRegistry(directory, m.Now, logger)
	if err != nil {
		t.Fatal(err)
	}
	access := new(gateway.Access)
	if err := access.Prepare(); err != nil {
		t.Fatal(err)
	}
	p := proxy.New(proxy.Config{
		Base: base, Logger: logger, Log: answer.NewLog(logger), BodyBuffer: 1 << 10, BodyLimit: 1 << 20, Timeout: time.Minute,
	})
	t.Cleanup(p.Close)
	return &served{t, &gateway.Gateway{Registry: registry, Access: access}, p}
}

// get answers a request as the handler does.
func (s *served) get(target string) (res *http.Response, body map[string]any) {
	s.t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, target, nil)
	req.RemoteAddr, req.Host = "@", "localhost"
	s.answer(w, req)
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		s.t.Fatalf("%s: %s: %v", target, w.Body, err)
	}
	return w.Result(), body
}

func (s *served) want(target string, errcode int) (res *http.Response, body map[string]any) {
	s.t.Helper()
	res, body = s.get(target)
	if got, _ := body["errcode"].(float64); int(got) != errcode {
		s.t.Errorf("%s: status %d, %v; want errcode %d", target, res.StatusCode, body, errcode)
	}
	return res, body
}

func startServer(t *testing.T, h http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// startMadeUp returns an account of the made-up kind with its server.
func startMadeUp(t *testing.T) (*account.Account, *madeUpServer) {
	t.Helper()
	server := new(madeUpServer)
	return &account.Account{
		Name: "made-up", Kind: madeUp, Endpoint: madeUp.TokenEndpoint(""), Upstream: startServer(t, server),
		Credentials: wechat.Credentials{ID: "s1", Secret: "open sesame"},
	}, server
}

// A kind that is nowhere but here has its token injected, replaced and issued.
func TestKindIsData(t *testing.T) {
	a, server := startMadeUp(t)
	s := serve(t, a)

	s.want("/goods/list?x=1", 0)
	if q := server.last(); q.Get("ticket") != "token-1" || q.Get("x") != "1" || q.Has("access_token") {
		t.Errorf("the API was asked with %v", q)
	}

	_, issued := s.want("/token/give?shopid=s1&passphrase=anything", 0)
	token, _ := issued["access_token"].(string)
	if !account.IsVirtualToken(token) || issued["errmsg"] != "ok" || issued["expires_in"] != 7200.0 {
		t.Errorf("the token endpoint's answer: %v", issued)
	}
	s.want("/token/give?shopid=s2&passphrase=anything", wechat.InvalidAppID)
	s.want("/token/give?shopid=s1", wechat.AppSecretMissing)
	s.want("/goods/list?ticket="+token, 0)
	if q := server.last(); q.Get("ticket") != "token-1" {
		t.Errorf("a virtual token was not replaced: %v", q)
	}
	s.want("/goods/list?ticket="+token[:len(token)-2]+"xx", 7003)

	server.kill()
	res, _ := s.want("/goods/list?ticket="+token, 0)
	if got := res.Header.Get(answer.ReplayedHeader); got != "7001" {
		t.Errorf("replayed for %q", got)
	}

	s.want("/login?pass=anything&code=1", 0)
	if q := server.last(); q.Get("shopid") != "s1" || q.Get("pass") != "open sesame" || q.Get("code") != "1" || q.Has("ticket") {
		t.Errorf("the API that takes the secret was asked with %v", q)
	}
	s.want("/robot/send?key=mine", 0)
	if q := server.last(); q.Encode() != "key=mine" {
		t.Errorf("an API with a credential of its own was asked with %v", q)
	}
}

// What its token endpoint refuses is told with its advice.
func TestKindFailure(t *testing.T) {
	a, server := startMadeUp(t)
	server.setRefuses()
	s := serve(t, a)
	res, body := s.want("/goods/list", 7100)
	if errmsg, _ := body["errmsg"].(string); res.StatusCode != http.StatusBadGateway || !strings.HasSuffix(errmsg, "Call the shop.") {
		t.Errorf("status %d, %v", res.StatusCode, body)
	}
}

// Accounts of several kinds stand side by side.
func TestKindsSideBySide(t *testing.T) {
	a, server := startMadeUp(t)
	var mu sync.Mutex
	var asked url.Values
	official := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == wechat.Stable.Path {
			_, _ = io.WriteString(w, `{"access_token":"official-1","expires_in":7200}`)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		asked = req.URL.Query()
		_, _ = io.WriteString(w, `{"errcode":0}`)
	}))
	s := serve(t, a, &account.Account{
		Name: "shop", Kind: wechat.Official, Endpoint: wechat.Stable, Upstream: official,
		Credentials: wechat.Credentials{ID: "wx1", Secret: "a-secret-of-some-length"},
	})
	officialAsked := func() url.Values {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}

	s.want("/wxa/getwxacode", 0) // a path that official accounts alone have
	if q := officialAsked(); q.Get("access_token") != "official-1" {
		t.Errorf("the official API was asked with %v", q)
	}
	s.want("/goods/list", 0)
	if q := server.last(); q.Get("ticket") != "token-1" {
		t.Errorf("the made-up API was asked with %v", q)
	}
	s.want("/x/y?appid=wx1", 0)
	if q := officialAsked(); q.Get("appid") != "wx1" {
		t.Errorf("the AppID did not tell the account: %v", q)
	}
	s.want("/x/y?shopid=s1", 0)
	if q := server.last(); q.Get("shopid") != "s1" {
		t.Errorf("the made-up kind's ID did not tell the account: %v", q)
	}
	s.want("/goods/list?appid=wx1&z=2", 0) // as with an argument or a token, the account's ID says more than the path
	if q := officialAsked(); q.Get("z") != "2" || q.Get("access_token") != "official-1" {
		t.Errorf("the AppID did not tell the account at a path of another kind: %v", q)
	}
	s.want("/goods/list?appid=wx-of-nobody", 0)
	if q := server.last(); q.Get("appid") != "wx-of-nobody" {
		t.Errorf("an AppID that is nobody's told the account: %v", q)
	}
	if res, _ := s.get("/x/y"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a request that may mean either account: status %d", res.StatusCode)
	}

	_, issued := s.want("/token/give?shopid=s1&passphrase=x", 0)
	token, _ := issued["access_token"].(string)
	s.want("/x/y?z=1&appid=wx1&ticket="+token, 0)
	if q := server.last(); q.Get("ticket") != "token-1" || q.Get("z") != "1" {
		t.Errorf("the token did not tell the account: %v", q)
	}
}

// A request for a ticket is answered in WeChat's place where the proxy keeps it,
// and forwarded where it does not.
func TestTicketIsIssued(t *testing.T) {
	a, server := startMadeUp(t)
	s := serve(t, a)
	s.gateway.Registry.Ticket = func(req *http.Request, of *account.Account) ([]byte, error) {
		switch {
		case of != a:
			t.Errorf("asked for one of %s", of.Name)
		case req.URL.Path == "/sign/ticket":
			return []byte(`{"errcode":0,"sign":"kept"}`), nil
		case req.URL.Path == "/sign/refused":
			return nil, answer.WeChat(48001, "api unauthorized")
		}
		return nil, nil
	}
	res, body := s.want("/sign/ticket", 0)
	if body["sign"] != "kept" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v, %v", body, res.Header)
	}
	s.want("/sign/refused", 48001)
	if q := server.last(); q != nil {
		t.Errorf("a request was forwarded: %v", q)
	}
	s.want("/goods/list?x=1", 0)
	if q := server.last(); q.Get("x") != "1" {
		t.Errorf("the API was asked with %v", q)
	}
}
