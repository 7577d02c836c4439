package sandbox_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	appID  = sandbox.DemoAppID
	secret = sandbox.DemoAppSecret
)

// tester calls a sandbox's handler directly, so that it works in a bubble of
// testing/synctest.
type tester struct {
	t      *testing.T
	server *sandbox.Server
}

func newTester(t *testing.T, config sandbox.Config) tester {
	t.Helper()
	server, err := sandbox.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return tester{t, server}
}

type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (ts tester) do(r *http.Request) answer {
	recorder := httptest.NewRecorder()
	ts.server.ServeHTTP(recorder, r)
	return answer{recorder, ts.t}
}

func (ts tester) get(target string) answer {
	return ts.do(httptest.NewRequest(http.MethodGet, target, nil))
}

func (ts tester) post(target, body string) answer {
	return ts.do(httptest.NewRequest(http.MethodPost, target, strings.NewReader(body)))
}

// json decodes the answer's body.
func (a answer) json() map[string]any {
	a.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.Body.Bytes(), &m); err != nil {
		a.t.Fatalf("%q is no JSON: %v", a.Body, err)
	}
	return m
}

func (a answer) errcode() int {
	a.t.Helper()
	errcode, _ := a.json()["errcode"].(float64)
	return int(errcode)
}

func (a answer) text(key string) string {
	a.t.Helper()
	value, ok := a.json()[key].(string)
	if !ok {
		a.t.Fatalf("there is no %s in %s", key, a.Body)
	}
	return value
}

func (a answer) number(key string) int {
	a.t.Helper()
	value, ok := a.json()[key].(float64)
	if !ok {
		a.t.Fatalf("there is no %s in %s", key, a.Body)
	}
	return int(value)
}

func (a answer) want(errcode int) {
	a.t.Helper()
	if a.Code != http.StatusOK {
		a.t.Errorf("HTTP status %d, want 200", a.Code)
	}
	if got := a.errcode(); got != errcode {
		a.t.Errorf("errcode %d, want %d: %s", got, errcode, a.Body)
	}
}

func (ts tester) classic() answer {
	return ts.get("/cgi-bin/token?grant_type=client_credential&appid=" + appID + "&secret=" + secret)
}

func (ts tester) stable(force bool) answer {
	body, _ := json.Marshal(map[string]any{
		"grant_type": "client_credential", "appid": appID, "secret": secret, "force_refresh": force,
	})
	return ts.post("/cgi-bin/stable_token", string(body))
}

func (ts tester) token() string {
	ts.t.Helper()
	return ts.stable(false).text("access_token")
}

// call returns the errcode of an API call with a token.
func (ts tester) call(token string) int {
	ts.t.Helper()
	return ts.get("/cgi-bin/user/get?access_token=" + url.QueryEscape(token)).errcode()
}

func (ts tester) wantCall(token string, errcode int) {
	ts.t.Helper()
	if got := ts.call(token); got != errcode {
		ts.t.Errorf("an API call got %d, want %d", got, errcode)
	}
}

func TestConfig(t *testing.T) {
	for name, test := range map[string]struct {
		config sandbox.Config
		want   string // in the error
	}{
		"demo account":    {sandbox.Config{}, ""},
		"no appid":        {sandbox.Config{Accounts: []sandbox.Account{{AppSecret: "s"}}}, "no AppID"},
		"appid of a path": {sandbox.Config{Accounts: []sandbox.Account{{AppID: "a/b", AppSecret: "s"}}}, "no AppID"},
		"no secret":       {sandbox.Config{Accounts: []sandbox.Account{{AppID: "a"}}}, "account a has no secret"},
		"twice": {sandbox.Config{Accounts: []sandbox.Account{
			{AppID: "a", AppSecret: "s"}, {AppID: "a", AppSecret: "t"},
		}}, "twice"},
		"short":    {sandbox.Config{ExpiresIn: time.Second}, "2s at least"},
		"negative": {sandbox.Config{ExpiresIn: -time.Hour}, "2s at least"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sandbox.New(test.config)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestErrorsHaveWeChatsForm(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()
	rid := regexp.MustCompile(`^\{"errcode":\d+,"errmsg":"[^"]+ rid: [0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}"\}$`)
	for target, contentType := range map[string]string{
		"/cgi-bin/user/get":  "application/json; encoding=utf-8",
		"/cgi-bin/token":     "application/json; encoding=utf-8",
		"/cgi-bin/media/get": "text/plain",
		"/cgi-bin/media/get?media_id=x&access_token=" + token: "text/plain",
		"/wxa/getwxacode":     "application/json; charset=UTF-8",
		"/sns/jscode2session": "text/plain",
	} {
		a := ts.get(target)
		if a.Code != http.StatusOK {
			t.Errorf("%s: HTTP status %d, want 200", target, a.Code)
		}
		if got := a.Header().Get("Content-Type"); got != contentType {
			t.Errorf("%s: content type %q, want %q", target, got, contentType)
		}
		if !rid.Match(a.Body.Bytes()) {
			t.Errorf("%s: %s is not as WeChat's errors are", target, a.Body)
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()
	for _, path := range []string{
		"/wxa/no/such/path", "/cgi-bin/user/gett", "/cgi-bin/user/get/", "/cgi-bin/User/get", "/", "/cgi-bin/material/add_news",
	} {
		a := ts.post(path+"?access_token="+token, "anything")
		a.want(40066)
		if got := a.text("errmsg"); !strings.HasPrefix(got, "invalid url rid: ") {
			t.Errorf("%s: %s", path, got)
		}
		ts.get(path).want(41001) // the token comes first
		ts.get(path + "?access_token=92_" + strings.Repeat("x", 137)).want(40001)
	}
	ts.get("/sns/no/such/path").want(40066)
	ts.get("/cgi-bin/component/api_query_auth?access_token=" + token).want(40001)
	if st := ts.status(); st.Calls != 6 {
		t.Errorf("%d calls, want 6", st.Calls)
	}
}

func TestLenient(t *testing.T) {
	ts := newTester(t, sandbox.Config{Lenient: true})
	a := ts.post("/wxa/no/such/path?access_token="+ts.token(), "anything")
	if got := a.Body.String(); got != `{"errcode":0,"errmsg":"ok"}` {
		t.Errorf("with a token: %s", got)
	}
	ts.get("/wxa/no/such/path").want(41001)
	ts.get("/cgi-bin/user/info?access_token=" + ts.token()).want(40003) // what is known stays strict
}

func TestChunkedBodies(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	server := httptest.NewServer(ts.server)
	defer server.Close()
	for _, path := range []string{
		"/cgi-bin/stable_token", "/cgi-bin/message/custom/send?access_token=" + ts.token(), "/any/path", "/sns/auth",
	} {
		// A reader of no known type makes the client send chunks.
		res, err := http.Post(server.URL+path, "application/json", struct{ io.Reader }{strings.NewReader("{}")})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || res.StatusCode != http.StatusPreconditionFailed || len(body) > 0 {
			t.Errorf("%s: status %d, body %q, error %v; want 412 and nothing else", path, res.StatusCode, body, err)
		}
	}
}

func TestLargeBodies(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()

	r := httptest.NewRequest(http.MethodPost, "/any/path?access_token="+token, http.NoBody)
	r.ContentLength = 128<<20 + 1
	if a := ts.do(r); a.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("HTTP status %d, want 413", a.Code)
	}
	ts.post("/cgi-bin/menu/create?access_token="+token, strings.Repeat(" ", 1<<20+1)).want(45002)

	// The whole request is taken before the answer, even if it is refused.
	body := bytes.NewReader(make([]byte, 4<<20))
	r = httptest.NewRequest(http.MethodPost, "/any/path", body)
	ts.do(r).want(41001)
	if body.Len() != 0 {
		t.Errorf("%d bytes were not read", body.Len())
	}
}

func TestBodiesThatMustBeJSON(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()
	for _, path := range []string{
		"/cgi-bin/clear_quota", "/cgi-bin/menu/create", "/cgi-bin/message/custom/send",
		"/cgi-bin/message/template/send", "/cgi-bin/qrcode/create", "/wxa/business/getuserphonenumber",
		"/wxa/getwxacode", "/wxa/getwxacodeunlimit", "/wxa/msg_sec_check",
	} {
		target := path + "?access_token=" + token
		ts.post(target, "touser=x").want(47001)
		ts.post(target, `{"touser":`).want(47001)
		ts.post(target, `[]`).want(47001)
		ts.post(target, "").want(44002)
		ts.get(target).want(43002)
	}
	ts.post("/cgi-bin/user/get?access_token="+token, "{}").want(43001)
}

func TestConcurrentClients(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	want := ts.token()
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 50 {
				if got := ts.token(); got != want {
					t.Error("stable handed out two tokens")
				}
				ts.wantCall(want, 0)
				ts.classic()
				ts.get("/sandbox/accounts")
			}
		})
	}
	clients.Wait()
	st := ts.status()
	if st.Fetches != 1+8*50*2 || st.Calls != 8*50 {
		t.Errorf("%d fetches and %d calls", st.Fetches, st.Calls)
	}
}
