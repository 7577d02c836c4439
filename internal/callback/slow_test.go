package callback

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// viaPipe has the application be a function at the other end of a pipe.
func viaPipe(t *testing.T, h *Handler, application func(net.Conn)) {
	t.Helper()
	h.forwards.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			application(server)
		}()
		return client, nil
	}
}

// trickle writes a text slowly, and then nothing more.
func trickle(pause time.Duration, text string) func(net.Conn) {
	return func(conn net.Conn) {
		for i := range text {
			time.Sleep(pause)
			if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
				return
			}
		}
		time.Sleep(time.Hour)
	}
}

const longAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"

func TestSlowApplication(t *testing.T) {
	for _, c := range []struct {
		name        string
		application func(net.Conn)
	}{
		{"before its answer", func(net.Conn) { time.Sleep(time.Hour) }},
		{"in its header", trickle(500*time.Millisecond, longAnswer)},
		{"in its body", trickle(80*time.Millisecond, longAnswer+"success")},
	} {
		for message, want := range map[string]int{ticketEvent: http.StatusOK, merchantEvent(push.Unauthorized): http.StatusBadGateway} {
			synctest.Test(t, func(t *testing.T) {
				h, _ := newHandler(t, new(fakePlatform), "http://application.example/")
				viaPipe(t, h, c.application)
				start := time.Now()
				status, _, _ := serve(h, newPush(t, message))
				if took := time.Since(start); status != want || took != forwardTimeout {
					t.Errorf("%s: %d after %v", c.name, status, took)
				}
				time.Sleep(2 * time.Hour)
			})
		}
	}
}

// WeChat gets its answer within 5 seconds, though the store was slow too. That the
// store is slower than that is for the next push.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePlatform{held: make(chan struct{})}
		h, _ := newHandler(t, p, "http://application.example/")
		viaPipe(t, h, func(net.Conn) { time.Sleep(time.Hour) })
		go func() {
			time.Sleep(3 * time.Second)
			close(p.held)
		}()
		start := time.Now()
		status, _, _ := serve(h, newPush(t, ticketEvent))
		if took := time.Since(start); status != http.StatusOK || took != answerTimeout {
			t.Errorf("%d after %v", status, took)
		}
		p.held = make(chan struct{})
		start = time.Now()
		status, _, _ = serve(h, newPush(t, ticketEvent))
		if took := time.Since(start); status != http.StatusServiceUnavailable || took != storeTimeout {
			t.Errorf("%d after %v", status, took)
		}
		time.Sleep(2 * time.Hour)
	})
}

// A push that came is taken, though who sent it does not wait.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakePlatform{held: make(chan struct{})}
		h, _ := newHandler(t, p, "")
		ctx, leave := context.WithCancel(t.Context())
		go func() {
			leave()
			time.Sleep(time.Second)
			close(p.held)
		}()
		serve(h, newPush(t, ticketEvent).WithContext(ctx))
		if len(p.told) != 1 {
			t.Errorf("%q", p.told)
		}
	})
}
