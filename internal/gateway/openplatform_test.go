package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

const (
	componentID     = "wxcomponent"
	componentSecret = "secret-of-the-component"
	merchant        = "wxmerchant1"
	otherMerchant   = "wxmerchant2"
	stranger        = "wxstranger"
)

// openPlatform is WeChat with a third-party platform.
type openPlatform struct {
	mu           sync.Mutex
	components   int            // tokens handed out; the last is good
	merchants    map[string]int // likewise, of those that have authorised it
	asked        []asked
	answers      map[string]string // by path, in place of its own
	contentType  string
	encoding     string
	answerLength int           // told in the header, if not 0
	fetched      chan struct{} // what asks for a merchant's token
}

// asked is a request to an API.
type asked struct {
	method, path string
	query        url.Values
	body         string
}

func (o *openPlatform) componentToken() string {
	return fmt.Sprintf("real-component-token-%d", o.components)
}

func (o *openPlatform) tokenOf(appID string) string {
	return fmt.Sprintf("real-token-of-%s-%d", appID, o.merchants[appID])
}

func refreshTokenOf(appID string) string { return "refreshtoken@@@real-of-" + appID }

func (o *openPlatform) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	query := req.URL.Query()
	if req.Header.Get("User-Agent") != wechat.UserAgent {
		o.asked = append(o.asked, asked{req.Method, req.URL.Path, query, string(body)})
	}
	if text, ok := o.answers[req.URL.Path]; ok {
		w.Header().Set("Content-Type", o.contentType)
		if o.encoding != "" {
			w.Header().Set("Content-Encoding", o.encoding)
		}
		if o.answerLength != 0 {
			w.Header().Set("Content-Length", fmt.Sprint(o.answerLength))
		}
		_, _ = io.WriteString(w, text)
		return
	}
	_, _ = io.WriteString(w, o.answer(req.URL.Path, query, body))
}

func (o *openPlatform) answer(path string, query url.Values, body []byte) string {
	var in map[string]any
	_ = json.Unmarshal(body, &in)
	appID, _ := in["authorizer_appid"].(string)
	_, authorized := o.merchants[appID]
	switch path {
	case "/cgi-bin/component/api_component_token":
		if in["component_appsecret"] != componentSecret || in["component_verify_ticket"] != "ticket@@@1" {
			return `{"errcode":40001,"errmsg":"secret or ticket"}`
		}
		o.components++
		return fmt.Sprintf(`{"component_access_token":%q,"expires_in":7200}`, o.componentToken())
	case "/cgi-bin/component/api_start_push_ticket", "/cgi-bin/component/clear_quota/v2":
		return `{"errcode":0,"errmsg":"ok"}`
	}
	if token := query.Get("component_access_token") + query.Get("access_token"); !o.isGood(token) {
		return `{"errcode":40001,"errmsg":"invalid credential"}`
	}
	switch {
	case path == "/cgi-bin/component/api_get_authorizer_info" && authorized:
		return fmt.Sprintf(`{"authorizer_info":{"nick_name":"x"},"authorization_info":{"authorizer_appid":%q,"authorizer_refresh_token":%q}}`, appID, refreshTokenOf(appID))
	case path == "/cgi-bin/component/api_get_authorizer_info":
		return `{"errcode":61003,"errmsg":"component is not authorized by this account"}`
	case path == "/cgi-bin/component/api_authorizer_token":
		o.merchants[appID]++
		o.fetched <- struct{}{}
		return fmt.Sprintf(`{"authorizer_access_token":%q,"expires_in":7200,"authorizer_refresh_token":%q}`, o.tokenOf(appID), refreshTokenOf(appID))
	case path == "/cgi-bin/component/api_query_auth":
		o.merchants[otherMerchant]++
		return fmt.Sprintf(`{"authorization_info":{"authorizer_appid":%q,"authorizer_access_token":%q,"expires_in":7200,"authorizer_refresh_token":%q,"func_info":[]}}`,
			otherMerchant, o.tokenOf(otherMerchant), refreshTokenOf(otherMerchant))
	}
	return `{"errcode":0,"errmsg":"ok"}`
}

// isGood reports whether a token may be used, or two that are the same.
func (o *openPlatform) isGood(token string) bool {
	good := []string{o.componentToken(), "token-of-another-platform"}
	for appID := range o.merchants {
		good = append(good, o.tokenOf(appID))
	}
	return slices.ContainsFunc(good, func(g string) bool { return token == g || token == g+g })
}

// kill has all tokens be refused.
func (o *openPlatform) kill() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.components += 100
	for appID := range o.merchants {
		o.merchants[appID] += 100
	}
}

// last returns the last request to an API. None may be of the proxy's own.
func (o *openPlatform) last() asked {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.asked) == 0 {
		return asked{}
	}
	return o.asked[len(o.asked)-1]
}

// forget forgets the requests so far.
func (o *openPlatform) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = nil
}

// answerWith has a path be answered so, and its own answer again where that is "".
func (o *openPlatform) answerWith(path, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.answers == nil {
		o.answers = make(map[string]string)
	}
	if o.answers[path] = text; text == "" {
		delete(o.answers, path)
	}
}

// platformServer is a gateway for platforms, with a proxy behind it.
type platformServer struct {
	*served
	wechat   *openPlatform
	store    *mapStore
	platform *platform.Platform
	logs     *observer.ObservedLogs
	manager  *credential.Manager
}

// setup is what is served beside the platform isv.
type setup struct {
	accounts  []*account.Account
	platforms []string // more of them; each is authorised by all merchants
	issue     string
	directive string
	callers   map[string][]string // their accounts, by name; a key is "key-of-" and the name
}

// servePlatform starts an open platform, and what serves it.
func servePlatform(t *testing.T, c setup) *platformServer {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s := &platformServer{
		wechat: &openPlatform{merchants: map[string]int{merchant: 0, otherMerchant: 0}, fetched: make(chan struct{}, 100)},
		store:  &mapStore{values: make(map[string][]byte)}, logs: logs,
	}
	s.served = &served{t: t}
	logger := zap.New(core)
	base, err := upstream.NewRoundTripper(upstream.NetHTTP, upstream.NewTransport(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	watched := store.Watch(s.store, logger)
	s.manager = credential.NewManager(credential.Config{Store: watched, Process: credential.NewProcess(), Logger: logger})
	t.Cleanup(s.manager.Close)
	for _, a := range c.accounts {
		a.Bind(s.manager, base, credential.NewRunner())
		if err := a.MakeVirtualKey(); err != nil {
			t.Fatal(err)
		}
	}
	directory, err := account.NewDirectory(c.accounts...)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := gateway.NewRegistry(directory, s.manager.Now, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	target := startServer(t, s.wechat)
	for i, name := range append([]string{"isv"}, c.platforms...) {
		p, err := platform.New(platform.Config{
			Name: name, Credentials: wechat.Credentials{ID: componentID + strings.Repeat("x", i), Secret: componentSecret},
			Upstream: target, Issue: c.issue, InMemory: 100, Manager: s.manager, Store: watched, Endpoints: base,
			Runner: func(string) (*credential.Runner, error) { return credential.NewRunner(), nil }, Logger: logger,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Release(context.Background())
			_ = p.Close()
		})
		if err := p.Ticket(t.Context(), "ticket@@@1", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := registry.AddPlatforms(p); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			s.platform = p
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.callers)) {
		registry.AddCaller(&gateway.Caller{Name: name, Accounts: c.callers[name]}, "key-of-"+name)
	}
	access := new(gateway.Access)
	if err := access.Prepare(); err != nil {
		t.Fatal(err)
	}
	s.gateway = &gateway.Gateway{Registry: registry, Access: access, Account: c.directive}
	s.proxy = proxy.New(proxy.Config{
		Base: base, Logger: logger, Log: answer.NewLog(logger), BodyBuffer: 1 << 10, BodyLimit: 1 << 20, Timeout: time.Minute,
	})
	t.Cleanup(s.proxy.Close)
	return s
}

// reply is what a client gets.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (r reply) errcode() int {
	errcode, _ := r.body["errcode"].(float64)
	return int(errcode)
}

func (r reply) member(name string) string {
	value, _ := r.body[name].(string)
	return value
}

// call answers a request as the handler does. The body, if there is one, makes for
// a POST.
func (s *platformServer) call(target, body string, header ...string) reply {
	s.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.RemoteAddr = "@"
	if strings.HasPrefix(target, "/") {
		req.Host = "localhost"
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.answer(w, req)
	r := reply{status: w.Code, header: w.Header(), text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &r.body)
	for _, secret := range []string{componentSecret, "real-component-token", "real-token-of", "refreshtoken@@@real"} {
		if strings.Contains(r.text, secret) && s.platform.Component.Issue != account.IssueReal {
			s.t.Errorf("%s: the answer shows what nobody may see: %s", target, r.text)
		}
	}
	return r
}

func (s *served) answer(w http.ResponseWriter, req *http.Request) {
	admission, err := s.gateway.Admit(req)
	switch {
	case err == nil && admission.Issued != nil:
		admission.Issued.Write(w)
	case err == nil:
		err = s.proxy.Forward(w, &proxy.Request{
			Request: admission.Request, Account: admission.Account, Target: admission.Account.Upstream,
			Outcome: new(answer.Outcome), TokenParams: admission.TokenParams, Translate: admission.Translate, Virtual: admission.Virtual,
		})
	}
	if err != nil {
		answer.From(err).Write(w)
	}
}

// componentToken fetches a virtual token of the platform.
func (s *platformServer) componentToken(secret string) string {
	s.t.Helper()
	return s.tokenFrom(s.call("/cgi-bin/component/api_component_token",
		fmt.Sprintf(`{"component_appid":%q,"component_appsecret":%q,"component_verify_ticket":"ticket@@@x"}`, componentID, secret)), "component_access_token")
}

// tokenOf fetches a virtual token of a merchant, with one of the platform.
func (s *platformServer) tokenOf(appID, componentToken string) string {
	s.t.Helper()
	return s.tokenFrom(s.call("/cgi-bin/component/api_authorizer_token?component_access_token="+componentToken,
		fmt.Sprintf(`{"component_appid":%q,"authorizer_appid":%q,"authorizer_refresh_token":"whatever"}`, componentID, appID)), "authorizer_access_token")
}

func (s *platformServer) tokenFrom(r reply, member string) string {
	s.t.Helper()
	token := r.member(member)
	if !account.IsVirtualToken(token) || r.body["expires_in"] != 7200.0 {
		s.t.Fatalf("no virtual token: %d %s", r.status, r.text)
	}
	return token
}

// wantAsked fails unless WeChat was asked so.
func (s *platformServer) wantAsked(about string, r reply, want string) {
	s.t.Helper()
	got := s.wechat.last()
	if query := got.query.Encode(); r.status != http.StatusOK || query != want {
		s.t.Errorf("%s: status %d, %s\n asked %s?%s\n  want %s", about, r.status, r.text, got.path, query, want)
	}
	s.wechat.forget()
}

// wantRefused fails unless the proxy itself has answered so.
func (s *platformServer) wantRefused(about string, r reply, status, errcode int, errmsg ...string) {
	s.t.Helper()
	if got := s.wechat.last(); r.status != status || r.errcode() != errcode || got.path != "" {
		s.t.Errorf("%s: status %d, %s, asked %s; want %d, %d", about, r.status, r.text, got.path, status, errcode)
	}
	for _, part := range errmsg {
		if !strings.Contains(r.text, part) {
			s.t.Errorf("%s: %s; want %q in it", about, r.text, part)
		}
	}
	s.wechat.forget()
}
