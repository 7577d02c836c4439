package e2e

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The transport inside of Caddy's reverse_proxy does what the handler does.
func TestReverseProxyTransport(t *testing.T) {
	t.Parallel()
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
	wantProxyError(t, get(t, p.url+"//cgi-bin/user/get"), http.StatusBadRequest, 40035, "base URL probably ends with a slash")

	req = newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
	req.Header.Set("Origin", "http://evil.example")
	wantProxyError(t, do(t, req), http.StatusForbidden, 48001, "web page")

	w.fail("token", 40164, 1)
	w.revoke()
	if a := get(t, p.url+"/cgi-bin/user/get"); a.status < 500 || a.errcode() != 40164 {
		t.Errorf("got %s", a)
	}
}

// The example of the README: an upstream that is reached with TLS.
func TestReverseProxyTransportWithTLS(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	secure := httptest.NewTLSServer(w)
	t.Cleanup(secure.Close)
	pemFile := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(pemFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startCaddy(t, w, config{
		site: "reverse_proxy " + secure.URL + " {\n transport weixin shop {\n trust_upstream\n }\n }",
		env:  []string{"SSL_CERT_FILE=" + pemFile},
	})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
}

// What reverse_proxy offers works with the transport too: another upstream where
// one is down, and health checks.
func TestReverseProxyTransportFailover(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := startCaddy(t, w, config{site: `reverse_proxy ` + dead + ` UPSTREAM {
		transport weixin shop {
			trust_upstream
		}
		lb_policy round_robin
		lb_try_duration 5s
		health_uri /cgi-bin/get_api_domain_ip
		health_interval 100ms
	}`})
	for range 6 {
		wantOK(t, post(t, p.url+"/cgi-bin/menu/create", `{"button":[{"name":"a"}]}`))
	}
	if !eventually(func() bool { return w.count("/cgi-bin/get_api_domain_ip") > 3 }) {
		t.Error("there are no health checks")
	}
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
}
