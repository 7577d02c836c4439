package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestWebPagesMayNotCall(t *testing.T) {
	t.Parallel()
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
		{"Upgrade-Insecure-Requests", "1", false}, // a frame, over plain HTTP
		{"Sec-Fetch-Dest", "image", false},
		{"Sec-Fetch-User", "?1", false},
		{"Sec-CH-UA", `"Chromium";v="140"`, false},
		{"Sec-CH-UA-Mobile", "?0", false},
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

// An address typed into a browser is no page's, where the browser says so.
func TestTypedAddress(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
	for name, value := range map[string]string{
		"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1",
		"Upgrade-Insecure-Requests": "1", "Sec-CH-UA": `"Chromium";v="140"`, "Sec-CH-UA-Mobile": "?0", "Sec-CH-UA-Platform": `"Linux"`,
	} {
		req.Header.Set(name, value)
	}
	wantOK(t, do(t, req))
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	wantProxyError(t, do(t, req), http.StatusForbidden, 48001, "web page")
}

// Without callers and over plain HTTP, the proxy has no name that another web
// site could have, wherever it stands in Caddy.
func TestHosts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ plain, named string }{
		"handler": {"weixin", "weixin {\n hosts WX.Example.com wx2.example.com\n }"},
		"another Host": {
			"reverse_proxy UPSTREAM {\n header_up Host localhost\n transport weixin\n }",
			"reverse_proxy UPSTREAM {\n header_up Host evil.example\n transport weixin {\n hosts WX.Example.com wx2.example.com\n }\n }",
		},
		"transport": {"reverse_proxy UPSTREAM {\n transport weixin\n }", "reverse_proxy UPSTREAM {\n transport weixin {\n hosts WX.Example.com wx2.example.com\n }\n }"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			port := freePort(t)
			url := fmt.Sprintf("http://127.0.0.1:%d", port)
			startCaddy(t, w, config{site: fmt.Sprintf("weixin\n }\n :%d {\n handle_path /named/* {\n %s\n }\n handle {\n %s\n }", port, c.named, c.plain)})
			for _, r := range []struct {
				path, host string
				allowed    bool
			}{
				{"", "localhost", true},
				{"", "LOCALHOST.:8080", true},
				{"", "proxy:8080", true},
				{"", "weixin.prod.svc.cluster.local", true},
				{"", "10.1.2.3:80", true},
				{"", "[::1]:80", true},
				{"", "api.weixin.qq.com", true},
				{"", "evil.example", false},
				{"", "EVIL.example.:80", false},
				{"", "127.0.0.1.evil.example", false},
				{"", "127.0.0.1.nip.io", false},
				{"", "wx.example.com", false},
				{"", "0.0.0.0", false},
				{"", "0:8080", false},
				{"", "0x0", false},
				{"", "00.0.0.0", false},
				{"", "[::]:8080", false},
				{"", "[::ffff:0.0.0.0]", false},
				{"/named", "wx.example.com:8080", true},
				{"/named", "WX2.example.com.", true},
				{"/named", "evil.example", false},
				{"/named", "0.0.0.0", false},
			} {
				req := newRequest(t, http.MethodGet, url+r.path+"/cgi-bin/user/get", nil)
				req.Host = r.host
				req.Header.Set("X-Forwarded-Host", "localhost")
				req.Header.Set("X-Forwarded-Proto", "https")
				a := do(t, req)
				switch {
				case r.allowed:
					wantOK(t, a)
				case strings.Contains(r.host, "example"):
					host := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(r.host, ":80"), "."))
					wantProxyError(t, a, http.StatusForbidden, 48001, "hosts "+host)
				default:
					wantProxyError(t, a, http.StatusForbidden, 48001, "")
				}
			}
		})
	}
}

// The same over HTTP/2, in absolute form, and without a Host.
func TestHostsInOtherForms(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	port := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	startCaddy(t, w, config{
		options: "servers {\n protocols h1 h2c\n }",
		site:    fmt.Sprintf("weixin\n }\n :%d {\n weixin", port),
	})
	for request, status := range map[string]string{
		"GET /cgi-bin/user/get HTTP/1.0\r\n\r\n":                                                 "200",
		"GET /cgi-bin/user/get HTTP/1.0\r\nHost: evil.example\r\n\r\n":                           "403",
		"GET /cgi-bin/user/get HTTP/1.1\r\nHost: evil.example\r\n\r\n":                           "403",
		"GET http://evil.example/cgi-bin/user/get HTTP/1.1\r\nHost: localhost\r\n\r\n":           "403",
		"GET http://localhost/cgi-bin/user/get HTTP/1.1\r\nHost: localhost\r\n\r\n":              "200",
		"GET http://localhost@evil.example/cgi-bin/user/get HTTP/1.1\r\nHost: localhost\r\n\r\n": "403",
		"GET /cgi-bin/user/get HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n":                 "403",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		// Caddy may refuse some by itself.
		if fields := strings.Fields(line); err != nil || len(fields) < 2 || fields[1] != status && (status != "403" || fields[1] != "400") {
			t.Errorf("%q: got %q, %v", request, line, err)
		}
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	for host, status := range map[string]int{"localhost": http.StatusOK, "evil.example": http.StatusForbidden, "[::]:80": http.StatusForbidden} {
		req := newRequest(t, http.MethodGet, "http://"+address+"/cgi-bin/user/get", nil)
		req.Host = host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status || res.ProtoMajor != 2 {
			t.Errorf("%s: got %s over %s", host, res.Status, res.Proto)
		}
	}
}

// With callers a name says nothing: whoever calls has a key.
func TestHostsWithCallers(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	port := freePort(t)
	startCaddy(t, w, config{
		global: defaultAccount + "\n caller orders {\n key {env.ORDERS_KEY}\n }",
		site:   fmt.Sprintf("weixin\n }\n :%d {\n weixin", port),
		env:    []string{"ORDERS_KEY=" + ordersKey},
	})
	req := newRequest(t, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/cgi-bin/user/get", port), nil)
	req.Host = "wx.example.com"
	req.Header.Set("Authorization", "Bearer "+ordersKey)
	wantOK(t, do(t, req))
}

func TestAllowIPs(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
