package clientbody

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// client sends a body as it likes, over a connection that has read deadlines.
type client struct {
	data chan string // what it sends; closed at the end of the body

	mu       sync.Mutex
	deadline chan struct{} // is closed when the deadline is over
	timer    *time.Timer
	reads    int
	closed   bool
}

func newClient(sent ...string) *client {
	c := &client{data: make(chan string, 100)}
	for _, s := range sent {
		c.data <- s
	}
	return c
}

func (c *client) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.deadline == closedChannel {
		c.deadline = nil
	}
	over := c.deadlineLocked()
	if !at.IsZero() {
		c.timer = time.AfterFunc(time.Until(at), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.deadline == over {
				c.deadline = closedChannel
				close(over)
			}
		})
	}
	return nil
}

// closedChannel is the deadline that is over.
var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *client) deadlineLocked() chan struct{} {
	if c.deadline == nil {
		c.deadline = make(chan struct{})
	}
	return c.deadline
}

func (c *client) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.reads++
	over := c.deadlineLocked()
	c.mu.Unlock()
	select {
	case s, ok := <-c.data:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, s), nil
	case <-over:
		return 0, os.ErrDeadlineExceeded
	}
}

func (c *client) Close() error {
	c.closed = true
	return nil
}

// answer is where the client's answer goes, with what can be set about its
// connection.
type answer struct {
	*httptest.ResponseRecorder
	*client
}

func (a answer) SetReadDeadline(at time.Time) error { return a.client.SetReadDeadline(at) }

// serve serves a request with a body, and returns the answer and how long it
// took.
func serve(c *client, length int64, major int, handle http.HandlerFunc) (*http.Response, time.Duration) {
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Body, req.ContentLength = c, length
	req.ProtoMajor = major
	rec := httptest.NewRecorder()
	start := time.Now()
	Serve(answer{rec, c}, req, handle)
	return rec.Result(), time.Since(start)
}

func refuse(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }

func TestServeWithoutBody(t *testing.T) {
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Body = io.NopCloser(http.NoBody) // Caddy wraps it
	rec := httptest.NewRecorder()
	handle := func(w http.ResponseWriter, got *http.Request) {
		if w != http.ResponseWriter(rec) || got != req {
			t.Error("a request without body is not as it was")
		}
	}
	if n := testing.AllocsPerRun(100, func() { Serve(rec, req, handle) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAnswerBeforeTheEnd(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sent   []string
		end    bool
		length int64
		major  int
		close  bool
		most   time.Duration
	}{
		{"all is here", []string{"hello"}, false, 5, 1, false, 0},
		{"all is here, chunked", []string{"hello"}, true, -1, 1, false, 0},
		{"some is missing", []string{"hel"}, false, 5, 1, true, 2 * time.Second},
		{"nothing is here", nil, false, 200_000_000, 1, true, 2 * time.Second},
		{"no end, chunked", []string{"hello"}, false, -1, 1, true, 2 * time.Second},
		{"breaks off", []string{"hel"}, true, 5, 1, false, 0},
		{"HTTP/2", []string{"hel"}, false, 5, 2, false, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(tc.sent...)
				if tc.end {
					close(c.data)
				}
				res, took := serve(c, tc.length, tc.major, refuse)
				if res.StatusCode != http.StatusForbidden || (res.Header.Get("Connection") == "close") != tc.close {
					t.Errorf("got %s, Connection %q", res.Status, res.Header["Connection"])
				}
				if took > tc.most {
					t.Errorf("it took %v", took)
				}
				if c.closed {
					t.Error("the server's body is closed")
				}
			})
		})
	}
}

// A client that sends without end is refused all the same.
func TestEndlessClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(500 * time.Millisecond):
					c.data <- "x"
				}
			}
		}()
		res, took := serve(c, -1, 1, refuse)
		close(done)
		if res.Header.Get("Connection") != "close" || took > 20*time.Second {
			t.Errorf("Connection %q after %v", res.Header["Connection"], took)
		}
	})
}

// An answer that is passed on is not held up, and its context does not end.
func TestPassedOnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		start := time.Now()
		res, _ := serve(c, 100, 1, func(w http.ResponseWriter, _ *http.Request) {
			PassOn(w)
			w.WriteHeader(http.StatusOK)
			if time.Since(start) > 0 || c.reads > 0 {
				t.Errorf("the header waited for %v and %d Reads", time.Since(start), c.reads)
			}
		})
		if res.Header.Get("Connection") != "close" {
			t.Error("the connection is kept")
		}
	})
}

// An answer without a length that comes early is given one: the client would
// wait for its end as long as the rest of the body is read.
func TestEarlyAnswerHasLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res, _ := serve(newClient(), 100, 1, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "he")
			_, _ = io.WriteString(w, "llo")
		})
		body, _ := io.ReadAll(res.Body)
		if res.Header.Get("Content-Length") != "5" || string(body) != "hello" {
			t.Errorf("got %q of %q", body, res.Header["Content-Length"])
		}
	})
}

// A client that waits for 100 Continue is not asked for its body in order to be
// refused.
func TestClientThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient()
		req := httptest.NewRequest(http.MethodPost, "/", nil)
		req.Body, req.ContentLength = c, 100
		req.Header.Set("Expect", "100-continue")
		rec := httptest.NewRecorder()
		Serve(answer{rec, c}, req, func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			if c.reads > 0 {
				t.Error("the client was asked")
			}
		})
		if rec.Header().Get("Connection") != "close" {
			t.Error("the connection is kept")
		}
	})
}

// Nobody reads the client once the handler has returned, and the Read that was
// under way is over by then, after a panic too.
func TestNoReadAfterTheHandler(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient()
			read := make(chan error, 1)
			var body io.Reader
			func() {
				defer func() { _ = recover() }()
				serve(c, 100, 1, func(w http.ResponseWriter, req *http.Request) {
					body = req.Body
					go func() {
						_, err := body.Read(make([]byte, 10))
						read <- err
					}()
					synctest.Wait()
					PassOn(w)
					w.WriteHeader(http.StatusOK)
					if panics {
						panic(http.ErrAbortHandler)
					}
				})
			}()
			select {
			case err := <-read:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the Read that was under way: %v", err)
				}
			default:
				// It has returned from the client, and is about to tell so.
				synctest.Wait()
				if len(read) == 0 {
					t.Error("a Read is still under way")
				}
			}
			reads := c.reads
			if _, err := body.Read(make([]byte, 10)); !errors.Is(err, ErrDone) || c.reads != reads {
				t.Errorf("a later Read: %v, and the client was read %d times more", err, c.reads-reads)
			}
		})
	}
}

func TestReadRest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sent   []string
		length int64
		bytes  int64
		want   time.Duration // how long it takes
	}{
		{"all", []string{"he", "llo"}, 5, 5, 0},
		{"too long", []string{"hello"}, 5, 4, 0},
		{"stalls", []string{"he"}, 5, 5, 10 * time.Second},
		{"too long, chunked", []string{strings.Repeat("x", 10)}, -1, 4, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(tc.sent...)
				serve(c, tc.length, 1, func(_ http.ResponseWriter, req *http.Request) {
					start := time.Now()
					ReadRest(req, Limits{Bytes: tc.bytes, Total: 10 * time.Second})
					if took := time.Since(start); took != tc.want {
						t.Errorf("it took %v", took)
					}
				})
			})
		})
	}
}
