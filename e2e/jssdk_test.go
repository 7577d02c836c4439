package e2e

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// jssdkSite signs pages beside what the proxy forwards.
const jssdkSite = `weixin_jssdk /jssdk shop {
		hosts shop.example.com *.example.org 127.0.0.1
	}
	weixin`

// signed is what a page gets.
type signed struct {
	AppID     string `json:"appId"`
	Timestamp int64  `json:"timestamp"`
	NonceStr  string `json:"nonceStr"`
	Signature string `json:"signature"`
}

func signPage(t *testing.T, p *caddy, page string) signed {
	t.Helper()
	a := get(t, p.url+"/jssdk?url="+url.QueryEscape(page))
	var s signed
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK || s.Signature == "" {
		t.Fatalf("got %s", a)
	}
	if a.header.Get("Cache-Control") != "no-store" || !strings.Contains(strings.Join(a.header["Vary"], ","), "Origin") {
		t.Errorf("got %v", a.header)
	}
	return s
}

// The signature is one that WeChat takes, with kept tickets and without.
func TestJSSDK(t *testing.T) {
	t.Parallel()
	const page = "https://shop.example.com/cart?a=b&c=%E4%BD%A0"
	for _, option := range []string{"", "tickets pass"} {
		t.Run(option, func(t *testing.T) {
			w := startWeChat(t)
			// Neither callers nor allow_ips are for pages.
			p := startCaddy(t, w, config{
				global: accountWith(option) + "\ncaller app {\nkey {env.APP_KEY}\n}", env: []string{"APP_KEY=the-key-of-the-app"}, site: jssdkSite,
			})
			s := signPage(t, p, page+"#/not/signed")
			if s.AppID != appID {
				t.Errorf("appId is %s", s.AppID)
			}
			rec := httptest.NewRecorder()
			body, _ := json.Marshal(map[string]any{"url": page, "appId": s.AppID, "timestamp": s.Timestamp, "nonceStr": s.NonceStr, "signature": s.Signature})
			w.sandbox.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/sandbox/jssdk/verify", strings.NewReader(string(body))))
			if got := strings.TrimSpace(rec.Body.String()); got != `{"ok":true}` {
				t.Errorf("the sandbox says %s", got)
			}
			if other := signPage(t, p, page); other.NonceStr == s.NonceStr {
				t.Error("a nonce is used twice")
			}
			if n := w.count(getTicketPath); n != 1 {
				t.Errorf("%d fetches", n)
			}
		})
	}
}

// It is signed with the very ticket that applications get.
func TestJSSDKSignsWithTheTicket(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: jssdkSite})
	const page = "http://shop.example.com?params=value"
	s := signPage(t, p, page)
	ticket := ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800)
	sum := sha1.Sum([]byte(fmt.Sprintf("jsapi_ticket=%s&noncestr=%s&timestamp=%d&url=%s", ticket, s.NonceStr, s.Timestamp, page)))
	if s.Signature != hex.EncodeToString(sum[:]) {
		t.Error("the signature is another")
	}
	if n := w.count(getTicketPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
	p.wantNotLogged(ticket)
}

func TestJSSDKRefuses(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: jssdkSite})
	for _, c := range []struct {
		query, origin string
		status        int
	}{
		{"", "", http.StatusBadRequest},
		{"url=https%3A%2F%2Fevil.example%2F", "", http.StatusForbidden},
		{"url=ftp%3A%2F%2Fshop.example.com%2F", "", http.StatusForbidden},
		{"url=https%3A%2F%2Fa.b.example.org%2F", "", http.StatusForbidden},
		{"url=https%3A%2F%2Fshop.example.com%2F", "https://evil.example", http.StatusForbidden},
		{"url=https%3A%2F%2Fshop.example.com%2F", "null", http.StatusForbidden},
	} {
		req := newRequest(t, http.MethodGet, p.url+"/jssdk?"+c.query, nil)
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		a := do(t, req)
		if a.status != c.status || a.errcode() == 0 || !strings.Contains(a.body, "weixin proxy: ") {
			t.Errorf("%s of %q: %s", c.query, c.origin, a)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s of %q may be read", c.query, c.origin)
		}
	}
	if n := w.count(getTicketPath); n != 0 {
		t.Errorf("%d tickets were fetched", n)
	}

	// WeChat gives none: a page hears no more than the errcode.
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `{"errcode":48001,"errmsg":"api unauthorized of 10.1.2.3"}`)
	})
	a := get(t, p.url+"/jssdk?url=https%3A%2F%2Fshop.example.com%2F")
	if a.status != http.StatusBadGateway || a.errcode() != 48001 || strings.Contains(a.body, "10.1.2.3") {
		t.Errorf("got %s", a)
	}
}

// What is wrong with the directive is said with what to write.
func TestJSSDKOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ directive, mentions string }{
		"agent":           {"weixin_jssdk /jssdk shop {\n hosts a.example\n agent\n}", "leave agent out"},
		"no hosts":        {"weixin_jssdk /jssdk shop", "hosts shop.example.com"},
		"everybody":       {"weixin_jssdk /jssdk {\n hosts *\n}", "*.example.com"},
		"a URL":           {"weixin_jssdk /jssdk {\n hosts https://a.example/\n}", "shop.example.com"},
		"unknown account": {"weixin_jssdk /jssdk shpo {\n hosts a.example\n}", "write one of shop"},
		"unknown option":  {"weixin_jssdk /jssdk {\n host a.example\n}", "hosts, agent"},
	} {
		t.Run(name, func(t *testing.T) {
			out, ok := run(t, sandboxEnv, validateArgs(t, "{\n weixin {\n"+defaultAccount+"\n}\n}\n:8080 {\n"+c.directive+"\n}\n")...)
			if ok || !strings.Contains(out, c.mentions) {
				t.Errorf("%v: %s", ok, out)
			}
		})
	}
}

// A page asks across origins; one of a foreign origin may not.
func TestJSSDKInBrowser(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: `weixin_jssdk /jssdk shop {
		hosts proxy.internal
	}
	weixin`})
	pages := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `<!doctype html><link rel="icon" href="data:,"><title>page</title>`)
	}))
	t.Cleanup(pages.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(pages.URL, "http://"), ":")
	ask := fmt.Sprintf(`fetch(%q + encodeURIComponent(location.href), {headers: {"X-Requested-With": "page"}})
		.then(r => r.json()).then(c => c.signature || "refused", () => "blocked")`, p.url+"/jssdk?url=")
	for host, want := range map[string]bool{"proxy.internal": true, "evil.example": false} {
		tab := b.open(view{width: 800, language: "en"})
		tab.load("http://" + host + ":" + port + "/cart?id=1#/step/2")
		var got string
		tab.eval(ask, &got)
		if (len(got) == 40) != want || !want && got != "blocked" {
			t.Errorf("%s: %q", host, got)
		}
		if !want {
			tab.takeTrouble() // the browser reports what it has blocked
		}
	}
	if n := w.count(getTicketPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// The sandbox's page takes the whole way: page, /jssdk, wx.config.
func TestJSSDKPageOfTheSandbox(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: `weixin_jssdk /jssdk shop {
		hosts 127.0.0.1
	}
	weixin`})
	tab := b.open(view{width: 800, language: "en"})
	tab.load(w.URL + "/sandbox/jssdk?signer=" + url.QueryEscape(p.url+"/jssdk") + "#top")
	tab.waitText("#result", "config:ok")
	tab.takeTrouble() // of the icon that there is not
}

// validateArgs writes a Caddyfile and returns how to have it validated.
func validateArgs(t *testing.T, caddyfile string) []string {
	t.Helper()
	return []string{"validate", "--adapter", "caddyfile", "--config", writeFile(t, "Caddyfile", caddyfile)}
}
