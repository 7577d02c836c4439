package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
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
	if !eventually(func() bool {
		return len(p.logged("certificate obtained successfully")) == 2+strings.Count(c.sites, "https://")
	}) {
		t.Fatal("the sites have no certificates")
	}
	return p
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

// What is asked for in another way, or is elsewhere, is not served.
func TestCaptureIsNoOpenProxy(t *testing.T) {
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

// A tunnel leads to the site that it was asked for, whatever is said inside.
func TestCaptureTunnelHasOneHost(t *testing.T) {
	w := startWeChat(t)
	p := startCapture(t, w, capturing{sites: "https://internal.example {\n tls internal\n respond secret\n }"})
	c := p.client(nil)
	for host, status := range map[string]int{
		"api.weixin.qq.com": 200, "API.weixin.qq.com.": 200, "api.weixin.qq.com:443": 200, "[::1]": 421,
		"internal.example": 421, "qyapi.weixin.qq.com": 421,
	} {
		req := newRequest(t, http.MethodGet, "https://api.weixin.qq.com/client", nil)
		req.Host = host
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != status || strings.Contains(string(body), "secret") || status == 200 && !strings.Contains(string(body), "127.0.0.1 127.0.0.1 api.weixin.qq.com") {
			t.Errorf("%s: %s %s", host, res.Status, body)
		}
	}
}

// The site sees the application, and nothing that the application says changes
// that, unless it is believed.
func TestCaptureClientAddress(t *testing.T) {
	from := func(ip string, forwarded string) func(*http.Transport) {
		return func(transport *http.Transport) {
			dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
			transport.DialContext = dialer.DialContext
			if forwarded != "" {
				transport.ProxyConnectHeader = http.Header{"X-Forwarded-For": {forwarded}}
			}
		}
	}
	for _, c := range []struct {
		name, options, capture, client, forwarded, want string
	}{
		{"its own", "", "", "127.0.0.9", "", "127.0.0.9 127.0.0.9"},
		{"what it says", "", "", "127.0.0.9", "203.0.113.9", "127.0.0.9 127.0.0.9"},
		{"by a trusted proxy", "servers {\n trusted_proxies static 127.0.0.9\n }", "", "127.0.0.9", "192.168.3.4", "192.168.3.4 192.168.3.4"},
		{"that may not call", "", "weixin_capture {\n allow_ips 127.0.0.1\n }", "127.0.0.9", "", ""},
		{"that may not call, by a trusted proxy", "servers {\n trusted_proxies static 127.0.0.9\n }", "", "127.0.0.9", "203.0.113.9", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startCapture(t, startWeChat(t), capturing{options: c.options, capture: c.capture})
			res, err := p.client(from(c.client, c.forwarded)).Get("https://api.weixin.qq.com/client")
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "Forbidden") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, _ := io.ReadAll(res.Body); string(body) != c.want+" api.weixin.qq.com" {
				t.Errorf("the site sees %s, want %s", body, c.want)
			}
		})
	}
}

// allow_ips of the site decides by the application's address as well.
func TestCaptureAllowIPsOfSite(t *testing.T) {
	p := startCapture(t, startWeChat(t), capturing{tls: "weixin {\n allow_ips 127.0.0.9\n }"})
	wantProxyError(t, p.send(p.client(nil), http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""), http.StatusForbidden, 48001, "allow_ips")
}

// A site for applications' proxy requests has no name.
func TestCaptureInNamedSite(t *testing.T) {
	named := startCapture(t, startWeChat(t), capturing{sites: fmt.Sprintf("http://proxy.internal:%d {\n weixin_capture\n }", freePort(t))})
	if n := len(named.logged("no request for api.weixin.qq.com comes to weixin_capture, as its site has another name: write a port alone as the site's address, such as :3128")); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// The way to the proxy may be encrypted, and HTTP/2.
func TestCaptureHTTP2(t *testing.T) {
	w := startWeChat(t)
	own := httptest.NewTLSServer(nil) // for its certificate
	defer own.Close()
	files, port := t.TempDir(), freePort(t)
	key, err := x509.MarshalPKCS8PrivateKey(own.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: own.Certificate().Raw},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(files, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := startCapture(t, w, capturing{sites: fmt.Sprintf(":%d {\n log\n tls %s/cert.pem %s/key.pem\n weixin_capture\n }", port, files, files)})
	c := own.Client()
	c.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	pr, pw := io.Pipe()
	req := newRequest(t, http.MethodConnect, fmt.Sprintf("https://127.0.0.1:%d", port), pr)
	req.Host = "api.weixin.qq.com:443"
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		t.Fatalf("got %s %s", res.Proto, res.Status)
	}
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(pw, far); pw.Close() }()
	go func() { _, _ = io.Copy(far, res.Body); far.Close() }()
	tunnel := tls.Client(near, &tls.Config{RootCAs: p.roots(), ServerName: "api.weixin.qq.com"})
	through := &http.Client{Transport: &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return tunnel, nil },
	}, Timeout: 20 * time.Second}
	if a := p.send(through, http.MethodGet, "https://api.weixin.qq.com/client", ""); a.body != "127.0.0.1 127.0.0.1 api.weixin.qq.com" {
		t.Errorf("got %s", a)
	}
	wantOK(t, p.send(through, http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""))
	through.CloseIdleConnections()
	refused := newRequest(t, http.MethodConnect, req.URL.String(), nil)
	refused.Host = "evil.example:443"
	wantProxyError(t, sendWith(t, c, refused), http.StatusForbidden, 48001, "evil.example:443 is none")
}

// A site may be on another port, have a wildcard, or an IP as its name.
func TestCaptureFindsSite(t *testing.T) {
	port := freePort(t)
	site := func(address string) string { return address + " {\n tls internal\n respond {host}\n }\n" }
	p := startCapture(t, startWeChat(t), capturing{
		global: fmt.Sprintf("%s\n account own {\n appid wx2\n secret {env.WEIXIN_SECRET}\n upstream https://127.0.0.7:%d\n }", defaultAccount, port),
		sites:  site(fmt.Sprintf("https://api2.weixin.qq.com:%d", port)) + site("https://*.api.weixin.qq.com") + site(fmt.Sprintf("https://127.0.0.7:%d", port)),
	})
	c := p.client(nil)
	for _, host := range []string{"api2.weixin.qq.com", "hk.api.weixin.qq.com", fmt.Sprintf("127.0.0.7:%d", port)} {
		name, _, _ := strings.Cut(host, ":")
		if a := p.send(c, http.MethodGet, "https://"+host+"/", ""); a.body != name {
			t.Errorf("%s: %s", host, a)
		}
	}
}

// A configuration that is refused leaves nothing behind.
func TestCaptureRefusedConfig(t *testing.T) {
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	text := strings.Replace(p.config.write(p.caddy), "{env.WEIXIN_SECRET}", "{env.NOT_SET}", 1)
	res, err := http.Post(p.admin+"/load", "text/caddyfile", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", res.Status)
	}
	wantOK(t, p.send(p.client(nil), http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""))
}

// What an application is charged with as a proxy's user reaches neither WeChat
// nor the log.
func TestCaptureProxyAuthorization(t *testing.T) {
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	c := p.client(func(transport *http.Transport) {
		transport.ProxyConnectHeader = http.Header{"Proxy-Authorization": {"Basic aGlkZGVuOmhpZGRlbg=="}}
	})
	wantOK(t, p.send(c, http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""))
	req := newRequest(t, http.MethodGet, "http://api.weixin.qq.com/cgi-bin/user/get", nil)
	req.Header.Set("Proxy-Authorization", "Basic aGlkZGVuOmhpZGRlbg==")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := w.last("/cgi-bin/user/get").Header; got.Get("Proxy-Authorization") != "" {
		t.Errorf("WeChat saw %v", got)
	}
	if p.logs.contains("aGlkZGVu") {
		t.Error("it is in the log")
	}
}

// A reload ends the tunnels that are idle, and no request.
func TestCaptureReload(t *testing.T) {
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	idle := openTunnel(t, p, "api.weixin.qq.com")
	fmt.Fprint(idle, "GET /client HTTP/1.1\r\nHost: api.weixin.qq.com\r\n\r\n")
	lines := bufio.NewReader(idle)
	res, err := http.ReadResponse(lines, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)

	w.setLatency(2 * time.Second)
	busy := p.client(nil)
	answers := make(chan answer, 1)
	go func() { answers <- tryGet(busy, "https://api.weixin.qq.com/cgi-bin/user/get") }()
	if !eventually(func() bool { return w.count("/cgi-bin/user/get") > 0 }) {
		t.Fatal("the request does not come")
	}
	cfg := p.config
	cfg.write = func(p2 *caddy) string {
		return strings.Replace(p.config.write(p2), "respond /client", "respond /nothing", 1)
	}
	p.reload(w, cfg)
	if _, err := lines.ReadByte(); err == nil {
		t.Error("the idle tunnel is still used")
	} else if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Error("the idle tunnel stays open")
	}
	wantOK(t, <-answers)
	w.setLatency(0)
	wantOK(t, p.send(busy, http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""))
}

// tryGet is for other goroutines than the test's: an error is an answer without
// status.
func tryGet(c *http.Client, target string) answer {
	res, err := c.Get(target)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// The process waits for requests in tunnels when it ends.
func TestCaptureStop(t *testing.T) {
	w := startWeChat(t)
	p := startCapture(t, w, capturing{})
	c := p.client(nil)
	wantOK(t, p.send(c, http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""))
	w.setLatency(time.Second)
	calls := w.count("/cgi-bin/user/get")
	answers := make(chan answer, 1)
	go func() { answers <- tryGet(c, "https://api.weixin.qq.com/cgi-bin/user/get") }()
	if !eventually(func() bool { return w.count("/cgi-bin/user/get") > calls }) {
		t.Fatal("the request does not come")
	}
	p.stop()
	wantOK(t, <-answers)
}

// openTunnel returns a connection to the site over TLS, whose client did not
// wait for the answer to CONNECT.
func openTunnel(t *testing.T, p *captured, host string) *tls.Conn {
	t.Helper()
	conn := dial(t, p.url)
	early := &earlyConn{Conn: conn, connect: "CONNECT " + host + ":443 HTTP/1.1\r\nHost: " + host + "\r\n\r\n"}
	tunnel := tls.Client(early, &tls.Config{RootCAs: p.roots(), ServerName: host})
	if err := tunnel.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	return tunnel
}

// earlyConn sends a CONNECT request together with what is written first.
type earlyConn struct {
	net.Conn
	connect string
	answer  *bufio.Reader
}

func (c *earlyConn) Write(p []byte) (int, error) {
	if c.connect == "" {
		return c.Conn.Write(p)
	}
	_, err := c.Conn.Write(append([]byte(c.connect), p...))
	c.connect = ""
	return len(p), err
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if c.answer == nil {
		c.answer = bufio.NewReader(c.Conn)
		if _, err := http.ReadResponse(c.answer, &http.Request{Method: http.MethodConnect}); err != nil {
			return 0, err
		}
	}
	return c.answer.Read(p)
}

// An application that does not trust the certificate leaves a line that says so.
func TestCaptureUntrusted(t *testing.T) {
	p := startCapture(t, startWeChat(t), capturing{})
	c := p.client(func(transport *http.Transport) { transport.TLSClientConfig.RootCAs = x509.NewCertPool() })
	if res, err := c.Get("https://api.weixin.qq.com/client"); err == nil {
		res.Body.Close()
		t.Fatal("it was trusted")
	}
	if !eventually(func() bool { return p.logs.contains("does not trust the certificate") }) {
		t.Error("nothing is logged")
	}
}
