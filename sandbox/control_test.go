package sandbox_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

func decode(t *testing.T, a answer, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
}

type byMethod[V any] struct{ Classic, Stable V }

type status struct {
	AppID           string
	Fetches         int
	FetchesByMethod byMethod[int] `json:"fetches_by_method"`
	FetchesRefused  int           `json:"fetches_refused"`
	Forced          int
	Calls           int
	Rejected        int
	Messages        int
	Fingerprint     byMethod[string]     `json:"token_fingerprint"`
	ExpiresAt       byMethod[*time.Time] `json:"token_expires_at"`
	Failing         struct{ Token, API int }
}

const control = "/sandbox/accounts/" + appID

func (ts tester) status() status {
	ts.t.Helper()
	var st status
	decode(ts.t, ts.get(control), &st)
	return st
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, sandbox.Config{})
		if st := ts.status(); st != (status{AppID: appID}) {
			t.Errorf("before anything: %+v", st)
		}
		start := time.Now()
		ts.classic()
		ts.stable(false)
		ts.stable(true)
		ts.stable(true) // within 30 s
		ts.get("/cgi-bin/token?appid=" + appID)
		token := ts.token()
		ts.call(token)
		ts.get("/cgi-bin/menu/delete?access_token=" + token)
		ts.call("x")
		ts.call("")

		st := ts.status()
		sum := sha256.Sum256([]byte(token))
		if got, want := st.Fingerprint.Stable, hex.EncodeToString(sum[:4]); got != want {
			t.Errorf("fingerprint %s, want %s", got, want)
		}
		if at := st.ExpiresAt.Stable; at == nil || !at.Equal(start.Add(2*time.Hour)) {
			t.Errorf("expires at %v", at)
		}
		st.Fingerprint, st.ExpiresAt = byMethod[string]{}, byMethod[*time.Time]{}
		want := status{
			AppID: appID, Fetches: 5, FetchesByMethod: byMethod[int]{1, 4}, FetchesRefused: 1, Forced: 1, Calls: 2,
		}
		if st != want {
			t.Errorf("%+v, want %+v", st, want)
		}

		ts.post(control+"/revoke", "")
		ts.call(token)
		st = ts.status()
		if st.Rejected != 1 || st.Fingerprint.Stable != "" || st.ExpiresAt.Stable != nil {
			t.Errorf("after a revocation: %+v", st)
		}

		var list struct {
			Accounts     []status
			Unattributed int `json:"rejected_without_account"`
		}
		decode(t, ts.get("/sandbox/accounts"), &list)
		if len(list.Accounts) != 1 || list.Accounts[0] != st || list.Unattributed != 2 {
			t.Errorf("%+v", list)
		}
	})
}

func TestExpireAndRevoke(t *testing.T) {
	for what, errcode := range map[string]int{"expire": 42001, "revoke": 40001, "revoke?insist=false": 40001} {
		t.Run(what, func(t *testing.T) {
			ts := newTester(t, sandbox.Config{})
			classic, stable := ts.classic().text("access_token"), ts.token()
			if a := ts.post(control+"/"+what, ""); a.Code != http.StatusOK {
				t.Fatalf("status %d: %s", a.Code, a.Body)
			}
			ts.wantCall(classic, errcode)
			ts.wantCall(stable, errcode)
			next := ts.token()
			if next == stable {
				t.Error("stable hands out the dead token")
			}
			ts.wantCall(next, 0)
			ts.wantCall(ts.classic().text("access_token"), 0)
			ts.wantCall(stable, errcode)
		})
	}
}

func TestRevokeInsisting(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		token := ts.token()
		ts.post(control+"/revoke?insist=true", "")
		for range 3 {
			time.Sleep(time.Minute)
			if ts.token() != token {
				t.Fatal("stable did not insist")
			}
			ts.wantCall(token, 40001)
		}
		forced := ts.stable(true).text("access_token")
		if forced == token || ts.token() != forced {
			t.Error("stable insists when it is forced")
		}
		ts.wantCall(forced, 0)

		ts.post(control+"/revoke?insist=true", "")
		ts.post(control+"/revoke", "")
		if ts.token() == forced {
			t.Error("the insisting did not end")
		}
		token = ts.token()
		ts.post(control+"/revoke?insist=true", "")
		ts.post(control+"/expire", "")
		if ts.token() == token {
			t.Error("stable insists on a token that has expired")
		}
		ts.post(control+"/revoke?insist=true", "")
		token = ts.token()
		time.Sleep(2 * time.Hour)
		if ts.token() == token {
			t.Error("stable insists on an expired token")
		}
	})
}

func TestFailures(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()

	ts.post(control+"/fail", `{"endpoint":"token","errcode":40164,"errmsg":"invalid ip 1.2.3.4","times":3}`)
	if st := ts.status(); st.Failing.Token != 3 || st.Failing.API != 0 {
		t.Errorf("%+v", st.Failing)
	}
	a := ts.stable(false)
	a.want(40164)
	if got := a.text("errmsg"); !strings.HasPrefix(got, "invalid ip 1.2.3.4 rid: ") {
		t.Errorf("errmsg %q", got)
	}
	ts.classic().want(40164)
	ts.wantCall(token, 0)
	ts.stable(true).want(40164)
	ts.stable(false).want(0)
	ts.wantCall(token, 0) // the force has not been carried out

	ts.post(control+"/fail", `{"endpoint":"api","errcode":-1,"times":5}`)
	ts.wantCall(token, -1)
	ts.get(jscode2session("c")).want(-1)
	ts.stable(false).want(0)
	ts.wantCall("", 41001)
	ts.post(control+"/fail", `{"endpoint":"api","times":0}`)
	ts.wantCall(token, 0)
	ts.get(jscode2session("c")).want(0) // the code has not been used

	before := ts.status()
	ts.post(control+"/fail", `{"endpoint":"api","errcode":42001}`)
	ts.wantCall(token, 42001)
	after := ts.status()
	if after.Rejected != before.Rejected+1 || after.Calls != before.Calls {
		t.Errorf("a failure of the token counts as %+v after %+v", after, before)
	}
	ts.wantCall(token, 0)
}

func TestControlErrors(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for _, test := range []struct {
		method, target, body string
		want                 int
	}{
		{"GET", control, "", 200},
		{"GET", "/sandbox/accounts", "", 200},
		{"GET", "/sandbox/accounts/wx0", "", 404},
		{"POST", "/sandbox/accounts/wx0/expire", "", 404},
		{"GET", "/sandbox/nothing", "", 404},
		{"POST", "/sandbox/accounts", "", 405},
		{"POST", control, "", 405},
		{"GET", control + "/expire", "", 405},
		{"GET", control + "/revoke", "", 405},
		{"GET", control + "/fail", "", 405},
		{"POST", control + "/revoke?insist=maybe", "", 400},
		{"POST", control + "/fail", "", 400},
		{"POST", control + "/fail", `{"endpoint":"other","errcode":1}`, 400},
		{"POST", control + "/fail", `{"endpoint":"api"}`, 400},
		{"POST", control + "/fail", `{"endpoint":"api","errcode":1,"times":-1}`, 400},
		{"POST", control + "/fail", `{"endpoint":"api","errcode":1,"tiems":1}`, 400},
		{"POST", control + "/fail", `{"endpoint":"` + strings.Repeat("x", 65<<10) + `"}`, 400},
	} {
		a := ts.do(httptest.NewRequest(test.method, test.target, strings.NewReader(test.body)))
		if a.Code != test.want {
			t.Errorf("%s %s %s: status %d, want %d", test.method, test.target, test.body, a.Code, test.want)
		}
	}
	a := ts.get("/sandbox/accounts/wx0")
	if a.text("error") == "" || a.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v %s", a.Header(), a.Body)
	}
}

func TestControlRefusesWebPages(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        int
	}{
		{"Sec-Fetch-Site", "none", 200},
		{"Sec-Fetch-Mode", "cors", 200}, // Node's fetch
		{"Sec-Fetch-Site", "same-origin", 403},
		{"Sec-Fetch-Site", "cross-site", 403},
		{"Origin", "https://example.com", 403},
		{"Origin", "null", 403},
	} {
		ts := newTester(t, sandbox.Config{})
		token := ts.token()
		r := httptest.NewRequest(http.MethodPost, control+"/expire", nil)
		r.Header.Set(test.name, test.value)
		if a := ts.do(r); a.Code != test.want {
			t.Errorf("%s: %s: status %d, want %d", test.name, test.value, a.Code, test.want)
		}
		if expired := ts.call(token) == 42001; expired != (test.want == 200) {
			t.Errorf("%s: %s: expired: %t", test.name, test.value, expired)
		}
	}
}

func TestControlShowsNoSecret(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	tokens := []string{ts.token(), ts.classic().text("access_token"), secret}
	for _, a := range []answer{ts.get("/sandbox/accounts"), ts.get(control), ts.post(control+"/expire", "")} {
		for _, token := range tokens {
			if strings.Contains(a.Body.String(), token) {
				t.Errorf("%s", a.Body)
			}
		}
	}
}

// slowClient is one that takes its answer only when another request was answered.
type slowClient struct {
	*httptest.ResponseRecorder
	tester
	stuck bool
}

func (c *slowClient) Write(b []byte) (int, error) {
	answered := make(chan struct{})
	go func() {
		c.get("/sandbox/accounts/" + appID)
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		c.stuck = true
	}
	return c.ResponseRecorder.Write(b)
}

// Nobody waits for a client that does not read.
func TestControlAndSlowClients(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for _, target := range []string{
		"GET /sandbox/accounts", "GET /sandbox/accounts/" + appID, "POST /sandbox/accounts/" + appID + "/revoke", "GET /sandbox/accounts/none",
		"GET /sandbox/corps", "GET /sandbox/corps/none", "GET /sandbox/platforms", "GET /sandbox/messages",
		"GET /sandbox/certificate", "POST /sandbox/certificate/rotate", "POST /sandbox/jssdk/verify",
	} {
		method, path, _ := strings.Cut(target, " ")
		c := &slowClient{ResponseRecorder: httptest.NewRecorder(), tester: ts}
		ts.server.ServeHTTP(c, httptest.NewRequest(method, path, strings.NewReader("{}")))
		if c.stuck || c.Body.Len() == 0 {
			t.Errorf("%s: others wait: %t, got %s", target, c.stuck, c.Body)
		}
	}
}
