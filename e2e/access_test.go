package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

func TestWebPagesMayNotCall(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for _, c := range []struct {
		header, value string
		allowed       bool
	}{
		{"Origin", "http://evil.example", false},
		{"Origin", "null", false},
		{"Sec-Fetch-Site", "cross-site", false},
		{"Sec-Fetch-Site", "same-site", false},
		{"Sec-Fetch-Site", "same-origin", false},
		{"Sec-Fetch-Site", "none", true},
		{"Sec-Fetch-Mode", "cors", true}, // Node's fetch
		{"Referer", "http://intranet.example", true},
	} {
		req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
		req.Header.Set(c.header, c.value)
		a := do(t, req)
		if c.allowed {
			wantOK(t, a)
		} else {
			wantProxyError(t, a, http.StatusForbidden, 48001, "web page")
		}
	}
}

func TestAllowIPs(t *testing.T) {
	const trusting = "servers {\n trusted_proxies static 127.0.0.1\n }"
	for _, c := range []struct {
		name, options, allow, client string
		allowed                      bool
	}{
		{"loopback by default", "", "", "", true},
		{"not on the list", "", "10.0.0.0/8", "", false},
		{"on the list", "", "10.0.0.0/8 127.0.0.1", "", true},
		{"private ranges by name", "", "203.0.113.0/24 private_ranges", "", true},
		{"public, by a trusted proxy", trusting, "", "203.0.113.9", false},
		{"private, by a trusted proxy", trusting, "", "192.168.3.4", true},
		{"public and listed, by a trusted proxy", trusting, "203.0.113.0/24", "203.0.113.9", true},
		{"IPv6, by a trusted proxy", trusting, "2001:db8::/32", "2001:db8::1", true},
		{"IPv4 in IPv6, by a trusted proxy", trusting, "203.0.113.0/24", "::ffff:203.0.113.9", true},
		{"a proxy that is not trusted", "", "", "203.0.113.9", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWeChat(t)
			site := "weixin"
			if c.allow != "" {
				site = fmt.Sprintf("weixin {\n allow_ips %s\n }", c.allow)
			}
			p := startCaddy(t, w, config{site: site, options: c.options})
			req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
			if c.client != "" {
				req.Header.Set("X-Forwarded-For", c.client)
			}
			a := do(t, req)
			if c.allowed {
				wantOK(t, a)
			} else {
				wantProxyError(t, a, http.StatusForbidden, 48001, "allow_ips")
			}
		})
	}
}

// A unix socket is as near as loopback.
func TestUnixSocket(t *testing.T) {
	w := startWeChat(t)
	socket := filepath.Join(t.TempDir(), "proxy.sock")
	startCaddy(t, w, config{site: "bind unix/" + socket + "\n weixin"})
	overSocket := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	res, err := overSocket.Get("http://127.0.0.1/cgi-bin/user/get")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("got %s", res.Status)
	}
}
