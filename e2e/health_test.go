package e2e

import (
	"net/http"
	"testing"
)

// A load balancer learns what it needs, and a stranger no name.
func TestHealthDirective(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	const accounts = defaultAccount + `
	account other {
		appid wx0000000000000009
		secret {env.WEIXIN_SECRET}
	}
	caller orders {
		key a-key-that-nobody-has-to-know
	}`
	p := startCaddy(t, w, config{global: accounts, options: "servers {\n trusted_proxies static 127.0.0.1\n }", site: `
	weixin_health /health
	weixin_health /mine {
		allow_ips 10.1.0.0/16
	}
	weixin`})
	check := func(path, from string, status int, body string) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req := newRequest(t, method, p.url+path, nil)
			if from != "" {
				req.Header.Set("X-Forwarded-For", from)
			}
			a := do(t, req)
			want := body
			if method == http.MethodHead {
				want = ""
			}
			if a.status != status || a.body != want || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s from %s: got %s", method, path, from, a)
			}
		}
	}
	const (
		fine     = `{"healthy":true,"unhealthy":[]}` + "\n"
		broken   = `{"healthy":false,"unhealthy":["other"]}` + "\n"
		stranger = "203.0.113.7"
	)
	// The other account's AppID is none of WeChat's. The first has no token either
	// while it is fetched.
	if !eventually(func() bool { return len(p.logged("token fetched")) > 0 && get(t, p.url+"/health").body == broken }) {
		t.Fatalf("got %s", get(t, p.url+"/health"))
	}
	check("/health", "", http.StatusServiceUnavailable, broken)
	check("/health", "10.1.2.3", http.StatusServiceUnavailable, broken)
	check("/health", stranger, http.StatusServiceUnavailable, "")
	check("/mine", "10.1.2.3", http.StatusServiceUnavailable, broken)
	check("/mine", "", http.StatusServiceUnavailable, "")
	check("/health?account=shop", "", http.StatusOK, fine)
	check("/health?account=shop", stranger, http.StatusOK, "")
	check("/health?account=other", "", http.StatusServiceUnavailable, broken)
	check("/health?account=other", stranger, http.StatusServiceUnavailable, "")
	for _, name := range []string{"shopp", "", "Shop", "shop/", "%00"} {
		check("/health?account="+name, "", http.StatusNotFound, "")
		check("/health?account="+name, stranger, http.StatusNotFound, "")
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if a := do(t, newRequest(t, method, p.url+"/health", nil)); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD" || a.body != "" {
			t.Errorf("%s: got %s", method, a)
		}
	}
	// The admin API says the same.
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusServiceUnavailable || a.body != broken {
		t.Errorf("got %s", a)
	}
	p.reload(w, config{site: "weixin_health /health\n weixin"})
	if !eventually(func() bool { return get(t, p.url+"/health").body == fine }) {
		t.Errorf("got %s", get(t, p.url+"/health"))
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusOK || a.body != fine {
		t.Errorf("got %s", a)
	}
}
