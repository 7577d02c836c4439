package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// Whatever a test started has ended with it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	componentID     = "wxcomponent0000001"
	componentSecret = "component-secret-of-some-length"
	merchantID      = "wxmerchant00000001"
)

// merchant is an account that has authorised the platform, at the fake WeChat.
type merchant struct {
	refresh   string
	token     string
	known     bool // api_query_auth was called, so that the refresh token is shown
	withdrawn bool
}

// fakeWeChat is the open platform with one component.
type fakeWeChat struct {
	mu        sync.Mutex
	tickets   map[string]time.Time
	component string
	merchants map[string]*merchant
	issued    int
	calls     map[string]int // by the last part of the path
	errcodes  map[string]int // what paths answer instead
	broken    map[string]int // HTTP statuses that paths answer instead
	rotates   bool           // a refresh token is good for one token
	onStart   func()         // what follows from api_start_push_ticket, before it is answered
	latency   time.Duration
	lifetime  time.Duration // of tokens
}

func newFakeWeChat() *fakeWeChat {
	return &fakeWeChat{
		tickets: make(map[string]time.Time), merchants: make(map[string]*merchant), calls: make(map[string]int),
		errcodes: make(map[string]int), broken: make(map[string]int), lifetime: 2 * time.Hour,
	}
}

func (w *fakeWeChat) nextLocked(what string) string {
	w.issued++
	return fmt.Sprintf("%s@@@%08d-of-some-length", what, w.issued)
}

// ticket makes a ticket.
func (w *fakeWeChat) ticket() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.nextLocked("ticket")
	w.tickets[t] = time.Now()
	return t
}

// authorize has an account authorise the platform, and returns what api_query_auth
// says then.
func (w *fakeWeChat) authorize(appID string) Authorization {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &merchant{refresh: w.nextLocked("refreshtoken"), token: w.nextLocked("token"), known: true}
	w.merchants[appID] = m
	return Authorization{appID, m.token, 2 * time.Hour, m.refresh}
}

func (w *fakeWeChat) change(f func(w *fakeWeChat)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *fakeWeChat) withdraw(appID string) {
	w.change(func(w *fakeWeChat) { w.merchants[appID].withdrawn = true; w.merchants[appID].token = "" })
}

// accepts reports whether a token is good at an API.
func (w *fakeWeChat) accepts(appID, token string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.merchants[appID]
	return m != nil && m.token != "" && m.token == token
}

func (w *fakeWeChat) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[name]
}

func wantCalls(t *testing.T, w *fakeWeChat, name string, want int) {
	t.Helper()
	if got := w.count(name); got != want {
		t.Errorf("%s was called %d times, want %d", name, got, want)
	}
}

// pass waits for some time, as long as ctx allows. There is no timer with a channel:
// in a synctest bubble the runtime can crash on one with the race detector.
func pass(ctx context.Context, d time.Duration) error {
	passed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-passed.Done()
	return ctx.Err()
}

// RoundTrip implements http.RoundTripper.
func (w *fakeWeChat) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	latency := w.latency
	w.mu.Unlock()
	if err := pass(req.Context(), latency); err != nil {
		return nil, err
	}
	var body map[string]any
	if req.Body != nil {
		data, _ := io.ReadAll(req.Body)
		if len(data) > 0 {
			if err := json.Unmarshal(data, &body); err != nil {
				return nil, err
			}
		}
	}
	name := path.Base(req.URL.Path)
	if name == "api_start_push_ticket" && w.onStart != nil {
		w.onStart()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[name]++
	answer, errcode := w.answerLocked(name, req.URL.Query(), body)
	if forced, ok := w.errcodes[name]; ok {
		errcode = forced
	}
	status := http.StatusOK
	if broken := w.broken[name]; broken != 0 {
		status, answer, errcode = broken, "<html>", 0
	}
	if errcode != 0 {
		// WeChat repeats what it was sent.
		answer = map[string]any{"errcode": errcode, "errmsg": fmt.Sprintf("refused %v %s requestIP: 203.0.113.7 rid: 1-2-3", body, req.URL.RawQuery)}
	}
	data, _ := json.Marshal(answer)
	return &http.Response{StatusCode: status, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(data)), Request: req}, nil
}

func text(body map[string]any, name string) string { s, _ := body[name].(string); return s }

func (w *fakeWeChat) answerLocked(name string, query url.Values, body map[string]any) (answer any, errcode int) {
	switch name {
	case "api_component_token":
		return w.componentTokenLocked(body)
	case "api_start_push_ticket":
		if text(body, "component_secret") != componentSecret {
			return nil, 40125
		}
		return map[string]any{"errcode": 0, "errmsg": "ok"}, 0
	case "get_api_domain_ip":
		token := query.Get("access_token")
		if token == w.component && token != "" {
			return map[string]any{"ip_list": []string{}}, 0
		}
		for _, m := range w.merchants {
			if m.token == token && token != "" {
				return map[string]any{"ip_list": []string{}}, 0
			}
		}
		return nil, 40001
	}
	if token := query.Get("component_access_token"); token == "" || token != w.component || query.Has("access_token") {
		return nil, 40001
	}
	m := w.merchants[text(body, "authorizer_appid")]
	switch {
	case m == nil, m.withdrawn:
		return nil, 61003
	case name == "api_get_authorizer_info":
		info := map[string]any{"authorizer_appid": text(body, "authorizer_appid"), "authorizer_refresh_token": ""}
		if m.known {
			info["authorizer_refresh_token"] = m.refresh
		}
		return map[string]any{"authorization_info": info}, 0
	case name == "api_authorizer_token":
		if text(body, "authorizer_refresh_token") != m.refresh {
			return nil, 61023
		}
		if w.rotates {
			m.refresh = w.nextLocked("refreshtoken")
		}
		m.token = w.nextLocked("token")
		return map[string]any{"authorizer_access_token": m.token, "expires_in": int(w.lifetime.Seconds()), "authorizer_refresh_token": m.refresh}, 0
	}
	return nil, 40066
}

func (w *fakeWeChat) componentTokenLocked(body map[string]any) (answer any, errcode int) {
	created, ok := w.tickets[text(body, "component_verify_ticket")]
	switch {
	case text(body, "component_appid") != componentID:
		return nil, 61011
	case text(body, "component_appsecret") != componentSecret:
		return nil, 40125
	case !ok:
		return nil, 61006
	case time.Since(created) >= 12*time.Hour:
		return nil, 61005
	}
	w.component = w.nextLocked("component")
	return map[string]any{"component_access_token": w.component, "expires_in": int(w.lifetime.Seconds())}, 0
}

// memoryStore is a store that several processes share, and that fails on demand.
type memoryStore struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]chan struct{}
	err    error // of all calls
	full   bool  // nothing is saved
}

func newMemoryStore() *memoryStore {
	return &memoryStore{values: make(map[string][]byte), locks: make(map[string]chan struct{})}
}

func (s *memoryStore) change(f func(s *memoryStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// Load implements store.Store.
func (s *memoryStore) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[key]; ok || s.err != nil {
		return bytes.Clone(v), s.err
	}
	return nil, fs.ErrNotExist
}

// Save implements store.Store.
func (s *memoryStore) Save(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return errors.New("full")
	}
	if s.err == nil {
		s.values[key] = bytes.Clone(value)
	}
	return s.err
}

// Lock implements store.Store.
func (s *memoryStore) Lock(ctx context.Context, name string) (func(), error) {
	for {
		s.mu.Lock()
		if s.err != nil {
			defer s.mu.Unlock()
			return nil, s.err
		}
		held, ok := s.locks[name]
		if !ok {
			released := make(chan struct{})
			s.locks[name] = released
			s.mu.Unlock()
			return sync.OnceFunc(func() {
				s.change(func(s *memoryStore) { delete(s.locks, name) })
				close(released)
			}), nil
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// process is one with one platform.
type process struct {
	*Platform
	logs    *observer.ObservedLogs
	runners map[string]*credential.Runner
	sets    *workingSets
	process *credential.Process
	failed  counter
}

// counter counts fetches that the platform's observer was told of.
type counter struct {
	account.Unobserved
	mu       sync.Mutex
	errcodes []int
}

func (c *counter) Failed(err *credential.UnavailableError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errcodes = append(c.errcodes, err.Errcode)
}

func startProcess(t *testing.T, w http.RoundTripper, st store.Store) *process {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	p := &process{logs: logs, runners: make(map[string]*credential.Runner), sets: newWorkingSets(), process: credential.NewProcess()}
	p.Platform = p.load(t, w, st, zap.New(core), 1000)
	t.Cleanup(func() {
		noSecret(t, logs)
		p.end(p.Platform)
	})
	return p
}

// load loads a configuration.
func (p *process) load(t *testing.T, w http.RoundTripper, st store.Store, logger *zap.Logger, inMemory int) *Platform {
	t.Helper()
	base, _ := url.Parse("https://api.example")
	loaded, err := newPlatform(Config{
		Name: "isv", Credentials: wechat.Credentials{ID: componentID, Secret: componentSecret}, Upstream: base,
		Observer: &p.failed, InMemory: inMemory,
		Manager: credential.NewManager(credential.Config{Store: st, Process: p.process, Logger: logger}),
		Store:   st, Endpoints: w, Logger: logger,
		Runner: func(key string) (*credential.Runner, error) {
			if p.runners[key] == nil {
				p.runners[key] = credential.NewRunner()
			}
			return p.runners[key], nil
		},
	}, p.sets)
	if err != nil {
		t.Fatal(err)
	}
	loaded.KeepWarm()
	return loaded
}

func (p *process) end(loaded *Platform) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	loaded.Release(ctx)
	_ = loaded.Close()
	loaded.config.Manager.Close()
}

// secretMarks are in every secret of the fake WeChat.
var secretMarks = []string{"of-some-length", "@@@"}

// noSecret checks that no log line shows a secret.
func noSecret(t *testing.T, logs *observer.ObservedLogs) {
	t.Helper()
	for _, entry := range logs.All() {
		text := entry.Message + " " + fmt.Sprint(entry.ContextMap())
		noSecretIn(t, "a log line", text)
	}
}

func noSecretIn(t *testing.T, where, text string) {
	t.Helper()
	for _, mark := range secretMarks {
		if strings.Contains(text, mark) {
			t.Errorf("%s shows a secret: %s", where, text)
		}
	}
}

// push pushes a new ticket of the fake WeChat's.
func (p *process) push(t *testing.T, w *fakeWeChat) string {
	t.Helper()
	ticket := w.ticket()
	if err := p.Ticket(t.Context(), ticket, time.Now().Truncate(time.Second)); err != nil {
		t.Fatal(err)
	}
	return ticket
}

// use is what the proxy does with an authorizer: it has its token, and another if
// that is refused.
func (p *process) use(t *testing.T, w *fakeWeChat, appID string) error {
	t.Helper()
	a, err := p.Authorizer(t.Context(), appID)
	if err != nil {
		return err
	}
	token, err := a.Token(t.Context())
	if err != nil {
		return err
	}
	if w.accepts(appID, token.Secret()) {
		token.Accept()
		return nil
	}
	other, err := a.Replace(t.Context(), token, "orders")
	if err != nil {
		return err
	}
	ok := w.accepts(appID, other.Secret())
	other.Report(ok)
	if !ok {
		return errors.New("the replay was refused too")
	}
	other.Accept()
	return nil
}

func (p *process) mustUse(t *testing.T, w *fakeWeChat, appID string) {
	t.Helper()
	if err := p.use(t, w, appID); err != nil {
		t.Errorf("%s cannot be used: %v", appID, err)
	}
}

// componentToken returns the component token.
func (p *process) componentToken(t *testing.T) string {
	t.Helper()
	token, err := p.Component.Token(t.Context())
	if err != nil {
		t.Errorf("no component token: %v", err)
		return ""
	}
	return token.Secret()
}

// wantFailure checks that there is no component token, and why.
func (p *process) wantFailure(t *testing.T, errcode int) {
	t.Helper()
	_, err := p.Component.Token(t.Context())
	tokenErr, ok := errors.AsType[*account.TokenError](err)
	if !ok || tokenErr.Errcode != errcode || tokenErr.Advice(wechat.English) == "" || tokenErr.Advice(wechat.Chinese) == "" {
		t.Errorf("got %v, want errcode %d with advice", err, errcode)
	}
	if err != nil {
		noSecretIn(t, "an error", err.Error())
	}
}

func callsOf(w *fakeWeChat) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.calls)
}
