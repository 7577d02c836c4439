package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// While WeChat does not answer, a token that has hours left makes nobody say that
// all is well. The log has one line for it, and then counts.
func TestOutageWithValidToken(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		w.ServeHTTP(rw, req)
	}))
	defer server.Close()
	p := startCaddy(t, w, config{
		noUpstream: true, global: "upstream " + server.URL + "\n" + defaultAccount + "\naccount idle {\n appid wx0000000000000009\n secret {env.WEIXIN_SECRET}\n}",
		site: "weixin_status /status\n weixin_health /health\n weixin shop",
	})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))

	down.Store(true)
	calls := 0
	warned := func() bool {
		time.Sleep(100 * time.Millisecond)
		calls++
		if a := get(t, p.url+"/cgi-bin/user/get"); a.status != http.StatusBadGateway {
			t.Fatalf("got %s", a)
		}
		return strings.Contains(get(t, p.admin+"/weixin/accounts/shop").body, `"unreachable"`)
	}
	for end := time.Now().Add(20 * time.Second); !warned(); {
		if time.Now().After(end) {
			t.Fatal("the status says that all is well")
		}
	}
	// Another node is no nearer to WeChat, so a load balancer is not told to look for one.
	if a := get(t, p.url+"/health?account=shop"); a.status != http.StatusOK {
		t.Errorf("health is %s, though the token is good", a)
	}
	var status struct {
		Warnings []struct{ Code, Advice string }
	}
	if err := json.Unmarshal([]byte(get(t, p.admin+"/weixin/accounts/shop").body), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Warnings) != 1 || status.Warnings[0].Code != "unreachable" || !strings.Contains(status.Warnings[0].Advice, "DNS") {
		t.Errorf("the status has the warnings %+v", status.Warnings)
	}
	if out, _ := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(p.admin, "http://")); strings.Count(out, "get no answer from WeChat") != 1 {
		t.Errorf("the command says %s", out)
	}
	if a := getJSON(t, p.url+"/status"); !strings.Contains(a, `"unreachable"`) {
		t.Errorf("the page says %s", a)
	}
	if n := len(p.logged("request refused")); n > 1+calls/50 {
		t.Errorf("%d lines about %d refusals", n, calls)
	}

	down.Store(false)
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if a := get(t, p.admin+"/weixin/accounts/shop"); strings.Contains(a.body, `"unreachable"`) {
		t.Errorf("the status still warns: %s", a)
	}
}

// getJSON returns what a page says to a program.
func getJSON(t *testing.T, url string) string {
	t.Helper()
	req := newRequest(t, http.MethodGet, url, nil)
	req.Header.Set("Accept", "application/json")
	return do(t, req).body
}

// That the store fails is said once, and of all accounts together.
func TestStoreFailureIsSaidOnce(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it takes connections, and says nothing
	w := startWeChat(t)
	other := strings.NewReplacer("account shop", "account other", "{env.WEIXIN_APPID}", "wx0000000000000009").Replace(defaultAccount)
	p := startCaddy(t, w, config{
		global: fmt.Sprintf("store redis redis://%s/0 {\n timeout 200ms\n}\n%s\n%s", l.Addr(), defaultAccount, other), site: "weixin shop",
	})
	for range 3 {
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
		w.revoke()
	}
	if n := len(p.logged("the store fails; tokens are kept in memory alone until it is back")); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	out, _ := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(p.admin, "http://"))
	if strings.Count(out, "The store fails") != 1 || !strings.Contains(out, "all accounts: The store fails") {
		t.Errorf("the command says %s", out)
	}
}
