package gateway

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestMadeByWebPage(t *testing.T) {
	for _, c := range []struct {
		name   string
		header http.Header
		want   bool
	}{
		{"a program", http.Header{"User-Agent": {"curl/8"}, "Accept": {"*/*"}}, false},
		{"Node's fetch", http.Header{"Sec-Fetch-Mode": {"cors"}}, false},
		{"a proxy's client with a Referer", http.Header{"Referer": {"http://x"}}, false},
		{"an image", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}}, true},
		{"a frame of a page over plain HTTP", http.Header{"Upgrade-Insecure-Requests": {"1"}}, true},
		{"typed", http.Header{"Sec-Fetch-Site": {"none"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-User": {"?1"}, "Upgrade-Insecure-Requests": {"1"}, "Sec-Ch-Ua": {`"x"`}}, false},
		{"typed, and another's", http.Header{"Sec-Fetch-Site": {"none", "cross-site"}}, true},
		{"in one line", http.Header{"Sec-Fetch-Site": {"none, cross-site"}}, true},
		{"an empty site", http.Header{"Sec-Fetch-Site": {""}}, true},
		{"an Origin", http.Header{"Origin": {"null"}}, true},
		{"an Origin and typed", http.Header{"Origin": {"null"}, "Sec-Fetch-Site": {"none"}}, true},
		{"a destination", http.Header{"Sec-Fetch-Dest": {"empty"}}, true},
		{"a click", http.Header{"Sec-Fetch-User": {"?1"}}, true},
		{"a brand", http.Header{"Sec-Ch-Ua": {`"Chromium"`}}, true},
		{"a phone's", http.Header{"Sec-Ch-Ua-Mobile": {"?1"}}, true},
		{"a platform's", http.Header{"Sec-Ch-Ua-Platform": {`"Linux"`}}, true},
	} {
		if got := madeByWebPage(c.header); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestJudgeHost(t *testing.T) {
	access := &Access{Hosts: []string{"WX.Example.com.", "微信.example"}}
	if err := access.Prepare(); err != nil {
		t.Fatal(err)
	}
	directory, err := account.NewDirectory(&account.Account{
		Name: "shop", Kind: wechat.Official, Upstream: &url.URL{Scheme: "https", Host: "HUB.example.net:8443"},
	})
	if err != nil {
		t.Fatal(err)
	}
	registry := &Registry{Accounts: directory}
	for want, hosts := range map[HostVerdict][]string{
		HostOurs: {
			"", ":80", "localhost", "LOCALHOST:8080", "localhost.", "proxy", "proxy:80", "my_service:80", "a.localhost", "mac.local", "MAC.Local.:80",
			"weixin.prod.svc.cluster.local:8080", "host.docker.internal", "nas.home.arpa",
			"127.0.0.1", "127.0.0.1:80", "127.0.0.1.", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "10.1.2.3:8080", "203.0.113.9",
			"[::1]", "[::1]:80", "::1", "[fe80::1%25eth0]:80", "[fe80::1%eth0]", "[::ffff:127.0.0.1]:80", "[2001:DB8::1]",
			"wx.example.com", "wx.example.com:80", "WX.EXAMPLE.COM.", "xn--vuqz89a.example", "api.weixin.qq.com", "file.api.weixin.qq.com:80", "hub.example.net",
		},
		HostForeign: {
			"evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "wx.example.com.evil.example", "evilwx.example.com",
			"evil.example.", "localhost.evil.example", "evillocal.example", "api.weixin.qq.com.evil.example", "x.hub.example.net",
			"256.0.0.1", "1.2.3.4.5", "09.0.0.1", "4294967296", "0x100000000", "0xfffffffffffffffffffff",
			"[localhost]", "[127.0.0.1]", "[::1", "[::1]x", "user@localhost", "localhost@evil.example", "%30.0.0.0", "localhost/", "a b", "evil.example:80:80",
			"localhost:80x", "localhost..", "１２７.0.0.1", "[::g]",
		},
		HostUnspecified: {
			"0.0.0.0", "0.0.0.0:8080", "0.0.0.0.", "0", "0:8080", "0x0", "0X0", "00", "0.0", "00.0.0.0", "0x0.0.0", "000000000000", "0x", "0.0.0.1",
			"[::]", "[::]:80", "::", "[0:0:0:0:0:0:0:0]", "[0::0]", "[::ffff:0.0.0.0]", "[::ffff:0:0]:80", "[::%25lo]", "[::0.0.0.0]",
		},
	} {
		for _, host := range hosts {
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Host = host
			if got := access.JudgeHost(registry, req, req.Host); got != want {
				t.Errorf("%q: got %d, want %d", host, got, want)
			}
		}
	}
	for name, c := range map[string]struct {
		registry *Registry
		tls      *tls.ConnectionState
	}{
		"over HTTPS":   {registry, new(tls.ConnectionState)},
		"with callers": {&Registry{callers: []*Caller{{}}}, nil},
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.TLS = c.tls
		if access.JudgeHost(c.registry, req, "evil.example") != HostOurs {
			t.Errorf("%s a name is refused", name)
		}
	}
}

func TestParseHosts(t *testing.T) {
	for _, name := range []string{"https://wx.example.com", "wx.example.com:80", "*.example.com", "wx.example.com/x", "[::1]", "::1", "127.0.0.1", "0.0.0.0", "0", "", ".", "a b", "u@h"} {
		if hosts, err := ParseHosts([]string{name}); err == nil {
			t.Errorf("%q is taken for %q", name, hosts)
		}
	}
	if _, err := ParseHosts([]string{"a.example", "A.example."}); err == nil {
		t.Error("a name is listed twice")
	}
}

// Whatever a Host is, it is judged, and no name that could be registered passes.
func FuzzJudgeHost(f *testing.F) {
	for _, host := range []string{"localhost:80", "[::1]:80", "0x7f.1", "evil.example", "[", "]:", "%", "a@b"} {
		f.Add(host)
	}
	directory, err := account.NewDirectory()
	if err != nil {
		f.Fatal(err)
	}
	empty := &Registry{Accounts: directory}
	f.Fuzz(func(t *testing.T, host string) {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		if new(Access).JudgeHost(empty, req, host+".example") == HostOurs {
			t.Errorf("%q passes", host+".example")
		}
		if new(Access).JudgeHost(empty, req, host+".example:80") == HostOurs {
			t.Errorf("%q passes", host+".example:80")
		}
		new(Access).JudgeHost(empty, req, host)
	})
}
