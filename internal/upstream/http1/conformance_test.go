package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// These tests run every case against net/http's transport and against this
// package's. What net/http guarantees and this package does not is never just
// skipped: it is a field of transport, and the case states both behaviours.

// TestMain also checks that no goroutine outlives the tests.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http logs answers nobody asked for
	// Most tests wait for time to pass, not for a processor.
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" {
		flag.Set("test.parallel", "8")
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what should come at once. It is long
// since the machine may be slow.
const patience = 30 * time.Second

// config is what the tests set on a transport.
type config struct {
	dial                  func(ctx context.Context, network, addr string) (net.Conn, error)
	tls                   *tls.Config
	tlsHandshakeTimeout   time.Duration
	responseHeaderTimeout time.Duration
	idleConnTimeout       time.Duration
	maxIdle               int
	maxHeaderBytes        int64
}

type roundTripper interface {
	http.RoundTripper
	CloseIdleConnections()
}

// transport is an implementation under test, and where it differs on purpose.
type transport struct {
	name string
	make func(config) roundTripper

	// A replayable request is sent again where a kept connection ends before
	// the first byte of the answer. If false: nothing is ever sent twice.
	resends bool
	// A body of unknown length is sent chunked. If false: it is refused.
	chunks bool
	// 101 Switching Protocols is given to the caller. If false: an error.
	switches bool
	// CONNECT is sent. If false: it is refused.
	connects bool
	// Request trailers are sent, with a chunked body.
	trailers bool
	// A Host that is not valid is sent as an empty one. If false: refused.
	emptiesHost bool
	// Content-Length and the like under a key that is not canonical are
	// written as they are. If false: they are left out or refused.
	writesFraming bool
	// The configuration's ALPN is offered as it is, h2 and all. If false: h2 is
	// never offered.
	keepsNextProtos bool
	// Dialing goes on when the request ends that it was for: the connection
	// could do for another one. If false: dialing ends with the request.
	dialsOn bool
	// A goroutine watches idle connections, and closes what the server closed.
	// If false: that is seen when the connection is about to be used.
	watches bool
}

var transports = []transport{
	{
		name: "nethttp",
		make: func(c config) roundTripper {
			tr := &http.Transport{
				DialContext:            c.dial,
				TLSClientConfig:        c.tls,
				TLSHandshakeTimeout:    c.tlsHandshakeTimeout,
				ResponseHeaderTimeout:  c.responseHeaderTimeout,
				IdleConnTimeout:        c.idleConnTimeout,
				MaxIdleConnsPerHost:    c.maxIdle,
				MaxResponseHeaderBytes: c.maxHeaderBytes,
				DisableCompression:     true,
				Protocols:              new(http.Protocols),
			}
			tr.Protocols.SetHTTP1(true)
			return tr
		},
		resends:         true,
		chunks:          true,
		switches:        true,
		connects:        true,
		trailers:        true,
		emptiesHost:     true,
		writesFraming:   true,
		keepsNextProtos: true,
		watches:         true,
		dialsOn:         true,
	},
	{
		name: "http1",
		make: func(c config) roundTripper {
			return &Transport{
				DialContext:            c.dial,
				TLSClientConfig:        c.tls,
				TLSHandshakeTimeout:    c.tlsHandshakeTimeout,
				ResponseHeaderTimeout:  c.responseHeaderTimeout,
				IdleConnTimeout:        c.idleConnTimeout,
				MaxIdleConnsPerHost:    c.maxIdle,
				MaxResponseHeaderBytes: c.maxHeaderBytes,
			}
		},
	},
}

// each runs f for every transport.
func each(t *testing.T, f func(t *testing.T, tr transport)) {
	t.Helper()
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			f(t, tr)
		})
	}
}

// client is a transport in use by one test.
type client struct {
	transport
	roundTripper
	closed atomic.Int32 // connections it closed; counted only if it watches
}

// new returns a client whose connections end with the test.
func (tr transport) new(t testing.TB, cfg config) *client {
	c := &client{transport: tr}
	if tr.watches {
		dial := cfg.dial
		if dial == nil {
			dial = new(net.Dialer).DialContext
		}
		cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: nc, n: &c.closed}, nil
		}
	}
	c.roundTripper = tr.make(cfg)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// countedConn counts its being closed.
type countedConn struct {
	net.Conn
	once sync.Once
	n    *atomic.Int32
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.n.Add(1) })
	return err
}

// settle waits until what the server did to idle connections is with the
// client: a client that watches has closed n connections by then. For one that
// does not there is no event to wait for: what was sent only has to have come
// through the loopback interface.
func (c *client) settle(t testing.TB, n int32) {
	t.Helper()
	if c.watches {
		eventually(t, "the client closes", func() bool { return c.closed.Load() >= n })
		return
	}
	time.Sleep(30 * time.Millisecond)
}

// send makes a round trip that has to succeed.
func (c *client) send(t testing.TB, req *http.Request) *http.Response {
	t.Helper()
	res, err := c.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// do makes a round trip that has to succeed, reads the answer to its end, and
// returns the number of the connection, for a server that says it.
func (c *client) do(t testing.TB, req *http.Request) string {
	t.Helper()
	res := c.send(t, req)
	readAll(t, res)
	return res.Header.Get("Conn")
}

// get asks for url and returns the body of the answer, read to the end.
func (c *client) get(t testing.TB, url string) string {
	t.Helper()
	return readAll(t, c.send(t, newRequest(t, "GET", url, nil)))
}

// refuse makes a round trip that has to fail.
func (c *client) refuse(t testing.TB, req *http.Request) error {
	t.Helper()
	res, err := c.RoundTrip(req)
	if err == nil {
		res.Body.Close()
		t.Fatalf("%s %s: got %s, want an error", req.Method, req.URL, res.Status)
	}
	if res != nil {
		t.Errorf("an error and an answer: %v, %v", err, res.Status)
	}
	return err
}

// readAll reads the body to its end, and closes it.
func readAll(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("body: %v after %d bytes", err, len(b))
	}
	if err := res.Body.Close(); err != nil {
		t.Fatalf("closing the body: %v", err)
	}
	return string(b)
}

// newRequest returns a request that does not hang the test for ever.
func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return newRequestContext(t, ctx, method, url, body)
}

func newRequestContext(t testing.TB, ctx context.Context, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := body.(*requestBody); ok {
		req.ContentLength = int64(b.size)
		req.Body = b
	}
	return req
}

// eventually waits for cond.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// wait waits for something on ch.
func wait[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("did not happen: %s", what)
		panic("unreachable")
	}
}

// requestBody is a request body that watches how it is used.
type requestBody struct {
	io.Reader
	size      int
	mu        sync.Mutex
	reads     int
	closes    int
	readAfter bool          // read after it was closed
	closed    chan struct{} // closed with the body
}

func newBody(s string) *requestBody {
	return newBodyReader(strings.NewReader(s), len(s))
}

func newBodyReader(r io.Reader, size int) *requestBody {
	return &requestBody{Reader: r, size: size, closed: make(chan struct{})}
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.reads++
	b.readAfter = b.readAfter || b.closes > 0
	b.mu.Unlock()
	return b.Reader.Read(p)
}

func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closes++; b.closes == 1 {
		close(b.closed)
	}
	return nil
}

// done waits until the body is closed, and checks that it is not read later.
func (b *requestBody) done(t testing.TB) {
	t.Helper()
	wait(t, "the request body is closed", b.closed)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readAfter {
		t.Error("the request body was read after it was closed")
	}
}

func (b *requestBody) count() (reads int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

// repeat is a reader of n times the same byte.
func repeat(n int) io.Reader {
	return io.LimitReader(endless{}, int64(n))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// received is a request as the server got it.
type received struct {
	conn int // which connection, from 1
	head string
	body string
}

// line is the request line.
func (r received) line() string {
	line, _, _ := strings.Cut(r.head, "\r\n")
	return line
}

// header returns the values of a header, by a key that has to match exactly.
func (r received) header(key string) []string {
	var values []string
	for line := range strings.SplitSeq(r.head, "\r\n") {
		if k, v, ok := strings.Cut(line, ": "); ok && k == key {
			values = append(values, v)
		}
	}
	return values
}

// sorted is the request with its header lines in order of their names: HTTP
// does not care about that order. The order of lines of one name is kept.
func (r received) sorted() string {
	lines := strings.Split(strings.TrimSuffix(r.head, "\r\n\r\n"), "\r\n")
	name := func(s string) string {
		k, _, _ := strings.Cut(s, ":")
		return k
	}
	slices.SortStableFunc(lines[1:], func(a, b string) int { return strings.Compare(name(a), name(b)) })
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + r.body
}

// server is a TCP server that says exactly what a test wants it to say.
type server struct {
	ln     net.Listener
	url    string
	addr   string
	wg     sync.WaitGroup
	bytes  atomic.Int64 // received, on all connections
	open   atomic.Int32 // connections the client has not closed
	mu     sync.Mutex
	conns  []*serverConn
	got    []received
	closed bool
}

// serverConn is a connection as the server sees it.
type serverConn struct {
	net.Conn
	n    int // the how many-th, from 1
	br   *bufio.Reader
	s    *server
	done chan struct{} // closed with the test
}

// newServer starts a server that calls handle for every connection, and
// closes the connection when that returns.
func newServer(t testing.TB, handle func(c *serverConn)) *server {
	t.Helper()
	return startServer(t, listen(t, "127.0.0.1:0"), nil, handle)
}

// newTLSServer is newServer with TLS.
func newTLSServer(t testing.TB, cfg *tls.Config, handle func(c *serverConn)) *server {
	t.Helper()
	return startServer(t, listen(t, "127.0.0.1:0"), cfg, handle)
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func startServer(t testing.TB, ln net.Listener, cfg *tls.Config, handle func(c *serverConn)) *server {
	t.Helper()
	s := &server{ln: ln, addr: ln.Addr().String()}
	s.url = "http://" + s.addr
	if cfg != nil {
		s.url = "https://" + s.addr
	}
	done := make(chan struct{})
	s.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if cfg != nil {
				nc = tls.Server(nc, cfg)
			}
			c := &serverConn{Conn: nc, s: s, done: done}
			c.br = bufio.NewReader(countBytes{nc, &s.bytes})
			s.mu.Lock()
			s.conns = append(s.conns, c)
			c.n = len(s.conns)
			if s.closed {
				nc.Close()
			}
			s.mu.Unlock()
			s.open.Add(1)
			s.wg.Go(func() {
				defer s.open.Add(-1)
				defer nc.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		close(done)
		s.mu.Lock()
		s.closed = true
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

type countBytes struct {
	io.Reader
	n *atomic.Int64
}

func (c countBytes) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// accepted says how many connections there were so far.
func (s *server) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// requests returns what arrived so far.
func (s *server) requests() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// last is the request that arrived last.
func (s *server) last(t testing.TB) received {
	t.Helper()
	got := s.requests()
	if len(got) == 0 {
		t.Fatal("no request arrived")
	}
	return got[len(got)-1]
}

// readHead reads a request up to its body.
func (c *serverConn) readHead() (string, error) {
	var head strings.Builder
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
		if line == "\r\n" {
			return head.String(), nil
		}
	}
}

// read reads a request, and records it once it is complete.
func (c *serverConn) read() (received, error) {
	r := received{conn: c.n}
	var err error
	if r.head, err = c.readHead(); err != nil {
		return r, err
	}
	var body []byte
	if l := r.header("Content-Length"); len(l) > 0 {
		n, err := strconv.Atoi(l[0])
		if err != nil {
			return r, err
		}
		body = make([]byte, n)
		if _, err := io.ReadFull(c.br, body); err != nil {
			return r, err
		}
	} else if len(r.header("Transfer-Encoding")) > 0 {
		if body, err = io.ReadAll(httputil.NewChunkedReader(c.br)); err != nil {
			return r, err
		}
		trailer, err := c.readHead()
		if err != nil {
			return r, err
		}
		r.body = strings.TrimSuffix(trailer, "\r\n")
	}
	r.body = string(body) + r.body
	c.s.mu.Lock()
	c.s.got = append(c.s.got, r)
	c.s.mu.Unlock()
	return r, nil
}

// say writes to the client.
func (c *serverConn) say(format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	io.WriteString(c.Conn, format)
}

// drain reads until the client closes the connection.
func (c *serverConn) drain() {
	io.Copy(io.Discard, c.br)
}

// fin closes the connection towards the client only.
func (c *serverConn) fin() {
	switch nc := c.Conn.(type) {
	case *net.TCPConn:
		nc.CloseWrite()
	case *tls.Conn:
		nc.CloseWrite() // close_notify only, TCP stays as it is
	}
}

// reset closes the connection the hard way.
func (c *serverConn) reset() {
	nc := c.Conn
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// park waits for the end of the test.
func (c *serverConn) park() {
	<-c.done
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// ok answers every request.
func ok(c *serverConn) {
	for {
		if _, err := c.read(); err != nil {
			return
		}
		c.say(okAnswer)
	}
}

// sayNumber answers r with the number of the connection.
func (c *serverConn) sayNumber(r received) {
	body := strconv.Itoa(c.n)
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nConn: %s\r\nContent-Length: %d\r\n\r\n", body, len(body))
	if !strings.HasPrefix(r.head, "HEAD ") {
		answer += body
	}
	c.say("%s", answer)
}

// numbered answers every request with the number of the connection.
func numbered(c *serverConn) {
	for {
		r, err := c.read()
		if err != nil {
			return
		}
		c.sayNumber(r)
	}
}

// isTimeout says whether err says it is a timeout.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// crlf writes a request or an answer on lines of its own.
func crlf(lines ...string) string {
	return strings.Join(lines, "\r\n")
}

func TestHarness(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		c := tr.new(t, config{})
		if got := c.get(t, s.url+"/a"); got != "1" {
			t.Errorf("got %q", got)
		}
		if got := s.last(t).line(); got != "GET /a HTTP/1.1" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(s.last(t).head, "\r\nHost: "+s.addr+"\r\n") {
			t.Errorf("got %q", s.last(t).head)
		}
	})
}
