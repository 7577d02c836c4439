package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

var errCause = errors.New("the reason")

// ends are the ways a request's context ends.
var ends = []struct {
	name string
	make func(context.Context) (ctx context.Context, end func())
	is   error
}{
	{"cancel", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel
	}, context.Canceled},
	{"cause", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		return ctx, func() { cancel(errCause) }
	}, errCause},
	{"deadline", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		// The deadline ends it, not the test. It has to leave the time to get
		// to where it should end the request; cancel is for vet only.
		return ctx, func() { _ = cancel }
	}, context.DeadlineExceeded},
}

// eachEnd runs f for every transport and every way to end a context.
func eachEnd(t *testing.T, f func(t *testing.T, tr transport, ctx context.Context, end func(), is error)) {
	t.Helper()
	each(t, func(t *testing.T, tr transport) {
		for _, e := range ends {
			t.Run(e.name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ctx, end := e.make(ctx)
				f(t, tr, ctx, end, e.is)
			})
		}
	})
}

func checkErr(t *testing.T, err, is error) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Errorf("got %v, want %v", err, is)
	}
	if is == context.DeadlineExceeded && !isTimeout(err) {
		t.Errorf("%v is no timeout", err)
	}
}

func TestCancelBefore(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		s := newServer(t, ok)
		c := tr.new(t, config{})
		end()
		<-ctx.Done()
		for _, kept := range []bool{false, true} {
			if kept {
				c.get(t, s.url)
			}
			before := s.bytes.Load()
			body := newBody("hello")
			checkErr(t, c.refuse(t, newRequestContext(t, ctx, "POST", s.url, body)), is)
			body.done(t)
			if body.count() > 0 {
				t.Error("the body was read")
			}
			if n := s.bytes.Load() - before; n != 0 {
				t.Errorf("%d bytes were sent", n)
			}
		}
	})
}

func TestCancelWhileDialing(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		dialing, proceed, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		c := tr.new(t, config{dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			defer close(ended)
			close(dialing)
			if tr.dialsOn {
				<-proceed
				if ctx.Err() != nil {
					t.Error("dialing was canceled")
				}
				return nil, errors.New("no line")
			}
			select {
			case <-ctx.Done():
			case <-time.After(patience / 6):
				t.Error("dialing was not canceled")
			}
			return nil, errors.Join(ctx.Err(), errors.New("no line"))
		}})
		go func() { <-dialing; end() }()
		body := newBody("hello")
		checkErr(t, c.refuse(t, newRequestContext(t, ctx, "POST", "http://a.example", body)), is)
		body.done(t)
		close(proceed)
		wait(t, "dialing ends", ended)
		if body.count() > 0 {
			t.Error("the body was read")
		}
	})
}

func TestCancelWhileHandshaking(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		hello := make(chan struct{})
		s := newServer(t, func(c *serverConn) {
			c.br.Peek(1)
			close(hello)
			c.drain()
		})
		c := tr.new(t, config{tls: clientTLS(), tlsHandshakeTimeout: 5 * time.Second})
		go func() { <-hello; end() }()
		body := newBody("hello")
		checkErr(t, c.refuse(t, newRequestContext(t, ctx, "POST", "https://"+s.addr, body)), is)
		body.done(t)
	})
}

// The server does not read, so that the body stays where it is.
func TestCancelWhileWriting(t *testing.T) {
	cancelWhileWriting(t, newServer)
}

func TestCancelWhileWritingTLS(t *testing.T) {
	cancelWhileWriting(t, func(t testing.TB, handle func(c *serverConn)) *server {
		return newTLSServer(t, serverTLS(), handle)
	})
}

func cancelWhileWriting(t *testing.T, start func(t testing.TB, handle func(c *serverConn)) *server) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		began, gone := make(chan struct{}), make(chan struct{})
		s := start(t, func(c *serverConn) {
			c.br.Peek(1)
			close(began)
			<-ctx.Done()
			c.drain()
			close(gone)
		})
		c := tr.new(t, config{tls: clientTLS()})
		go func() {
			<-began
			time.Sleep(20 * time.Millisecond) // likely to be amid the body by now
			end()
		}()
		const size = 64 << 20 // more than any socket takes
		body := newBodyReader(repeat(size), size)
		checkErr(t, c.refuse(t, newRequestContext(t, ctx, "POST", s.url, body)), is)
		body.done(t)
		wait(t, "the connection ends", gone)
	})
}

// The request body is what the request waits for.
func TestCancelWhileBodyStalls(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		head, gone := make(chan struct{}), make(chan struct{})
		s := newServer(t, func(c *serverConn) {
			c.readHead()
			close(head)
			c.drain()
			close(gone)
		})
		c := tr.new(t, config{})
		pr, pw := io.Pipe()
		body := newBodyReader(pr, 1<<20)
		go func() {
			<-head
			end()
			<-ctx.Done()
			select {
			case <-gone:
			case <-time.After(patience):
			}
			// As http.Server does to the body of a request whose client is gone.
			pw.CloseWithError(io.ErrClosedPipe)
		}()
		checkErr(t, c.refuse(t, newRequestContext(t, ctx, "POST", s.url, body)), is)
		body.done(t)
	})
}

func TestCancelWhileWaiting(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		for _, partial := range []string{"", "H", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 103 Hints\r\n\r\n"} {
			ctx, end := ctx, end
			if partial != "" {
				// A context ends once, and each of these needs one.
				var cancel context.CancelCauseFunc
				ctx, cancel = context.WithCancelCause(t.Context())
				end = func() { cancel(is) }
			}
			arrived, gone := make(chan struct{}), make(chan struct{})
			s := newServer(t, func(c *serverConn) {
				if c.n > 1 {
					numbered(c)
					return
				}
				c.read()
				c.say(partial)
				close(arrived)
				c.drain()
				close(gone)
			})
			c := tr.new(t, config{})
			go func() { <-arrived; end() }()
			body := newBody("hello")
			err := c.refuse(t, newRequestContext(t, ctx, "POST", s.url, body))
			if !errors.Is(err, is) {
				t.Errorf("%q: got %v, want %v", partial, err, is)
			}
			body.done(t)
			wait(t, "the connection ends", gone)
			if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != "2" {
				t.Errorf("the next request is on connection %s", got)
			}
		}
	})
}

func TestCancelWhileReading(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		gone := make(chan struct{})
		s := newServer(t, func(c *serverConn) {
			if c.n > 1 {
				numbered(c)
				return
			}
			c.read()
			c.say(length("10", "hello"))
			c.drain()
			close(gone)
		})
		c := tr.new(t, config{})
		res := c.send(t, newRequestContext(t, ctx, "GET", s.url, nil))
		if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(10 * time.Millisecond) // likely to wait in Read by now; either order is right
			end()
		}()
		b, err := io.ReadAll(res.Body)
		if len(b) != 0 {
			t.Errorf("got %q", b)
		}
		checkErr(t, err, is)
		res.Body.Close()
		wait(t, "the connection ends", gone)
		if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != "2" {
			t.Errorf("the next request is on connection %s", got)
		}
	})
}

// The end of the context frees the connection even if nobody reads the body,
// or closes it.
func TestCancelUnreadBody(t *testing.T) {
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		gone := make(chan struct{})
		s := newServer(t, func(c *serverConn) { c.read(); c.say(length("10", "hello")); c.drain(); close(gone) })
		c := tr.new(t, config{})
		res := c.send(t, newRequestContext(t, ctx, "GET", s.url, nil))
		end()
		<-ctx.Done()
		wait(t, "the connection ends", gone)
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("the body has no error")
		}
	})
}

// Once the answer is read, its context has no say over the connection.
func TestCancelAfter(t *testing.T) {
	answers := map[string]string{
		"length":  okAnswer,
		"chunked": chunked("2\r\nok\r\n0\r\n\r\n"),
		"none":    length("0", ""),
	}
	eachEnd(t, func(t *testing.T, tr transport, ctx context.Context, end func(), is error) {
		for name, answer := range answers {
			ctx, end := ctx, end
			if is != context.DeadlineExceeded {
				ctx, end = func() (context.Context, func()) {
					ctx, cancel := context.WithCancelCause(t.Context())
					return ctx, func() { cancel(is) }
				}()
			} else if name != "length" {
				continue // one deadline is enough
			}
			proceed := make(chan struct{})
			s := newServer(t, func(c *serverConn) {
				for i := 0; ; i++ {
					if _, err := c.read(); err != nil {
						return
					}
					if i == 1 {
						c.say("HTTP/1.1 200 OK\r\n")
						<-proceed
						c.say("Content-Length: 5\r\n\r\nhello")
						continue
					}
					c.say("%s", answer)
				}
			})
			c := tr.new(t, config{})
			res := c.send(t, newRequestContext(t, ctx, "POST", s.url, newBody("hello")))
			readAll(t, res)
			// The end comes while the next request is on the connection.
			go func() {
				for s.bytes.Load() == 0 || len(s.requests()) < 2 {
					time.Sleep(time.Millisecond)
				}
				end()
				<-ctx.Done()
				time.Sleep(10 * time.Millisecond)
				close(proceed)
			}()
			if got := c.get(t, s.url); got != "hello" {
				t.Errorf("%s: got %q", name, got)
			}
			if n := s.accepted(); n != 1 {
				t.Errorf("%s: %d connections", name, n)
			}
			if b, err := io.ReadAll(c.send(t, newRequest(t, "GET", s.url, nil)).Body); err != nil {
				t.Errorf("%s: then %q, %v", name, b, err)
			}
		}
	})
}

// Requests at once do not end with each other.
func TestCancelOneOfTwo(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		arrived, proceed := make(chan struct{}, 2), make(chan struct{})
		s := newServer(t, func(c *serverConn) {
			r, err := c.read()
			if err != nil {
				return
			}
			arrived <- struct{}{}
			<-proceed
			c.sayNumber(r)
			c.drain()
		})
		c := tr.new(t, config{})
		ctx, cancel := context.WithCancel(t.Context())
		lost, req := newRequestContext(t, ctx, "GET", s.url, nil), newRequest(t, "GET", s.url, nil)
		errs := make(chan error, 2)
		go func() {
			res, err := c.RoundTrip(lost)
			if err == nil {
				res.Body.Close()
			}
			errs <- err
		}()
		wait(t, "a request arrives", arrived)
		done := make(chan string, 1)
		go func() {
			res, err := c.RoundTrip(req)
			if err != nil {
				done <- err.Error()
				return
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			done <- string(b)
		}()
		wait(t, "a request arrives", arrived)
		cancel()
		if err := wait(t, "it ends", errs); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(proceed)
		if got := wait(t, "the other one is answered", done); got != "2" {
			t.Errorf("got %q", got)
		}
	})
}

// ResponseHeaderTimeout is the time from the end of the request to the end of
// the header.
func TestResponseHeaderTimeout(t *testing.T) {
	const timeout = 800 * time.Millisecond
	each(t, func(t *testing.T, tr transport) {
		for name, partial := range map[string]string{"nothing": "", "half a line": "HTTP/1.1 20", "some": "HTTP/1.1 200 OK\r\n", "103": "HTTP/1.1 103 Hints\r\n\r\n"} {
			t.Run(name, func(t *testing.T) {
				gone := make(chan struct{})
				s := newServer(t, func(c *serverConn) {
					if c.n > 1 {
						numbered(c)
						return
					}
					c.read()
					c.say(partial)
					c.drain()
					close(gone)
				})
				c := tr.new(t, config{responseHeaderTimeout: 50 * time.Millisecond})
				body := newBody("hello")
				err := c.refuse(t, newRequest(t, "POST", s.url, body))
				if !isTimeout(err) {
					t.Errorf("got %v", err)
				}
				body.done(t)
				wait(t, "the connection ends", gone)
				if n := len(s.requests()); n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		}
		t.Run("not for sending", func(t *testing.T) {
			s := newServer(t, numbered)
			c := tr.new(t, config{responseHeaderTimeout: timeout})
			body := newBodyReader(&slow{r: oneByte{strings.NewReader("hello")}, pause: timeout / 4}, 5)
			if got := c.do(t, newRequest(t, "POST", s.url, body)); got != "1" {
				t.Errorf("on connection %s", got)
			}
			body.done(t)
		})
		t.Run("not for the body", func(t *testing.T) {
			s := newServer(t, func(c *serverConn) {
				for {
					if _, err := c.read(); err != nil {
						return
					}
					c.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
					time.Sleep(timeout * 12 / 10)
					c.say("hello")
				}
			})
			c := tr.new(t, config{responseHeaderTimeout: timeout})
			if got := c.get(t, s.url); got != "hello" {
				t.Errorf("got %q", got)
			}
		})
		t.Run("not for the handshake", func(t *testing.T) {
			cfg := serverTLS()
			cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				time.Sleep(timeout * 12 / 10)
				return nil, nil
			}
			s := newTLSServer(t, cfg, ok)
			c := tr.new(t, config{tls: clientTLS(), responseHeaderTimeout: timeout})
			c.get(t, s.url)
		})
		t.Run("not between requests", func(t *testing.T) {
			s := newServer(t, numbered)
			c := tr.new(t, config{responseHeaderTimeout: timeout})
			c.get(t, s.url)
			time.Sleep(timeout * 12 / 10)
			if got := c.get(t, s.url); got != "1" {
				t.Errorf("on connection %s", got)
			}
		})
	})
}
