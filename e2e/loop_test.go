package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// within fails the test if f takes longer.
func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("it took %s, which is more than %s", took.Round(time.Millisecond), d)
	}
}

// accountAt is an account with an upstream of its own.
func accountAt(upstream, options string) string {
	return fmt.Sprintf("account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n upstream %s\n %s\n}", upstream, options)
}

func wantLoop(t *testing.T, a answer) {
	t.Helper()
	wantProxyError(t, a, http.StatusLoopDetected, -1, "leads back to this proxy")
}

// loopPaths are those that take the account's token, another, and none.
var loopPaths = []string{"/cgi-bin/user/get", "/sns/userinfo?access_token=user&openid=o", "/sns/jscode2session?appid=" + appID + "&js_code=x"}

// An upstream that is the proxy's own address is found out at once.
func TestLoopItself(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "issue real", "issue off", "token classic"} {
		t.Run(options, func(t *testing.T) {
			w := startWeChat(t)
			port := freePort(t)
			p := startCaddy(t, w, config{
				global: accountAt(fmt.Sprintf("http://127.0.0.1:%d", port), options),
				site:   fmt.Sprintf("weixin\n}\nhttp://127.0.0.1:%d {\n weixin", port),
			})
			// Before the site listens, which is the upstream, nothing answers there.
			eventually(func() bool { return get(t, p.url+loopPaths[0]).status == http.StatusLoopDetected })
			for range 3 {
				for _, path := range loopPaths {
					within(t, 2*time.Second, func() { wantLoop(t, get(t, p.url+path)) })
				}
			}
			if got := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")); got.LastError == nil || !strings.Contains(got.LastError.Errmsg, "leads back") {
				t.Errorf("the status has %+v", got.LastError)
			}
		})
	}
}

// The same with a load balancer in between, by which the proxy does not know its
// own connections.
func TestLoopThroughAnother(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "issue real", "issue off"} {
		t.Run(options, func(t *testing.T) {
			w := startWeChat(t)
			port, most := freePort(t), new(atomic.Int64)
			back := startFront(t, fmt.Sprintf("http://127.0.0.1:%d", port), most)
			p := startCaddy(t, w, config{
				global: accountAt(back, options),
				site:   fmt.Sprintf("weixin\n}\nhttp://127.0.0.1:%d {\n weixin", port),
			})
			for _, path := range loopPaths {
				within(t, 8*time.Second, func() {
					if a := get(t, p.url+path); a.status < 500 || a.errcode() == 0 || !strings.Contains(a.body, "weixin proxy:") {
						t.Errorf("%s: got %s", path, a)
					} else if options != "issue off" {
						wantLoop(t, a)
					}
				})
			}
			if n := most.Load(); n > 300 {
				t.Errorf("%d requests at a time", n)
			}
		})
	}
}

// Two proxies whose upstreams are each other.
func TestLoopOfTwo(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", "issue real", "issue off"} {
		t.Run(options, func(t *testing.T) {
			w := startWeChat(t)
			ports := []int{freePort(t), freePort(t)}
			proxies := make([]*caddy, 2)
			for i := range proxies {
				proxies[i] = startCaddy(t, w, config{
					global: strings.Replace(accountAt(fmt.Sprintf("http://127.0.0.1:%d", ports[1-i]), options), "{env.WEIXIN_SECRET}", fmt.Sprintf("%032d", i), 1),
					site:   fmt.Sprintf("weixin\n}\nhttp://127.0.0.1:%d {\n weixin", ports[i]),
				})
			}
			for _, path := range loopPaths {
				within(t, 12*time.Second, func() {
					if a := get(t, proxies[0].url+path); a.status < 500 || a.errcode() == 0 || !strings.Contains(a.body, "weixin proxy:") {
						t.Errorf("%s: got %s", path, a)
					}
				})
			}
		})
	}
}

// A hub is no loop, and neither are many requests that are the same.
func TestHubIsNoLoop(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	const key = "a key of the hub's, for test"
	hub := startCaddy(t, w, config{global: defaultAccount + "\ncaller test {\n key {env.KEY}\n}", env: []string{"KEY=" + key}})
	p := startCaddy(t, w, config{global: strings.Replace(accountAt(hub.url, ""), "{env.WEIXIN_SECRET}", "{env.KEY}", 1), env: []string{"KEY=" + key}})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	release := make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = io.WriteString(rw, `{"errcode":0}`)
	})
	const n = 300
	done := make(chan answer, n)
	for range n {
		go func() { done <- get(t, p.url+"/cgi-bin/user/get?next_openid=1") }()
	}
	time.AfterFunc(2*time.Second, func() { close(release) })
	for range n {
		wantOK(t, <-done)
	}
}

// startFront starts a load balancer. It notes how many requests it had at a time
// at most.
func startFront(t *testing.T, target string, most *atomic.Int64) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy, now := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}, new(atomic.Int64)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer now.Add(-1)
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		proxy.ServeHTTP(w, req)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}
