package proxy

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
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
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
// next request finds the connection closed, and goes out on another.
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
		base, err := upstream.NewRoundTripper(roundTripper, upstream.NewTransport(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer base.CloseIdleConnections()
		tr := proxyOver(base)
		target := &url.URL{Scheme: "http", Host: address}
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
					res, err := tr.RoundTrip(requestOf(req.WithContext(t.Context()), target), nil)
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
	cause  error // of its death
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
		return 0, c.cause
	}
	return n, err
}

func (c *mortalConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A request that did not leave is sent again, with its body.
func TestUnsentRequests(t *testing.T) {
	for _, cause := range []error{io.EOF, syscall.ECONNRESET} {
		t.Run(cause.Error(), func(t *testing.T) { testUnsentRequests(t, cause) })
	}
}

func testUnsentRequests(t *testing.T, cause error) {
	var received atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		received.Add(1)
		_, _ = io.Copy(w, req.Body)
	}))
	defer server.Close()
	died := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if info.Reused {
			info.Conn.(*mortalConn).die()
			died++
		}
	}})
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost, http.MethodDelete} {
		for _, body := range []string{"", "{}"} {
			tr, target := newTestProxy(t, server, upstream.NetHTTP, func(conn net.Conn) net.Conn {
				return &mortalConn{Conn: conn, cause: cause, closed: make(chan struct{})}
			})
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
		}
	}
}

// A request that the server has read and not answered is not sent again,
// whatever its method, and every request comes with its length.
func TestLostRequests(t *testing.T) {
	for _, name := range []string{upstream.HTTP1, upstream.NetHTTP} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{
				http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPost, http.MethodPut, http.MethodDelete,
			} {
				for _, body := range []string{"", "{}"} {
					testLostRequest(t, name, method, body)
				}
			}
		})
	}
}

func testLostRequest(t *testing.T, roundTripper, method, body string) {
	t.Helper()
	var received atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if len(req.TransferEncoding) > 0 || req.ContentLength != int64(len(body)) || req.Header.Get("Idempotency-Key") != "1" {
			t.Errorf("%s with %q: got %v %v of %d bytes", method, body, req.Header, req.TransferEncoding, req.ContentLength)
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if received.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	tr, target := newTestProxy(t, server, roundTripper, nil)
	for i := range 2 {
		res, err := tr.send(t.Context(), target, method, body)
		if (err != nil) != (i == 1) {
			t.Errorf("%s with %q, request %d: %v", method, body, i, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
	if n := received.Load(); n != 2 {
		t.Errorf("%s with %q: %d requests arrived, of 2", method, body, n)
	}
}

// A server that accepts connections and closes them is not asked for ever.
func TestServerClosesNewConnections(t *testing.T) {
	var accepted atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			conn.Close()
		}
	}()
	// The request is written late, when that has been noticed.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { time.Sleep(10 * time.Millisecond) }})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		accepted.Store(0)
		connections := upstream.NewTransport(time.Minute)
		base, err := upstream.NewRoundTripper(upstream.NetHTTP, connections)
		if err != nil {
			t.Fatal(err)
		}
		tr := proxyOver(base)
		if _, err := tr.send(ctx, &url.URL{Scheme: "http", Host: l.Addr().String()}, method, "{}"); err == nil {
			t.Errorf("%s: an answer from nowhere", method)
		}
		if n := accepted.Load(); n < 1 || n > 5 {
			t.Errorf("%s: %d connections", method, n)
		}
		connections.CloseIdleConnections()
	}
}

// newTestProxy returns a proxy to a server, over what wrap makes of its
// connections.
func newTestProxy(t *testing.T, server *httptest.Server, roundTripper string, wrap func(net.Conn) net.Conn) (*Proxy, *url.URL) {
	t.Helper()
	connections := upstream.NewTransport(time.Minute)
	if certificate := server.Certificate(); certificate != nil {
		connections.TLSClientConfig.RootCAs = x509.NewCertPool()
		connections.TLSClientConfig.RootCAs.AddCert(certificate)
	}
	if wrap != nil {
		dial := connections.DialContext
		connections.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		}
	}
	base, err := upstream.NewRoundTripper(roundTripper, connections)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.CloseIdleConnections)
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return proxyOver(base), target
}

// proxyOver returns a proxy that needs no token.
func proxyOver(base upstream.RoundTripper) *Proxy {
	return New(Config{
		Base: base, Logger: zap.NewNop(), Log: answer.NewLog(zap.NewNop()),
		BodyBuffer: 1 << 10, BodyLimit: 1 << 20, ForwardHeaders: []string{"Idempotency-Key"},
	})
}

// requestOf returns a request of an account's.
func requestOf(req *http.Request, target *url.URL) *Request {
	a := &account.Account{Name: "shop", Kind: wechat.Official, Observer: account.Unobserved{}}
	return &Request{Request: req, Account: a, Target: target, Outcome: new(answer.Outcome)}
}

// send sends a request without a token.
func (p *Proxy) send(ctx context.Context, target *url.URL, method, body string) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://proxy/sns/userinfo", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Idempotency-Key", "1")
	return p.RoundTrip(requestOf(req.WithContext(ctx), target), nil)
}
