package weixin

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/wechat"
)

// startRawServer starts a server that has answer deal with the first request of
// every connection, closes it afterwards, and returns its address.
func startRawServer(t *testing.T, answer func(net.Conn, *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn, req)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A server that closes every connection after one answer without saying so: the
// next request finds the connection closed, or loses it. Whatever the method, no
// request arrives twice, and those that find it closed go out on another.
func TestConnectionsThatAreClosedSilently(t *testing.T) {
	var received atomic.Int32
	address := startRawServer(t, func(conn net.Conn, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		received.Add(1)
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
		if req.Method != http.MethodHead {
			fmt.Fprint(conn, "{}")
		}
	})
	eachRoundTripper(t, func(t *testing.T, roundTripper string) {
		base, err := newRoundTripper(roundTripper, newUpstreamTransport(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer base.CloseIdleConnections()
		tr := &transport{base: base, logger: zap.NewNop(), bodyBuffer: 1 << 10, bodyLimit: 1 << 20}
		target := &url.URL{Scheme: "http", Host: address}
		account := &Account{Name: "shop", Place: wechat.Official, watcher: nobody{}}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
			for _, body := range []string{"", "{}"} {
				received.Store(0)
				const requests = 50
				failed := 0
				for range requests {
					req, err := http.NewRequest(method, "http://proxy/sns/userinfo", io.NopCloser(strings.NewReader(body)))
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = int64(len(body))
					res, err := tr.roundTrip(t.Context(), account, target, req, false)
					if err != nil {
						failed++
						continue
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					time.Sleep(time.Millisecond) // the connection is closed meanwhile, mostly
				}
				if n := int(received.Load()); n > requests || n < requests-failed {
					t.Errorf("%s with %q: %d requests arrived, of %d of which %d failed", method, body, n, requests, failed)
				}
				if failed > requests/5 {
					t.Errorf("%s with %q: %d of %d failed", method, body, failed, requests)
				}
			}
		}
	})
}

// mortalConn is a connection that the server may close at any moment.
type mortalConn struct {
	net.Conn
	dead   atomic.Bool
	closed chan struct{} // by this side
	once   sync.Once
}

// die has the server close it, and waits until this side has noticed.
func (c *mortalConn) die() {
	c.dead.Store(true)
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes who reads
	<-c.closed
}

func (c *mortalConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.dead.Load() {
		return 0, io.EOF
	}
	return n, err
}

func (c *mortalConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A request that did not leave is sent again, with its body.
func TestUnsentRequests(t *testing.T) {
	var received atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		received.Add(1)
		_, _ = io.Copy(w, req.Body)
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	died := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if info.Reused {
			info.Conn.(*mortalConn).die()
			died++
		}
	}})
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost, http.MethodDelete} {
		for _, body := range []string{"", "{}"} {
			connections := newUpstreamTransport(time.Minute)
			dial := connections.DialContext
			connections.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &mortalConn{Conn: conn, closed: make(chan struct{})}, nil
			}
			base, err := newRoundTripper(roundTripperNetHTTP, connections)
			if err != nil {
				t.Fatal(err)
			}
			tr := &transport{base: base, logger: zap.NewNop(), bodyBuffer: 1 << 10, bodyLimit: 1 << 20}
			received.Store(0)
			died = 0
			const requests = 5
			for range requests {
				res, err := tr.send(ctx, target, method, body)
				if err != nil {
					t.Fatalf("%s with %q: %v", method, body, err)
				}
				if got, _ := io.ReadAll(res.Body); string(got) != body {
					t.Errorf("%s with %q: %q arrived", method, body, got)
				}
				res.Body.Close()
			}
			if n := received.Load(); n != requests || died == 0 {
				t.Errorf("%s with %q: %d requests arrived, of %d, and %d connections died", method, body, n, requests, died)
			}
			base.CloseIdleConnections()
		}
	}
}

// newHTTP2Transport returns a transport with HTTP/2 to a server.
func newHTTP2Transport(t *testing.T, upstream *httptest.Server) (*transport, *url.URL) {
	t.Helper()
	connections := newUpstreamTransport(time.Minute)
	connections.TLSClientConfig.RootCAs = x509.NewCertPool()
	connections.TLSClientConfig.RootCAs.AddCert(upstream.Certificate())
	base, err := newRoundTripper(roundTripperHTTP2, connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.CloseIdleConnections)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &transport{base: base, logger: zap.NewNop(), bodyBuffer: 1 << 10, bodyLimit: 1 << 20}, target
}

// send sends a request without a token.
func (t *transport) send(ctx context.Context, target *url.URL, method, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://proxy/sns/userinfo", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	account := &Account{Name: "shop", Place: wechat.Official, watcher: nobody{}}
	return t.roundTrip(ctx, account, target, req, false)
}

// With HTTP/2 no request fails because the server ends connections, and each
// comes with its length.
func TestHTTP2(t *testing.T) {
	var received atomic.Int32
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if received.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close") // ends it
		}
		body, _ := io.ReadAll(req.Body)
		if req.ProtoMajor != 2 || req.ContentLength != int64(len(body)) {
			w.WriteHeader(http.StatusPreconditionFailed)
		}
	}))
	upstream.EnableHTTP2 = true
	upstream.StartTLS()
	defer upstream.Close()
	tr, target := newHTTP2Transport(t, upstream)
	const clients, each = 8, 100
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := range each {
				method := []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost}[(i+j)%4]
				body := []string{"", "{}"}[j/4%2]
				res, err := tr.send(t.Context(), target, method, body)
				if err != nil {
					t.Errorf("%s: %v", method, err)
					continue
				}
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", method, res.Status)
				}
			}
		})
	}
	wg.Wait()
	if n := received.Load(); n != clients*each {
		t.Errorf("%d requests arrived, of %d", n, clients*each)
	}
}

// Where the server has no HTTP/2, nothing is sent twice either.
func TestHTTP2ServerHasNone(t *testing.T) {
	var received atomic.Int32
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		// Those that find a connection in place, over which the one before came.
		if received.Add(1)%2 == 0 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer upstream.Close()
	tr, target := newHTTP2Transport(t, upstream)
	for i := range 10 {
		res, err := tr.send(t.Context(), target, http.MethodGet, "")
		if (err != nil) != (i%2 == 1) {
			t.Errorf("request %d: %v", i, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
	if n := received.Load(); n != 10 {
		t.Errorf("%d requests arrived, of 10", n)
	}
}
