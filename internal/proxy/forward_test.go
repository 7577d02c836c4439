package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// startForwarder starts a proxy for a path that takes no token. The upstream
// gets a request's connection once the request is read; it is closed after it.
func startForwarder(t *testing.T, roundTripper string, headerTimeout time.Duration, serve func(net.Conn)) *httptest.Server {
	t.Helper()
	address := startRawServer(t, func(conn net.Conn, _ *http.Request) { serve(conn) })
	base, err := upstream.NewRoundTripper(roundTripper, upstream.NewTransport(headerTimeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.CloseIdleConnections)
	p := proxyOver(base)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := p.Forward(w, requestOf(req, &url.URL{Scheme: "http", Host: address})); err != nil {
			answer.From(err).Write(w)
		}
	}))
	t.Cleanup(proxy.Close)
	return proxy
}

const userInfo = "/sns/userinfo"

// eachRoundTripper runs f for those that speak HTTP/1.1.
func eachRoundTripper(t *testing.T, f func(t *testing.T, roundTripper string)) {
	t.Helper()
	for _, name := range []string{upstream.HTTP1, upstream.NetHTTP} {
		t.Run(name, func(t *testing.T) { f(t, name) })
	}
}

// Where 1xx answers are read on another goroutine, they may come when the
// request has failed already.
func TestInformedAfterFailure(t *testing.T) {
	eachRoundTripper(t, func(t *testing.T, roundTripper string) {
		proxy := startForwarder(t, roundTripper, 50*time.Millisecond, func(conn net.Conn) {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(conn, "HTTP/1.1 103 Early Hints\r\nLink: <%d>\r\n\r\n", i); err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond) // not so many that they are too many
			}
		})
		informed := 0
		for range 10 {
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(int, textproto.MIMEHeader) error { informed++; return nil },
			})
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy.URL+userInfo, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := proxy.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusGatewayTimeout || res.Header.Get("Link") != "" {
				t.Errorf("got %s with Link %q", res.Status, res.Header["Link"])
			}
		}
		if informed == 0 {
			t.Error("no 1xx answer was passed on")
		}
	})
}

// An answer that has begun reaches the client before its body does.
func TestHeaderBeforeBody(t *testing.T) {
	eachRoundTripper(t, func(t *testing.T, roundTripper string) {
		for name, head := range map[string]string{
			"chunked": "Transfer-Encoding: chunked\r\n",
			"long":    "Content-Length: 100000\r\n",
			"endless": "Connection: close\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				done := make(chan struct{})
				defer close(done)
				proxy := startForwarder(t, roundTripper, time.Minute, func(conn net.Conn) {
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n", head)
					<-done
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy.URL+userInfo, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := proxy.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
			})
		}
	})
}

// A client can tell an answer that breaks off from a request that was lost, and
// which it might send again.
func TestAnswerBreaksOff(t *testing.T) {
	eachRoundTripper(t, func(t *testing.T, roundTripper string) {
		for _, sent := range []string{"", "12345"} {
			t.Run(sent, func(t *testing.T) {
				proxy := startForwarder(t, roundTripper, time.Minute, func(conn net.Conn) {
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n%s", sent)
				})
				res, err := proxy.Client().Get(proxy.URL + userInfo)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != sent {
					t.Errorf("got %q, %v", body, err)
				}
			})
		}
	})
}
