package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}

// When a connection takes the next request.
func TestConnectionReuse(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, c *client, req *http.Request) // the first request
		want string                                           // the connection of the second one
	}{
		{"read and closed", func(t *testing.T, c *client, req *http.Request) { readAll(t, c.send(t, req)) }, "1"},
		{"read, not closed", func(t *testing.T, c *client, req *http.Request) {
			io.Copy(io.Discard, c.send(t, req).Body)
		}, "1"},
		{"read exactly, then closed", func(t *testing.T, c *client, req *http.Request) {
			res := c.send(t, req)
			io.ReadFull(res.Body, make([]byte, 5)) // EOF comes with the last byte
			res.Body.Close()
		}, "1"},
		{"closed early", func(t *testing.T, c *client, req *http.Request) {
			res := c.send(t, req)
			io.ReadFull(res.Body, make([]byte, 2))
			res.Body.Close()
		}, "2"},
		{"closed unread", func(t *testing.T, c *client, req *http.Request) { c.send(t, req).Body.Close() }, "2"},
		{"neither read nor closed", func(t *testing.T, c *client, req *http.Request) { c.send(t, req) }, "2"},
		{"Close", func(t *testing.T, c *client, req *http.Request) {
			req.Close = true
			readAll(t, c.send(t, req))
		}, "2"},
		{"no body, not closed", func(t *testing.T, c *client, req *http.Request) {
			req.Method = "HEAD"
			c.send(t, req)
		}, "1"},
		{"other Host", func(t *testing.T, c *client, req *http.Request) {
			req.Host = "example.com"
			readAll(t, c.send(t, req))
		}, "1"},
	}
	each(t, func(t *testing.T, tr transport) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				s := newServer(t, func(c *serverConn) {
					for {
						r, err := c.read()
						if err != nil {
							return
						}
						c.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConn: %d\r\n\r\n", c.n)
						if r.line() != "HEAD / HTTP/1.1" {
							c.say("hello")
						}
					}
				})
				c := tr.new(t, config{})
				test.do(t, c, newRequest(t, "GET", s.url, nil))
				if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != test.want {
					t.Errorf("on connection %s, want %s", got, test.want)
				}
			})
		}
	})
}

// Other hosts have other connections, and each scheme does.
func TestConnectionPerHost(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		var addrs []string
		c := tr.new(t, config{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			addrs = append(addrs, network+" "+addr)
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		}})
		for _, test := range []struct{ url, want string }{
			{"http://a.example/", "1"},
			{"http://b.example/", "2"},
			{"http://a.example:81/", "3"},
			{"http://a.example:80/", "1"},
			{"http://b.example/x", "2"},
		} {
			if got := c.get(t, test.url); got != test.want {
				t.Errorf("%s on connection %s, want %s", test.url, got, test.want)
			}
		}
		if got, want := fmt.Sprint(addrs), "[tcp a.example:80 tcp b.example:80 tcp a.example:81]"; got != want {
			t.Errorf("dialed %s, want %s", got, want)
		}
	})
}

// What the server does to a connection while no request is on it. The next
// request is made on a new connection, whatever its method, and arrives once.
func TestConnectionStale(t *testing.T) {
	ways := []struct {
		name string
		tls  bool
		end  func(c *serverConn)
	}{
		{"fin", false, func(c *serverConn) { c.fin() }},
		{"close", false, func(c *serverConn) { c.Close() }},
		{"reset", false, func(c *serverConn) { c.reset() }},
		{"408", false, func(c *serverConn) {
			c.say("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			c.fin()
		}},
		{"408, still open", false, func(c *serverConn) {
			c.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		}},
		{"answer to nothing", false, func(c *serverConn) {
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConn: smuggled\r\n\r\nevil")
		}},
		{"one byte", false, func(c *serverConn) { c.say("H") }},
		{"close_notify", true, func(c *serverConn) { c.fin() }},
		{"TLS close", true, func(c *serverConn) { c.Close() }},
		{"TLS fin without close_notify", true, func(c *serverConn) {
			c.Conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
		}},
		{"TLS reset", true, func(c *serverConn) { c.reset() }},
		{"TLS answer to nothing", true, func(c *serverConn) {
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConn: smuggled\r\n\r\nevil")
		}},
	}
	each(t, func(t *testing.T, tr transport) {
		for _, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				for i, method := range methods {
					release, ended := make(chan struct{}), make(chan struct{})
					handle := func(c *serverConn) {
						if c.n > 1 {
							numbered(c)
							return
						}
						r, err := c.read()
						if err != nil {
							return
						}
						c.sayNumber(r)
						<-release
						way.end(c)
						close(ended)
						c.drain()
					}
					var s *server
					if way.tls {
						s = newTLSServer(t, serverTLS(), handle)
					} else {
						s = newServer(t, handle)
					}
					c := tr.new(t, config{tls: clientTLS()})
					if got := c.do(t, newRequest(t, "POST", s.url+"/first", nil)); got != "1" {
						t.Fatalf("on connection %s", got)
					}
					close(release)
					wait(t, "the server ends it", ended)
					c.settle(t, 1)
					var body io.Reader
					if i%2 == 0 {
						body = newBody("hello")
					}
					if got := c.do(t, newRequest(t, method, s.url+"/second", body)); got != "2" {
						t.Errorf("%s on connection %s", method, got)
					}
					if n := len(s.requests()); n != 2 {
						t.Errorf("%s arrived %d times", method, n-1)
					}
				}
			})
		}
	})
}

// Many connections are stale at once: each is tried at most, none is in the
// way for good.
func TestConnectionAllStale(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		const n = 20
		var arrived sync.WaitGroup
		arrived.Add(n)
		s := newServer(t, func(c *serverConn) {
			r, err := c.read()
			if err != nil {
				return
			}
			if c.n <= n {
				arrived.Done()
				arrived.Wait()
				c.sayNumber(r)
				return // closes
			}
			c.sayNumber(r)
			numbered(c)
		})
		c := tr.new(t, config{maxIdle: n})
		var wg sync.WaitGroup
		for range n {
			req := newRequest(t, "POST", s.url, newBody("hello"))
			wg.Go(func() { c.do(t, req) })
		}
		wg.Wait()
		eventually(t, "the server closes", func() bool { return s.open.Load() == 0 })
		c.settle(t, n)
		body := newBody("hello")
		if got := c.do(t, newRequest(t, "POST", s.url, body)); got != fmt.Sprint(n+1) {
			t.Errorf("on connection %s", got)
		}
	})
}

// The server reads a request on a kept connection, and goes without answering.
// Whether it acted on it nobody knows. net/http sends some requests again;
// http1 never does.
func TestConnectionNeverResends(t *testing.T) {
	type request struct {
		method string
		body   bool
		key    bool // has an Idempotency-Key
	}
	var requests []request
	for _, method := range methods {
		requests = append(requests, request{method: method})
	}
	requests = append(requests,
		request{method: "GET", body: true},
		request{method: "POST", body: true},
		request{method: "PUT", body: true},
		request{method: "POST", key: true},
		request{method: "POST", body: true, key: true},
	)
	ways := map[string]func(c *serverConn){
		"close": func(c *serverConn) {},
		"fin":   func(c *serverConn) { c.fin(); c.drain() },
	}
	each(t, func(t *testing.T, tr transport) {
		for way, end := range ways {
			for _, r := range requests {
				t.Run(fmt.Sprintf("%s %s body %v key %v", way, r.method, r.body, r.key), func(t *testing.T) {
					s := newServer(t, func(c *serverConn) {
						if c.n > 1 {
							numbered(c)
							return
						}
						r, _ := c.read()
						c.sayNumber(r)
						c.read()
						end(c)
					})
					c := tr.new(t, config{})
					if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != "1" {
						t.Fatalf("on connection %s", got)
					}
					var body io.Reader
					if r.body {
						body = strings.NewReader("hello") // with GetBody
					}
					req := newRequest(t, r.method, s.url, body)
					if r.key {
						req.Header.Set("Idempotency-Key", "1")
					}
					again := tr.resends && (r.key || r.method == "GET" || r.method == "HEAD" || r.method == "OPTIONS" || r.method == "TRACE")
					if again {
						if got := c.do(t, req); got != "2" {
							t.Errorf("on connection %s", got)
						}
						if n := len(s.requests()); n != 3 {
							t.Errorf("arrived %d times", n-1)
						}
						return
					}
					c.refuse(t, req)
					if n := len(s.requests()); n != 2 {
						t.Errorf("arrived %d times", n-1)
					}
					// It is no reason not to go on with the server.
					if got := c.do(t, newRequest(t, "GET", s.url, nil)); got != "2" {
						t.Errorf("then on connection %s", got)
					}
				})
			}
		}
	})
}

// On a new connection, or after the first byte of the answer, not even
// net/http sends a request again.
func TestConnectionLostOnce(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, method := range methods {
			for _, kept := range []bool{false, true} {
				s := newServer(t, func(c *serverConn) {
					r, _ := c.read()
					if kept {
						c.sayNumber(r)
						c.read()
						c.say("H")
					}
				})
				c := tr.new(t, config{})
				want := 1
				if kept {
					c.do(t, newRequest(t, "GET", s.url, nil))
					want = 2
				}
				c.refuse(t, newRequest(t, method, s.url, nil))
				if n := len(s.requests()); n != want {
					t.Errorf("%s, kept %v: %d requests, want %d", method, kept, n, want)
				}
			}
		}
	})
}

// No more than MaxIdleConnsPerHost connections are kept, and as many are there
// for as many requests at once.
func TestConnectionMany(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, test := range []struct{ n, keep int }{{1000, 10}, {300, 300}} {
			n, keep := test.n, test.keep
			t.Run(fmt.Sprintf("keep %d of %d", keep, n), func(t *testing.T) {
				// All requests of a wave are with the server before it answers.
				var arrived [2]sync.WaitGroup
				arrived[0].Add(n)
				arrived[1].Add(n)
				s := newServer(t, func(c *serverConn) {
					for {
						r, err := c.read()
						if err != nil {
							return
						}
						wave := 0
						if r.line() == "POST /1 HTTP/1.1" {
							wave = 1
						}
						arrived[wave].Done()
						arrived[wave].Wait()
						c.say(okAnswer)
					}
				})
				c := tr.new(t, config{maxIdle: keep})
				wave := func(i int) {
					var wg sync.WaitGroup
					for range n {
						body := newBody("hello")
						req := newRequest(t, "POST", fmt.Sprintf("%s/%d", s.url, i), body)
						wg.Go(func() {
							res, err := c.RoundTrip(req)
							if err != nil {
								t.Error(err)
								arrived[i].Done() // so that it ends
								return
							}
							if b, err := io.ReadAll(res.Body); err != nil || string(b) != "ok" {
								t.Errorf("got %q, %v", b, err)
							}
							res.Body.Close()
						})
					}
					wg.Wait()
				}
				wave(0)
				if got := s.accepted(); got != n {
					t.Errorf("%d connections for %d requests at once", got, n)
				}
				eventually(t, "all others are closed", func() bool { return s.open.Load() <= int32(keep) })
				if got := s.open.Load(); got != int32(keep) {
					t.Errorf("%d connections kept, want %d", got, keep)
				}
				wave(1)
				if got := s.accepted(); got != n+n-keep {
					t.Errorf("%d connections in all, want %d", got, n+n-keep)
				}
			})
		}
	})
}

// Many requests at once, each with an answer of its own: none gets another's.
func TestConnectionOwnAnswers(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			for {
				r, err := c.read()
				if err != nil {
					return
				}
				c.say("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nBody: %s\r\n\r\n%s", len(r.body), r.body, r.body)
				if strings.HasSuffix(r.body, "7") {
					return
				}
			}
		})
		c := tr.new(t, config{maxIdle: 8})
		var answered atomic.Int32
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := range 50 {
					want := fmt.Sprintf("%d-%d", g, i)
					req := newRequest(t, "POST", s.url, newBody(want))
					res, err := c.RoundTrip(req)
					if err != nil {
						continue // the server closed the connection meanwhile
					}
					b, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || string(b) != want || res.Header.Get("Body") != want {
						t.Errorf("got %q, %v, want %q", b, err, want)
					}
					answered.Add(1)
				}
			})
		}
		wg.Wait()
		if answered.Load() < 400 {
			t.Errorf("only %d answers", answered.Load())
		}
	})
}

func TestConnectionIdleTimeout(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		c := tr.new(t, config{idleConnTimeout: 50 * time.Millisecond})
		if got := c.get(t, s.url); got != "1" {
			t.Fatalf("on connection %s", got)
		}
		eventually(t, "the idle connection is closed", func() bool { return s.open.Load() == 0 })
		if got := c.get(t, s.url); got != "2" {
			t.Errorf("on connection %s", got)
		}
		// It is the time without request that counts.
		slowly := newServer(t, func(c *serverConn) {
			for {
				r, err := c.read()
				if err != nil {
					return
				}
				time.Sleep(150 * time.Millisecond)
				c.sayNumber(r)
			}
		})
		if got := c.get(t, slowly.url); got != "1" {
			t.Errorf("on connection %s", got)
		}
	})
}

func TestConnectionCloseIdle(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		release := make(chan struct{})
		s := newServer(t, func(c *serverConn) {
			for {
				r, err := c.read()
				if err != nil {
					return
				}
				if r.line() == "GET /slow HTTP/1.1" {
					c.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
					<-release
					c.say("def")
					continue
				}
				c.sayNumber(r)
			}
		})
		c := tr.new(t, config{})
		c.CloseIdleConnections() // of none
		res := c.send(t, newRequest(t, "GET", s.url+"/slow", nil))
		if got := c.get(t, s.url); got != "2" {
			t.Fatalf("on connection %s", got)
		}
		c.CloseIdleConnections()
		eventually(t, "the idle one is closed", func() bool { return s.open.Load() == 1 })
		close(release)
		if got := readAll(t, res); got != "abcdef" {
			t.Errorf("got %q on the one in use", got)
		}
		if got := c.get(t, s.url); got == "2" {
			t.Errorf("on connection %s", got)
		}
		c.CloseIdleConnections()
		eventually(t, "all are closed", func() bool { return s.open.Load() == 0 })
		c.CloseIdleConnections()
	})
}

// Errors of dialing are what the dialer says.
func TestConnectionDialError(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		t.Run("refused", func(t *testing.T) {
			ln := listen(t, "127.0.0.1:0")
			ln.Close()
			body := newBody("hello")
			err := tr.new(t, config{}).refuse(t, newRequest(t, "POST", "http://"+ln.Addr().String(), body))
			var oe *net.OpError
			if !errors.As(err, &oe) || oe.Op != "dial" {
				t.Errorf("got %#v", err)
			}
			body.done(t)
			if body.count() > 0 {
				t.Error("the body was read")
			}
		})
		t.Run("own dialer", func(t *testing.T) {
			errDial := errors.New("no line")
			c := tr.new(t, config{dial: func(context.Context, string, string) (net.Conn, error) { return nil, errDial }})
			body := newBody("hello")
			if err := c.refuse(t, newRequest(t, "POST", "http://a.example", body)); !errors.Is(err, errDial) {
				t.Errorf("got %v", err)
			}
			body.done(t)
		})
		t.Run("then works", func(t *testing.T) {
			s := newServer(t, numbered)
			n := 0
			c := tr.new(t, config{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if n++; n == 1 {
					return nil, errors.New("no line")
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}})
			c.refuse(t, newRequest(t, "GET", s.url, nil))
			if got := c.get(t, s.url); got != "1" {
				t.Errorf("on connection %s", got)
			}
		})
	})
}

type dialKey struct{}

// The dialer sees the values of the request's context.
func TestConnectionDialContext(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		var got any
		c := tr.new(t, config{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			got = ctx.Value(dialKey{})
			return new(net.Dialer).DialContext(ctx, network, addr)
		}})
		req := newRequest(t, "GET", s.url, nil)
		c.do(t, req.WithContext(context.WithValue(req.Context(), dialKey{}, "value")))
		if got != "value" {
			t.Errorf("got %v", got)
		}
	})
}

// plainConn is a connection that is nothing more than a net.Conn.
type plainConn struct{ net.Conn }

// A connection without a file descriptor is as good: what cannot be checked
// before use must not be used then, or be checked in another way.
func TestConnectionPlain(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, way := range []string{"fin", "answer to nothing"} {
			release, ended := make(chan struct{}), make(chan struct{})
			s := newServer(t, func(c *serverConn) {
				if c.n > 1 {
					numbered(c)
					return
				}
				r, _ := c.read()
				c.sayNumber(r)
				<-release
				if way == "fin" {
					c.fin()
				} else {
					c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConn: smuggled\r\n\r\nevil")
				}
				close(ended)
				c.drain()
			})
			c := tr.new(t, config{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return plainConn{nc}, nil
			}})
			if got := c.do(t, newRequest(t, "POST", s.url, newBody("hello"))); got != "1" {
				t.Fatalf("on connection %s", got)
			}
			close(release)
			wait(t, "the server ends it", ended)
			c.settle(t, 1)
			if got := c.do(t, newRequest(t, "POST", s.url, newBody("hello"))); got != "2" {
				t.Errorf("%s: on connection %s", way, got)
			}
		}
	})
}

// Connections in memory, which nothing buffers.
func TestConnectionPipe(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		c := tr.new(t, config{dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer ours.Close()
				for br := bufio.NewReader(ours); ; {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					b, err := io.ReadAll(req.Body)
					if err != nil {
						return
					}
					io.WriteString(ours, length(strconv.Itoa(len(b)), string(b)))
				}
			}()
			return theirs, nil
		}})
		for _, size := range []int{1, 100 << 10} {
			body := newBodyReader(repeat(size), size)
			if got := readAll(t, c.send(t, newRequest(t, "POST", "http://pipe.example", body))); len(got) != size {
				t.Errorf("%d of %d bytes", len(got), size)
			}
			body.done(t)
		}
	})
}

// The gateway's proxy on top of it.
func TestReverseProxy(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		start := func(t *testing.T, handle func(c *serverConn)) (*server, *httptest.Server, *client) {
			s := newServer(t, handle)
			u, _ := url.Parse(s.url)
			c := tr.new(t, config{})
			front := httptest.NewServer(&httputil.ReverseProxy{
				Rewrite: func(r *httputil.ProxyRequest) {
					r.SetURL(u)
					r.Out.Header["User-Agent"] = nil
				},
				Transport: c,
			})
			t.Cleanup(front.Close)
			return s, front, c
		}
		caller := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
		t.Run("forwards", func(t *testing.T) {
			s, front, _ := start(t, numbered)
			for range 3 {
				res, err := caller.RoundTrip(newRequest(t, "POST", front.URL+"/a%2Fb?c=%zz", strings.NewReader("hello")))
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, res); got != "1" {
					t.Errorf("got %q", got)
				}
			}
			if got := s.last(t); got.line() != "POST /a%2Fb HTTP/1.1" && got.line() != "POST /a%2Fb?c=%zz HTTP/1.1" && got.line() != "POST /a%2Fb? HTTP/1.1" || got.body != "hello" {
				t.Errorf("got %q, %q", got.line(), got.body)
			}
		})
		t.Run("no body", func(t *testing.T) {
			s, front, _ := start(t, numbered)
			res, err := caller.RoundTrip(newRequest(t, "GET", front.URL, nil))
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, res)
			if got := s.last(t); len(got.header("Content-Length")) != 0 || len(got.header("Transfer-Encoding")) != 0 {
				t.Errorf("got %q", got.head)
			}
		})
		t.Run("trailer", func(t *testing.T) {
			_, front, _ := start(t, func(c *serverConn) {
				c.read()
				c.say("%s", crlf("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: A", "", "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n"))
			})
			res, err := caller.RoundTrip(newRequest(t, "GET", front.URL, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res); got != "hello" || res.Trailer.Get("A") != "b" || res.Trailer.Get("C") != "d" {
				t.Errorf("got %q, %v", got, res.Trailer)
			}
		})
		t.Run("upstream breaks off", func(t *testing.T) {
			_, front, _ := start(t, func(c *serverConn) { c.read(); c.say(length("10", "hello")) })
			res, err := caller.RoundTrip(newRequest(t, "GET", front.URL, nil))
			if err != nil {
				return // cut before its header was flushed
			}
			defer res.Body.Close()
			if b, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("got %q without an error", b)
			}
		})
		t.Run("upstream gives no answer", func(t *testing.T) {
			_, front, _ := start(t, func(c *serverConn) { c.read() })
			res, err := caller.RoundTrip(newRequest(t, "POST", front.URL, strings.NewReader("hello")))
			if err != nil {
				t.Fatal(err)
			}
			if readAll(t, res); res.StatusCode != 502 {
				t.Errorf("got %s", res.Status)
			}
		})
		t.Run("caller goes while waiting", func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			_, front, _ := start(t, func(c *serverConn) { c.read(); close(arrived); c.drain(); close(gone) })
			req := newRequest(t, "POST", front.URL, strings.NewReader("hello"))
			ctx, cancel := context.WithCancel(req.Context())
			go func() { <-arrived; cancel() }()
			if res, err := caller.RoundTrip(req.WithContext(ctx)); err == nil {
				res.Body.Close()
				t.Error("no error")
			}
			wait(t, "the upstream's connection ends", gone)
		})
		t.Run("caller goes amid its body", func(t *testing.T) {
			gone := make(chan struct{})
			_, front, _ := start(t, func(c *serverConn) { c.readHead(); c.drain(); close(gone) })
			pr, pw := io.Pipe()
			req := newRequest(t, "POST", front.URL, newBodyReader(pr, 1<<20))
			ctx, cancel := context.WithCancel(req.Context())
			go func() {
				pw.Write(make([]byte, 100<<10))
				cancel()
				pw.CloseWithError(io.ErrClosedPipe)
			}()
			if res, err := caller.RoundTrip(req.WithContext(ctx)); err == nil {
				res.Body.Close()
				t.Error("no error")
			}
			wait(t, "the upstream's connection ends", gone)
		})
		t.Run("caller goes amid the answer", func(t *testing.T) {
			gone := make(chan struct{})
			_, front, _ := start(t, func(c *serverConn) {
				c.read()
				c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
				c.drain()
				close(gone)
			})
			res, err := caller.RoundTrip(newRequest(t, "GET", front.URL, nil))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			wait(t, "the upstream's connection ends", gone)
		})
	})
}
