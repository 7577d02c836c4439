package statuspage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// testPage returns a page of one account, whose viewer is named in the header
// Caller. refusal is what the proxy says of everybody, renewal what comes of the
// button.
func testPage(refusal *Refusal, renewal *Renewal) *Page {
	return &Page{
		Key: []byte("key"), Logger: zap.NewNop(),
		Proxy: Proxy{
			Now:     func() time.Time { return now },
			Client:  func(*http.Request) netip.Addr { return netip.MustParseAddr("127.0.0.1") },
			Trouble: func(wechat.Language) string { return "" },
			Admit: func(req *http.Request) (Viewer, Refusal) {
				return Viewer{
					Caller:   req.Header.Get("Caller"),
					Accounts: func(context.Context, wechat.Language) []Account { return []Account{fine("shop", nil)} },
					Renew: func(_ context.Context, name string, _ wechat.Language) (Renewal, bool) {
						return *renewal, name == "shop"
					},
				}, *refusal
			},
		},
	}
}

func send(p *Page, method, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://proxy/status", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, req)
	return w
}

// pressed sends what the button on a caller's page does.
func pressed(p *Page, body, caller string, header ...string) *httptest.ResponseRecorder {
	return send(p, http.MethodPost, body, append([]string{
		"Caller", caller, "Origin", "http://proxy", "Content-Type", "application/json", buttonHeader, p.token(Viewer{Caller: caller}),
	}, header...)...)
}

// Another web site is told so, unless the address alone is a reason.
func TestAdmission(t *testing.T) {
	for _, c := range []struct {
		refusal Refusal
		origin  string
		status  int
		want    string
	}{
		{Refusal{}, "http://proxy", 200, "All is well"},
		{Refusal{}, "http://evil.example", 403, "Other web sites"},
		{Refusal{Reason: RefusedAddress}, "http://evil.example", 403, "allow_ips"},
		{Refusal{Reason: RefusedKey}, "http://evil.example", 403, "Other web sites"},
		{Refusal{Reason: RefusedKey}, "http://proxy", 401, "A caller&#39;s key is needed"},
		{Refusal{Reason: RefusedHost, Host: "x.example"}, "http://proxy", 403, "hosts x.example"},
		{Refusal{Reason: RefusedUnspecified, Host: "0.0.0.0"}, "http://proxy", 403, "the address 0.0.0.0"},
		{Refusal{Reason: RefusedIPs}, "http://proxy", 403, "add it to its ips"},
		{Refusal{Reason: RefusedAllow}, "http://proxy", 403, "its allow"},
	} {
		w := send(testPage(&c.refusal, nil), http.MethodGet, "", "Origin", c.origin)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%v from %s: got %d\n%s", c.refusal, c.origin, w.Code, w.Body)
		}
		if w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%v: there is no policy", c.refusal)
		}
	}
}

func TestButton(t *testing.T) {
	const shop = `{"account":"shop"}`
	cause := &Failure{Errcode: 40164, Message: "invalid ip", Advice: "Add it."}
	for _, c := range []struct {
		name   string
		is     Renewal
		body   string
		header []string
		status int
		want   string
	}{
		{"a new token", Renewal{Before: "a", After: "b"}, shop, nil, 200, "There is a new token: b"},
		{"the same", Renewal{Before: "a", After: "a"}, shop, nil, 200, "WeChat says that a is the current token."},
		{"WeChat refuses", Renewal{Err: errors.New("no"), Failure: cause}, shop, nil, 502, "Error 40164: invalid ip Add it."},
		{"another error", Renewal{Err: errors.New("no")}, shop, nil, 502, "Requests fail"},
		{"too soon", Renewal{Err: errors.New("no"), Refused: credential.TooSoon, RetryAt: now.Add(9 * time.Second)}, shop, nil, 429, "try again in 9 s"},
		{"Chinese", Renewal{Err: errors.New("no"), Refused: credential.TooSoon, RetryAt: now.Add(9 * time.Second)}, shop, []string{"Accept-Language", "zh"}, 429, "请在 9 秒后再试"},
		{"another account", Renewal{}, `{"account":"club"}`, nil, 404, "no such account"},
		{"an unknown field", Renewal{}, `{"account":"shop","force":true}`, nil, 400, `{\"account\":`},
		{"two values", Renewal{}, shop + shop, nil, 400, `{\"account\":`},
		{"another page", Renewal{}, shop, []string{"Sec-Fetch-Site", "none"}, 403, "reload the page"},
	} {
		w := pressed(testPage(new(Refusal), &c.is), c.body, "", c.header...)
		if w.Code != c.status || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\u003c`, "<"), c.want) {
			t.Errorf("%s: got %d, %s", c.name, w.Code, w.Body)
		}
		if retry := w.Header().Get("Retry-After"); (retry == "9") != (c.status == http.StatusTooManyRequests) {
			t.Errorf("%s: Retry-After is %q", c.name, retry)
		}
	}
	// A page's button is its viewer's.
	p := testPage(new(Refusal), &Renewal{})
	if w := pressed(p, shop, "ops", buttonHeader, "x"); w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
	if w := send(p, http.MethodPost, shop, "Caller", "ops", "Origin", "http://proxy", "Content-Type", "application/json", buttonHeader, p.token(Viewer{Caller: "club"})); w.Code != http.StatusForbidden {
		t.Errorf("got %d with another's", w.Code)
	}
	p.ReadOnly = true
	if w := pressed(p, shop, "ops"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d where there is no button", w.Code)
	}
}
