package weixin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
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
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	})
	base := newUpstreamTransport(time.Minute)
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
}
