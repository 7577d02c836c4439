package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A tunnel leads to the site that it was asked for, whatever is said inside.
func TestCaptureTunnelHasOneHost(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	p := startCapture(t, startWeChat(t), capturing{tls: "weixin {\n allow_ips 127.0.0.9\n }"})
	wantProxyError(t, p.send(p.client(nil), http.MethodGet, "https://api.weixin.qq.com/cgi-bin/user/get", ""), http.StatusForbidden, 48001, "allow_ips")
}

// A site for applications' proxy requests has no name.
func TestCaptureInNamedSite(t *testing.T) {
	t.Parallel()
	named := startCapture(t, startWeChat(t), capturing{sites: fmt.Sprintf("http://proxy.internal:%d {\n weixin_capture\n }", freePort(t))})
	if n := len(named.logged("no request for api.weixin.qq.com comes to weixin_capture, as its site has another name: write a port alone as the site's address, such as :3128")); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// The way to the proxy may be encrypted, and HTTP/2.
func TestCaptureHTTP2(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

// hold has WeChat answer when the function is called that is returned.
func (w *weChat) hold(t *testing.T) (release func()) {
	t.Helper()
	held := make(chan bool)
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		<-held
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"errcode":0}`)
	})
	return release
}

// changed is the configuration with a difference: Caddy ignores the same again.
func (p *captured) changed() config {
	cfg := p.config
	cfg.write = func(process *caddy) string {
		return strings.Replace(p.config.write(process), "respond /client", "respond /nothing", 1)
	}
	return cfg
}

// A reload ends the tunnels that are idle, and no request.
func TestCaptureReload(t *testing.T) {
	t.Parallel()
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

	release := w.hold(t)
	busy := p.client(nil)
	answers := make(chan answer, 1)
	go func() { answers <- tryGet(busy, "https://api.weixin.qq.com/cgi-bin/user/get") }()
	if !eventually(func() bool { return w.count("/cgi-bin/user/get") > 0 }) {
		t.Fatal("the request does not come")
	}
	p.reload(w, p.changed())
	if _, err := lines.ReadByte(); err == nil {
		t.Error("the idle tunnel is still used")
	} else if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Error("the idle tunnel stays open")
	}
	release()
	wantOK(t, <-answers)
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

// The process waits for requests in tunnels when it ends, those of an earlier
// configuration too.
func TestCaptureStop(t *testing.T) {
	t.Parallel()
	for name, reloads := range map[string]bool{"at once": false, "after a reload": true} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCapture(t, w, capturing{})
			release := w.hold(t)
			c := p.client(nil)
			answers := make(chan answer, 1)
			go func() { answers <- tryGet(c, "https://api.weixin.qq.com/cgi-bin/user/get") }()
			if !eventually(func() bool { return w.count("/cgi-bin/user/get") > 0 }) {
				t.Fatal("the request does not come")
			}
			if reloads {
				p.reload(w, p.changed())
			}
			stopped := make(chan bool)
			go func() { p.stop(); close(stopped) }()
			select {
			case <-stopped:
				t.Error("it did not wait")
			case <-time.After(time.Second):
			}
			release()
			wantOK(t, <-answers)
			<-stopped
		})
	}
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
	t.Parallel()
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

// OpenSSL says what is wrong before it encrypts: curl and programs in Python,
// PHP, Ruby and Node do.
func TestCaptureUntrustedByOpenSSL(t *testing.T) {
	t.Parallel()
	p := startCapture(t, startWeChat(t), capturing{})
	conn := dial(t, p.url)
	fmt.Fprint(conn, "CONNECT api.weixin.qq.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	unknownAuthority := []byte{21, 3, 3, 0, 2, 2, 48} // an alert of TLS 1.2, in the clear
	err = tls.Client(conn, &tls.Config{
		ServerName:         "api.weixin.qq.com",
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
			_, _ = conn.Write(unknownAuthority)
			return errors.New("not trusted")
		},
	}).Handshake()
	if err == nil {
		t.Fatal("it was trusted")
	}
	if !eventually(func() bool { return p.logs.contains("does not trust the certificate") }) {
		t.Error("nothing is logged")
	}
}
