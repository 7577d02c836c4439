package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// captured is a Caddy with sites under WeChat's names, and weixin_capture.
type captured struct {
	*caddy
	config config
}

// capturing is what a test wants of a Caddy that captures.
type capturing struct {
	global  string // inside of the weixin global option; default: the account "shop"
	options string // further global options
	sites   string // further sites
	capture string // the directive; default: weixin_capture
	tls     string // inside of the site of api.weixin.qq.com; default: weixin
}

func (c capturing) caddyfile(t *testing.T, p *caddy, w *weChat, httpPort, httpsPort int) string {
	t.Helper()
	if c.global == "" {
		c.global = defaultAccount
	}
	if c.capture == "" {
		c.capture = "weixin_capture"
	}
	if c.tls == "" {
		c.tls = "weixin"
	}
	return fmt.Sprintf(`{
	admin %s
	debug
	default_bind 127.0.0.1
	http_port %d
	https_port %d
	skip_install_trust
	log {
		format filter {
			request>uri query {
				replace access_token REDACTED
				replace secret REDACTED
			}
		}
	}
	%s
	weixin {
		%s
		%s
	}
}
https://api.weixin.qq.com, https://qyapi.weixin.qq.com, http://api.weixin.qq.com, http://file.api.weixin.qq.com {
	log
	tls internal
	respond /client "{client_ip} {remote_host} {host}"
	%s
}
%s
:%s {
	log
	%s
}
`, strings.TrimPrefix(p.admin, "http://"), httpPort, httpsPort, c.options, "upstream "+w.URL, c.global, c.tls, c.sites, portOf(p.url), c.capture)
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

func startCapture(t *testing.T, w *weChat, c capturing) *captured {
	t.Helper()
	httpPort, httpsPort := freePort(t), freePort(t)
	cfg := config{write: func(p *caddy) string { return c.caddyfile(t, p, w, httpPort, httpsPort) }}
	p := &captured{caddy: startCaddy(t, w, cfg), config: cfg}
	if !eventually(func() bool { return p.certificates() == 2+strings.Count(c.sites, "https://") }) {
		t.Fatal("the sites have no certificates")
	}
	return p
}

// certificates returns how many names have one that is in use. It is not yet when
// it has been obtained.
func (p *captured) certificates() int {
	var inUse []any
	for _, line := range p.logged("added certificate to cache") {
		inUse = append(inUse, line["subjects"].([]any)...)
	}
	n := 0
	for _, line := range p.logged("certificate obtained successfully") {
		if slices.Contains(inUse, line["identifier"]) {
			n++
		}
	}
	return n
}

// rootFile is the certificate that applications have to trust.
func (p *captured) rootFile() string {
	return filepath.Join(p.dataDir, "caddy", "pki", "authorities", "local", "root.crt")
}

func (p *captured) roots() *x509.CertPool {
	p.t.Helper()
	text, err := os.ReadFile(p.rootFile())
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		p.t.Fatal("the root is no certificate")
	}
	return pool
}

// client is an application's with HTTPS_PROXY and HTTP_PROXY.
func (p *captured) client(change func(*http.Transport)) *http.Client {
	p.t.Helper()
	proxy, err := url.Parse(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: p.roots()}}
	if change != nil {
		change(transport)
	}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (p *captured) send(c *http.Client, method, target, body string) answer {
	p.t.Helper()
	return sendWith(p.t, c, newRequest(p.t, method, target, strings.NewReader(body)))
}

func sendWith(t *testing.T, c *http.Client, req *http.Request) answer {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// An application that knows no other host than WeChat's holds no token of
// WeChat's either, and notices nothing of a token's death.
func TestCapture(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	for name, change := range map[string]func(*http.Transport){
		"HTTP/1.1": nil,
		"HTTP/2":   func(transport *http.Transport) { transport.ForceAttemptHTTP2 = true },
	} {
		t.Run(name, func(t *testing.T) {
			c := p.client(change)
			wantOK(t, p.send(c, http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get?access_token=x", ""))
			w.revoke()
			a := p.send(c, http.MethodPost, "https://api.weixin.qq.com/cgi-bin/message/custom/send", `{"touser":"o1","msgtype":"text","text":{"content":"x"}}`)
			wantReplayed(t, a, "40001")
			if a.header.Get("Alt-Svc") != "" {
				t.Error("the application is told of HTTP/3, which leads past the proxy")
			}
		})
	}
	for _, target := range []string{
		"http://api.weixin.qq.com/cgi-bin/user/get",
		"http://file.api.weixin.qq.com/cgi-bin/user/get",
		"http://API.weixin.qq.com.:80/cgi-bin/user/get",
		"http://hk.api.weixin.qq.com/cgi-bin/user/get",
		w.URL + "/cgi-bin/user/get", // the upstream itself
	} {
		calls := w.count("/cgi-bin/user/get")
		if a := p.send(p.client(nil), http.MethodGet, target, ""); a.status != http.StatusOK || a.errcode() != 0 {
			t.Errorf("%s: %s", target, a)
		}
		if w.count("/cgi-bin/user/get") != calls+1 {
			t.Errorf("%s did not reach WeChat", target)
		}
	}
}

// The host tells an official account from an application of WeCom, by whichever
// of its names an SDK calls the API.
func TestCaptureHostTellsKind(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCapture(t, w, capturing{global: defaultAccount + `
		account hr {
			kind wecom
			corpid ww0000000000000001
			secret {env.WEIXIN_SECRET}
			upstream http://127.0.0.1:1
		}`})
	c := p.client(nil)
	for _, host := range []string{"api", "api2", "sh.api", "sz.api", "hk.api", "file.api"} {
		wantOK(t, p.send(c, http.MethodGet, "http://"+host+".weixin.qq.com/cgi-bin/user/get", ""))
	}
	if a := p.send(c, http.MethodGet, "http://qyapi.weixin.qq.com/cgi-bin/user/get", ""); !strings.Contains(a.body, "no access_token for account hr") {
		t.Errorf("WeCom's host: %s", a)
	}
}

// What is asked for in another way, or is elsewhere, is not served.
func TestCaptureIsNoOpenProxy(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		if conn, err := other.Accept(); err == nil {
			conn.Close()
			t.Error("something was dialled")
		}
	}()
	p := startCapture(t, w, capturing{global: `
		account shop {
			appid {env.WEIXIN_APPID}
			secret {env.WEIXIN_SECRET}
		}
		account private {
			appid wx2
			secret {env.WEIXIN_SECRET}
			upstream https://127.0.0.1:1
		}
		account private6 {
			appid wx3
			secret {env.WEIXIN_SECRET}
			upstream https://[::1]:1
		}`})
	const connect, absolute = "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", "GET %s HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n"
	for _, c := range []struct {
		form, target string
		status       int
		mentions     string
	}{
		{connect, "api.weixin.qq.com:443", 200, ""},
		{connect, "API.Weixin.QQ.com:443", 200, ""},
		{connect, "api.weixin.qq.com.:443", 200, ""},
		{connect, "qyapi.weixin.qq.com:443", 200, ""},
		{connect, "api.weixin.qq.com", 403, "own ports"},
		{connect, "api.weixin.qq.com:80", 403, "own ports"},
		{connect, "api.weixin.qq.com:8443", 403, "own ports"},
		{connect, "api.weixin.qq.com:0443", 403, "own ports"},
		{connect, "user@api.weixin.qq.com:443", 400, "nothing else"},
		{connect, "api.weixin.qq.com@evil.example:443", 403, "own ports"},
		{connect, "hk.api.weixin.qq.com:443", 502, "add https://hk.api.weixin.qq.com {"},
		{connect, "hk.api.weixin.qq.com:8443", 502, "add https://hk.api.weixin.qq.com {"},
		{connect, "127.0.0.1:1", 502, "add https://127.0.0.1:1 {"},
		{connect, "127.0.0.1:443", 502, "add https://127.0.0.1 {"},
		{connect, "127.0.0.1:2", 403, "own ports"},
		{connect, "[0:0:0:0:0:0:0:1]:1", 502, "add https://[::1]:1 {"},
		{connect, "[::ffff:127.0.0.1]:1", 502, "add https://127.0.0.1:1 {"},
		{connect, "[::2]:443", 403, "own ports"},
		{connect, "mp.weixin.qq.com:443", 403, "mp.weixin.qq.com:443 is none of"},
		{connect, "xapi.weixin.qq.com:443", 403, "own ports"},
		{connect, "evil.example:443", 403, "own ports"},
		{connect, other.Addr().String(), 403, "own ports"},
		{absolute, "http://evil.example/", 403, "own ports"},
		{absolute, "http://" + other.Addr().String() + "/", 403, "own ports"},
		{absolute, "http://api.weixin.qq.com@" + other.Addr().String() + "/", 403, "own ports"},
		{absolute, "http://user:pass@api.weixin.qq.com/cgi-bin/user/get", 400, "password"},
		{absolute, "http://api.weixin.qq.com:8080/cgi-bin/user/get", 403, "own ports"},
		{absolute, "http://hk.api.weixin.qq.com:8080/cgi-bin/user/get", 502, "add https://hk.api.weixin.qq.com {"},
		{absolute, "https://api.weixin.qq.com:80/cgi-bin/user/get", 403, "own ports"},
		{absolute, "https://api.weixin.qq.com/cgi-bin/user/get?appid=" + appID, 200, ""},
		{absolute, "ftp://api.weixin.qq.com/cgi-bin/user/get", 403, "own ports"},
		{absolute, "http://api.weixin.qq.com", 400, "slash"},
		{absolute, "/cgi-bin/user/get", 403, "HTTPS_PROXY"},
		{"CONNECT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", "api.weixin.qq.com:443", 400, "nothing else"},
		{"CONNECT %s HTTP/1.0\r\n\r\n", "api.weixin.qq.com:443", 200, ""},
	} {
		t.Run(strings.Fields(c.form)[0]+" "+c.target, func(t *testing.T) {
			conn := dial(t, p.url)
			fmt.Fprintf(conn, c.form, c.target)
			res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(c.form)[0]})
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == http.StatusOK {
				if c.status != http.StatusOK {
					t.Errorf("got %s", res.Status)
				}
				return
			}
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.status || !strings.Contains(string(body), c.mentions) {
				t.Errorf("got %s %s, want %d and %q", res.Status, body, c.status, c.mentions)
			}
			if strings.HasPrefix(c.form, "CONNECT") && !res.Close {
				t.Error("the connection stays open")
			}
		})
	}
	if p.logs.contains("user:pass") && len(p.logged("request refused")) > 0 {
		for _, line := range p.logged("request refused") {
			if strings.Contains(fmt.Sprint(line), "user:pass") {
				t.Errorf("a password is in the log: %v", line)
			}
		}
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}
