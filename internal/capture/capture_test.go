package capture

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestHosts(t *testing.T) {
	var upstreams []*url.URL
	for _, s := range []string{"https://WX.corp.example:8443", "http://127.0.0.1:9080", "https://api.weixin.qq.com", "https://[2001:DB8::1]:444", "https://微信.example"} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		upstreams = append(upstreams, u)
	}
	hosts := NewHosts(upstreams)
	for _, c := range []struct {
		scheme, authority string
		want              bool
	}{
		{"https", "api.weixin.qq.com:443", true},
		{"https", "QYAPI.weixin.qq.com.:443", true},
		{"http", "file.api.weixin.qq.com:80", true},
		{"http", "api.weixin.qq.com:443", false},
		{"https", "api.weixin.qq.com:80", false},
		{"https", "api.weixin.qq.com", false},
		{"https", "api.weixin.qq.com..:443", false},
		{"https", "wx.corp.example:8443", true},
		{"https", "wx.corp.example:443", true},
		{"http", "wx.corp.example:8443", false},
		{"http", "127.0.0.1:9080", true},
		{"https", "127.0.0.1:9080", false},
		{"https", "[2001:db8:0::1]:444", true},
		{"https", "2001:db8::1", false},
		{"https", "xn--9cs504k.example:443", false},
		{"https", "微信.example:443", true},
		{"https", ":443", false},
		{"https", "", false},
		{"https", "weixin.qq.com:443", false},
		{"https", "api.weixin.qq.com.evil.example:443", false},
	} {
		host, port := SplitAuthority(c.authority)
		if got := hosts.HasPort(host, Port{c.scheme, port}); got != c.want {
			t.Errorf("%s over %s: %v", c.authority, c.scheme, got)
		}
	}
}

// FuzzSplitAuthority: an authority is put together again from its parts, and
// those are found again.
func FuzzSplitAuthority(f *testing.F) {
	for _, s := range []string{"api.weixin.qq.com:443", "[::1]:443", "[::1]", "::1", "a.", "", ":", "[", "[::1%25eth0]:1", "微信.example:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port := SplitAuthority(s)
		if strings.ContainsAny(host, "[]%:") || CanonicalHost(host) != host {
			return // it is no host, and found nowhere
		}
		if h, p := SplitAuthority(JoinAuthority(host, port)); h != host || p != port {
			t.Errorf("%q is %q and %q, and then %q and %q", s, host, port, h, p)
		}
	})
}

// testSite is a server for the host example.com, which httptest has a
// certificate for.
func testSite(t *testing.T, handler http.Handler) (Site, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	config := s.TLS.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return Site{Handler: handler, TLSConfig: config, HTTP2: true}, roots
}

// proxyOf is a proxy whose tunnels lead to the site.
func proxyOf(sites *Sites, site Site) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host, _ := SplitAuthority(req.Host)
		client := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 9}
		take := func(conn net.Conn, early *bufio.Reader) error {
			return sites.Serve("site", func() Site { return site }, NewTunnel(conn, early, host, client, client))
		}
		var err error
		if req.ProtoMajor > 1 {
			err = Stream(w, req, take)
		} else {
			err = Hijack(w, take)
		}
		if errors.Is(err, ErrClosed) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

func client(t *testing.T, proxy *httptest.Server, roots *x509.CertPool) *http.Client {
	t.Helper()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (s *Sites) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Tunnels end when the sites do, and leave no goroutine behind.
func TestSitesShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	sites := new(Sites)
	entered, answer := make(chan bool), make(chan bool)
	site, roots := testSite(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			entered <- true
			<-answer
		}
		io.WriteString(w, req.RemoteAddr)
	}))
	proxy := httptest.NewServer(proxyOf(sites, site))
	c := client(t, proxy, roots)
	res, err := c.Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "192.0.2.9:9" {
		t.Errorf("the client is %s", body)
	}
	failed := make(chan error)
	go func() {
		res, err := c.Get("https://example.com/slow")
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		failed <- err
	}()
	<-entered
	ended := make(chan bool)
	go sites.Shutdown(context.Background())
	go func() { // once more
		for !sites.isClosed() {
			runtime.Gosched()
		}
		sites.Shutdown(context.Background())
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("a request was cut off")
	case <-time.After(50 * time.Millisecond):
	}
	close(answer)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	<-ended
	c.CloseIdleConnections()
	if _, err := c.Get("https://example.com/"); err == nil {
		t.Error("there is a new tunnel")
	}
	proxy.Close()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+2; { // those of httptest's server
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("goroutines are left:\n%s", buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// The end of the context ends tunnels whose requests do not.
func TestSitesShutdownTimeout(t *testing.T) {
	sites := new(Sites)
	entered := make(chan bool)
	site, roots := testSite(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		close(entered)
		<-req.Context().Done()
	}))
	proxy := httptest.NewServer(proxyOf(sites, site))
	defer proxy.Close()
	failed := make(chan error)
	go func() {
		_, err := client(t, proxy, roots).Get("https://example.com/")
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	sites.Shutdown(ctx)
	if err := <-failed; err == nil {
		t.Error("the request goes on")
	}
}

// A tunnel in an HTTP/2 stream is one like others: requests follow each other,
// bodies flow both ways, and its end is the stream's.
func TestStream(t *testing.T) {
	sites := new(Sites)
	defer sites.Shutdown(t.Context())
	site, roots := testSite(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Alt-Svc", `h3=":443"`)
		body, _ := io.ReadAll(req.Body)
		_, _ = w.Write(body)
	}))
	proxy := httptest.NewUnstartedServer(proxyOf(sites, site))
	proxy.EnableHTTP2 = true
	proxy.StartTLS()
	defer proxy.Close()

	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, proxy.URL, pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.URL.Opaque = "example.com:443", ""
	res, err := proxy.Client().Do(req)
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
	conn := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for _, size := range []int{1, 1 << 20, 10} {
		body := strings.Repeat("x", size)
		res, err := c.Post("https://example.com/", "", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != body {
			t.Fatalf("%d bytes of %d came back: %v", len(got), size, err)
		}
		if res.Header.Get("Alt-Svc") != "" {
			t.Error("there is an Alt-Svc")
		}
	}
	transport.CloseIdleConnections()
	if _, err := io.Copy(io.Discard, res.Body); err != nil && !strings.Contains(err.Error(), "closed") {
		t.Errorf("the stream ends with %v", err)
	}
}
