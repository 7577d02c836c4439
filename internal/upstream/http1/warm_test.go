package http1

import (
	"crypto/tls"
	"sync/atomic"
	"testing"
	"time"
)

// The last connection to a host outlives its time, and is replaced where the
// server closes it; both for so long after the last request, and no longer.
func TestWarm(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			closing := make(chan struct{})
			var accepted atomic.Int32
			serve := func(c *serverConn) {
				accepted.Add(1)
				if c.n > 1 {
					numbered(c)
					return
				}
				r, _ := c.read()
				c.sayNumber(r)
				<-closing
				c.fin()
			}
			var s *server
			if scheme == "https" {
				s = newTLSServer(t, serverTLS(), serve)
			} else {
				s = newServer(t, serve)
			}
			tr := &Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				IdleConnTimeout: 20 * time.Millisecond,
				WarmFor:         2 * time.Second,
			}
			tr.pool.pace = 10 * time.Millisecond
			t.Cleanup(tr.CloseIdleConnections)
			get := func() string {
				res, err := tr.RoundTrip(newRequest(t, "GET", s.url, nil))
				if err != nil {
					t.Fatal(err)
				}
				return readAll(t, res)
			}
			if got := get(); got != "1" {
				t.Fatalf("on connection %s", got)
			}
			time.Sleep(100 * time.Millisecond)
			if n := s.open.Load(); n != 1 {
				t.Fatalf("%d connections after the idle timeout", n)
			}
			close(closing)
			eventually(t, "another takes its place", func() bool {
				tr.pool.mu.Lock()
				defer tr.pool.mu.Unlock()
				for _, h := range tr.pool.hosts {
					return accepted.Load() == 2 && len(h.idle) == 1 && !h.warming
				}
				return false
			})
			if got := get(); got != "2" {
				t.Errorf("on connection %s", got)
			}
			eventually(t, "it is over", func() bool { return s.open.Load() == 0 })
		})
	}
}
