package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// The transport inside of Caddy's reverse_proxy does what the handler does.
func TestReverseProxyTransport(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "reverse_proxy UPSTREAM {\n transport weixin shop {\n body_limit 1KiB\n }\n }"})
	req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get?access_token=mine&next_openid=", nil)
	req.Header.Set("X-Forwarded-For", "1.2.3.4")
	wantOK(t, do(t, req))
	got := w.last("/cgi-bin/user/get")
	if got.URL.RawQuery != "access_token="+w.currentToken()+"&next_openid=" {
		t.Error("the query is not as the client sent it")
	}
	for name := range got.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || name == "Via" {
			t.Errorf("WeChat saw %s", name)
		}
	}
	if want := strings.TrimPrefix(w.URL, "http://"); got.Host != want {
		t.Errorf("WeChat saw host %s, want %s", got.Host, want)
	}

	w.revoke()
	a := post(t, p.url+"/cgi-bin/menu/create", `{"button":[]}`)
	wantReplayed(t, a, "40001")
	wantProxyError(t, post(t, p.url+"/x", strings.Repeat("x", 2000)), http.StatusRequestEntityTooLarge, 45001, "body_limit")
	wantProxyError(t, get(t, p.url+"/x//y"), http.StatusBadRequest, 40035, "doubled slash")

	req = newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
	req.Header.Set("Origin", "http://evil.example")
	wantProxyError(t, do(t, req), http.StatusForbidden, 48001, "web page")

	w.fail("token", 40164, 1)
	w.revoke()
	if a := get(t, p.url+"/cgi-bin/user/get"); a.status < 500 || a.errcode() != 40164 {
		t.Errorf("got %s", a)
	}
}
