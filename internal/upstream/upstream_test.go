package upstream

import (
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestParseUpstream(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{wechat.Official.Host, "https://api.weixin.qq.com"},
		{"https://api2.weixin.qq.com/", "https://api2.weixin.qq.com"},
		{"HTTPS://sh.api.weixin.qq.com", "https://sh.api.weixin.qq.com"},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"http://[::1]:8080/", "http://[::1]:8080"},
		{"https://proxy.example/weixin", "https://proxy.example/weixin"},
		{"https://proxy.example/weixin//", "https://proxy.example/weixin"},
		{"https://proxy.example/a%20b/", "https://proxy.example/a%20b"},
		{"https://proxy.example/a%2Fb/", "https://proxy.example/a%2Fb"},
	} {
		if got, err := ParseURL(tc.in); err != nil || got.String() != tc.want {
			t.Errorf("ParseURL(%q) = %v, %v; want %s", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{
		"", " ", "/", "api.weixin.qq.com", "api.weixin.qq.com:443", "//api.weixin.qq.com", "https:", "https://", "https:///cgi-bin",
		"https://:443", "https:api.weixin.qq.com", "ftp://api.weixin.qq.com", "unix//run/x.sock", "localhost:8080",
		"https://host:port", "https://ho st", "https://host/%zz", "https://[::1", "{env.UPSTREAM}",
		"https://host?", "https://host?a=b", "https://host/x?access_token=T", "https://host#x",
		"https://user@host", "https://user:CANARY@host", "https://user:CANARY@host:port", ":CANARY",
	} {
		u, err := ParseURL(in)
		if err == nil {
			t.Errorf("ParseURL(%q) = %v", in, u)
			continue
		}
		// The error goes into a log line, and the URL may hold a password.
		if text := err.Error(); strings.Contains(text, "CANARY") || !strings.Contains(text, wechat.Official.Host) {
			t.Errorf("ParseURL(%q): %s", in, text)
		}
	}
}

// Paths are appended to the upstream, by the transport and by sources alike.
func FuzzParseUpstream(f *testing.F) {
	for _, seed := range []string{wechat.Official.Host, "http://[::1]:80/a/b/", "https://u:p@h/?q#f", "https:x", "http://h/%2f/", "http://h//"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURL(s)
		if err != nil {
			return
		}
		if u.Hostname() == "" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
			t.Fatalf("ParseURL(%q) = %#v", s, u)
		}
		u.Path, u.RawPath = u.Path+"/cgi-bin/token", ""
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.Path != u.Path {
			t.Fatalf("ParseURL(%q) with a path is %q, read as %q, %v", s, u, again, err)
		}
	})
}

func TestIsCleartext(t *testing.T) {
	for s, want := range map[string]bool{
		"https://api.weixin.qq.com":      false,
		"https://10.0.0.1":               false,
		"http://localhost":               false,
		"http://localhost:8080":          false,
		"http://127.0.0.1:8080":          false,
		"http://127.9.9.9":               false,
		"http://[::1]:8080":              false,
		"http://[::ffff:127.0.0.1]":      false,
		"http://api.weixin.qq.com":       true,
		"http://10.0.0.1":                true,
		"http://0.0.0.0":                 true,
		"http://[::]":                    true,
		"http://[2001:db8::1]":           true,
		"http://localhost.example":       true,
		"http://127.0.0.1.example":       true,
		"http://[::ffff:192.168.0.1]:80": true,
	} {
		u, err := ParseURL(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := IsCleartext(u); got != want {
			t.Errorf("IsCleartext(%s) = %t", s, got)
		}
	}
}

// upstreamRequest sends a request to a server the way it is sent to WeChat.
func upstreamRequest(t *testing.T, server *httptest.Server, headerTimeout time.Duration) (*http.Response, error) {
	t.Helper()
	transport := NewTransport(headerTimeout)
	t.Cleanup(transport.CloseIdleConnections)
	if server.Certificate() != nil {
		transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	return transport.RoundTrip(req)
}

func TestUpstreamSpeaksHTTP1(t *testing.T) {
	protocols := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	res, err := upstreamRequest(t, server, 0)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := <-protocols; got != "HTTP/1.1" || res.TLS.NegotiatedProtocol == "h2" {
		t.Errorf("spoken: %s, negotiated: %q", got, res.TLS.NegotiatedProtocol)
	}
}

func TestUpstreamCertificateIsVerified(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // what the refused handshake is to it
	server.StartTLS()
	defer server.Close()
	transport := NewTransport(0)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err == nil {
		res.Body.Close()
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("RoundTrip: %v", err)
	}
	if transport.TLSClientConfig.MinVersion < tls.VersionTLS12 {
		t.Error("TLS before 1.2 is allowed")
	}
}

// An answer that is compressed all the same is not ours to unpack: its length
// and its Content-Encoding go to the client with it.
func TestUpstreamLeavesAnswersAlone(t *testing.T) {
	asked := make(chan []string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header["Accept-Encoding"]
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, "hello")
		_ = zip.Close()
	}))
	defer server.Close()
	res, err := upstreamRequest(t, server, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := <-asked; got != nil {
		t.Errorf("Accept-Encoding %q was added", got)
	}
	if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), "\x1f\x8b") || res.Uncompressed {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestUpstreamHeaderTimeout(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	defer server.Close()
	res, err := upstreamRequest(t, server, time.Millisecond)
	if err == nil {
		res.Body.Close()
	}
	if netErr, ok := errors.AsType[net.Error](err); !ok || !netErr.Timeout() {
		t.Errorf("RoundTrip: %v", err)
	}
}

// A download may take longer than the timeout, which is for the header.
func TestUpstreamHeaderTimeoutSparesTheBody(t *testing.T) {
	transport := NewTransport(30 * time.Second)
	if transport.ResponseHeaderTimeout != 30*time.Second || NewTransport(0).ResponseHeaderTimeout != 0 {
		t.Error("the timeout is not the one that was asked for")
	}
}

// A configuration that is gone keeps no connection. What is under way finishes.
func TestClosedRoundTripper(t *testing.T) {
	for _, name := range []string{HTTP1, NetHTTP} {
		t.Run(name, func(t *testing.T) {
			waiting, release := make(chan struct{}), make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/slow" {
					waiting <- struct{}{}
					<-release
				}
				_, _ = io.WriteString(w, "ok")
			}))
			var open atomic.Int32
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed:
					open.Add(-1)
				default:
				}
			}
			server.Start()
			defer server.Close()
			base, err := NewRoundTripper(name, NewTransport(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			send := func(path string) error {
				req, err := http.NewRequest(http.MethodGet, server.URL+path, nil)
				if err != nil {
					return err
				}
				res, err := base.RoundTrip(req)
				if err != nil {
					return err
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
					return fmt.Errorf("got %q, %w", body, err)
				}
				return nil
			}
			slow := make(chan error)
			go func() { slow <- send("/slow") }()
			<-waiting
			if err := send("/"); err != nil {
				t.Fatal(err)
			}
			base.Close()
			// A request that has come this far is still sent, over a connection of
			// its own.
			if err := send("/"); err != nil {
				t.Errorf("after Close: %v", err)
			}
			close(release)
			if err := <-slow; err != nil {
				t.Errorf("the request under way: %v", err)
			}
			for end := time.Now().Add(10 * time.Second); open.Load() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d connections are kept", open.Load())
				}
			}
		})
	}
}
