package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	appID     = sandbox.DemoAppID
	appSecret = sandbox.DemoAppSecret
)

// weChat is the sandbox, with an eye on what comes in and a hand in what goes
// out.
type weChat struct {
	*httptest.Server
	t       *testing.T
	sandbox *sandbox.Server

	mu       sync.Mutex
	tokens   []string
	secrets  []string // of the account, beside its AppSecret
	requests []*http.Request
	hook     http.HandlerFunc // answers in the sandbox's place
	checks   int              // how often the proxy has checked a token

	// checkable has the sandbox answer checks though there is a hook.
	checkable bool

	// checksFollowHook has the hook answer checks as well.
	checksFollowHook bool
	latency          time.Duration // of the token endpoints
}

func startWeChat(t *testing.T) *weChat {
	return startWeChatWith(t, sandbox.Config{})
}

func startWeChatWith(t *testing.T, config sandbox.Config) *weChat {
	t.Helper()
	config.Lenient = true // many tests are about paths that are none of WeChat's
	server, err := sandbox.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &weChat{t: t, sandbox: server}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Server.Close)
	return w
}

func (w *weChat) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w.mu.Lock()
	isCheck := req.URL.Path == "/cgi-bin/get_api_domain_ip"
	if isCheck {
		w.checks++
	}
	if !strings.HasPrefix(req.URL.Path, "/sandbox/") {
		w.requests = append(w.requests, req)
	}
	hook, latency, checkable, follow := w.hook, w.latency, w.checkable, w.checksFollowHook
	w.mu.Unlock()
	switch {
	case wechat.Official.Route(req.URL.Path).Takes == wechat.TakesTokenRequest, wechat.WeCom.Route(req.URL.Path).Takes == wechat.TakesTokenRequest:
		time.Sleep(latency)
		rec := httptest.NewRecorder()
		w.sandbox.ServeHTTP(rec, req)
		var grant struct {
			AccessToken string `json:"access_token"`
		}
		if json.Unmarshal(rec.Body.Bytes(), &grant) == nil && grant.AccessToken != "" {
			w.mu.Lock()
			w.tokens = append(w.tokens, grant.AccessToken)
			w.mu.Unlock()
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(rec.Body.Bytes())
	case isCheck && checkable:
		w.sandbox.ServeHTTP(rw, req)
	case isCheck && hook != nil && !follow:
		// A script says of its paths what it likes: nothing can be checked.
		rw.WriteHeader(http.StatusNotFound)
	case hook != nil:
		hook(rw, req)
	default:
		w.sandbox.ServeHTTP(rw, req)
	}
}

// answer has f answer in the sandbox's place, for requests whose token the
// sandbox would accept and for all others.
func (w *weChat) answer(f http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = f
}

func (w *weChat) setLatency(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latency = d
}

func (w *weChat) issuedTokens() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var distinct []string
	for _, token := range w.tokens {
		if len(distinct) == 0 || distinct[len(distinct)-1] != token {
			distinct = append(distinct, token)
		}
	}
	return distinct
}

// currentToken is the one that was issued last. A proxy that has just started
// fetches its first one in a moment: that is waited for.
func (w *weChat) currentToken() string {
	w.t.Helper()
	if !eventually(func() bool { return len(w.issuedTokens()) > 0 }) {
		w.t.Fatal("no token was issued")
	}
	tokens := w.issuedTokens()
	return tokens[len(tokens)-1]
}

// last returns the newest request to a path.
func (w *weChat) last(path string) *http.Request {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, req := range slices.Backward(w.requests) {
		if req.URL.Path == path {
			return req
		}
	}
	w.t.Fatalf("no request to %s came", path)
	return nil
}

// count returns how many requests to a path came.
func (w *weChat) count(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, req := range w.requests {
		if req.URL.Path == path {
			n++
		}
	}
	return n
}

// status is what the sandbox counts.
type status struct {
	Fetches        int `json:"fetches"`
	FetchesRefused int `json:"fetches_refused"`
	Forced         int `json:"forced"`
	Calls          int `json:"calls"`
	Rejected       int `json:"rejected"`
}

func (w *weChat) control(method, action, body string) status {
	w.t.Helper()
	req := httptest.NewRequest(method, "/sandbox/accounts/"+appID+action, strings.NewReader(body))
	rec := httptest.NewRecorder()
	w.sandbox.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, action, rec.Code, rec.Body)
	}
	var s status
	if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *weChat) status() status { w.t.Helper(); return w.control(http.MethodGet, "", "") }
func (w *weChat) revoke()        { w.t.Helper(); w.control(http.MethodPost, "/revoke", "") }
func (w *weChat) expire()        { w.t.Helper(); w.control(http.MethodPost, "/expire", "") }

func (w *weChat) fail(endpoint string, errcode, times int) {
	w.t.Helper()
	w.control(http.MethodPost, "/fail", fmt.Sprintf(`{"endpoint":%q,"errcode":%d,"times":%d}`, endpoint, errcode, times))
}

// client is one without limits of its own.
var client = &http.Client{
	Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
	Timeout:   60 * time.Second,
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) errcode() int {
	var e struct {
		Errcode *int `json:"errcode"`
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || e.Errcode == nil {
		return 0
	}
	return *e.Errcode
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func newRequest(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func get(t *testing.T, url string) answer {
	t.Helper()
	return do(t, newRequest(t, http.MethodGet, url, nil))
}

func post(t *testing.T, url, body string) answer {
	t.Helper()
	req := newRequest(t, http.MethodPost, url, bytes.NewReader([]byte(body)))
	req.Header.Set("Content-Type", "application/json")
	return do(t, req)
}

func wantOK(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || a.errcode() != 0 {
		t.Fatalf("got %s", a)
	}
}

func wantReplayed(t *testing.T, a answer, errcode string) {
	t.Helper()
	if got := a.header.Get("X-Weixin-Replayed"); got != errcode {
		t.Errorf("X-Weixin-Replayed is %q, want %q", got, errcode)
	}
}

// failures collects why requests failed that many goroutines send.
type failures struct {
	mu  sync.Mutex
	why []string
}

func (f *failures) add(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = append(f.why, why)
}

// report fails the test if there are any.
func (f *failures) report(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.why) > 0 {
		t.Errorf("%d requests failed, the first with %s", len(f.why), f.why[0])
	}
}

// wantProxyError checks an error of the proxy's own.
func wantProxyError(t *testing.T, a answer, status, errcode int, mentions string) {
	t.Helper()
	if a.status != status || a.errcode() != errcode || !strings.Contains(a.body, `"errmsg":"weixin proxy: `) ||
		!strings.Contains(a.body, mentions) || a.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("got %s (%s), want %d with errcode %d and %q", a, a.header.Get("Content-Type"), status, errcode, mentions)
	}
}

// callsOf returns the calls that a sandbox account has counted.
func callsOf(t *testing.T, a answer) int {
	t.Helper()
	var s status
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("got %s", a)
	}
	return s.Calls
}
