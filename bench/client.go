package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// call is a request as it goes over the wire, and the answer it must get.
type call struct {
	request []byte
	length  int64  // of the answer's body
	body    []byte // of the answer; nil where only its length is looked at
}

// newCall prepares a request. A query of "" is none.
func newCall(method, path, query string, body []byte, contentType string) call {
	var b bytes.Buffer
	if query != "" {
		path += "?" + query
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: api.weixin.qq.com\r\nUser-Agent: bench\r\nAccept: */*\r\n", method, path)
	if method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return call{request: b.Bytes()}
}

// answer is what came back.
type answer struct {
	status int
	body   []byte // good until the next request
}

// dialer opens a connection to a peer.
type dialer func(context.Context) (net.Conn, error)

// client sends one request after the other, on one connection as long as the
// peer keeps it open.
type client struct {
	dial dialer
	conn net.Conn
	wire wire
	body []byte // of an answer that came in pieces
}

const clientBuffer = 64 << 10

// callTimeout is for one request. What takes longer is stuck.
const callTimeout = 30 * time.Second

func newClient(dial dialer) *client {
	return &client{dial: dial, wire: wire{buf: make([]byte, clientBuffer)}}
}

// connect opens the connection if there is none.
func (c *client) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.conn = conn
	c.wire.src, c.wire.start, c.wire.end = conn, 0, 0
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// abort closes the connection without a word to the other side, so that no
// farewells are on the way while something else is measured.
func (c *client) abort() {
	if conn, ok := c.conn.(*tls.Conn); ok {
		c.conn = conn.NetConn()
	}
	if conn, ok := c.conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	c.close()
}

// do sends the request and compares the answer. It allocates nothing.
func (c *client) do(ctx context.Context, call *call) error {
	a, length, err := c.exchange(ctx, call, call.body != nil)
	if err != nil {
		return err
	}
	switch {
	case a.status != http.StatusOK:
		return fmt.Errorf("status %d: %.200s", a.status, a.body)
	case length != call.length:
		return fmt.Errorf("the answer has %d bytes instead of %d: %.200s", length, call.length, a.body)
	case call.body != nil && !bytes.Equal(a.body, call.body):
		return fmt.Errorf("not the expected answer: %.200s", a.body)
	}
	return nil
}

// ask sends a request and returns the answer, whatever it is.
func (c *client) ask(ctx context.Context, call *call) (answer, error) {
	a, _, err := c.exchange(ctx, call, true)
	return a, err
}

// exchange sends a request and reads the answer. The body is returned if it is
// wanted, or if it says what went wrong.
func (c *client) exchange(ctx context.Context, call *call, wanted bool) (answer, int64, error) {
	if err := c.connect(ctx); err != nil {
		return answer{}, 0, err
	}
	a, length, closes, err := c.roundTrip(call, wanted)
	if err != nil || closes {
		c.close()
	}
	return a, length, err
}

func (c *client) roundTrip(call *call, wanted bool) (a answer, length int64, closes bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return a, 0, false, err
	}
	if _, err := c.conn.Write(call.request); err != nil {
		return a, 0, false, err
	}
	var f fields
	for a.status < 200 { // 1xx are none
		head, err := c.wire.head()
		if err != nil {
			return a, 0, false, unexpected(err)
		}
		var lines []byte
		if a.status, lines, err = splitAnswer(head); err != nil {
			return a, 0, false, err
		}
		if f, err = parseFields(lines); err != nil {
			return a, 0, false, err
		}
	}
	keep := wanted || a.status != http.StatusOK
	switch {
	case f.chunked:
		a.body, length, err = c.chunks(keep)
	case f.length < 0:
		err = errMalformed // an answer that ends with the connection is not expected
	case keep && f.length <= clientBuffer:
		length = f.length
		a.body, err = c.wire.bytes(length)
	default:
		length = f.length
		a.body, err = c.collect(length, keep)
	}
	return a, length, f.closes, err
}

// collect reads n bytes that may be more than fit into the buffer.
func (c *client) collect(n int64, keep bool) ([]byte, error) {
	if !keep {
		return nil, c.wire.pass(n, nil)
	}
	c.body = c.body[:0]
	err := c.wire.pass(n, func(piece []byte) { c.body = append(c.body, piece...) })
	return c.body, err
}

// chunks reads a body in chunks.
func (c *client) chunks(keep bool) (body []byte, length int64, err error) {
	c.body = c.body[:0]
	var use func([]byte)
	if keep {
		use = func(piece []byte) { c.body = append(c.body, piece...) }
	}
	for {
		line, err := c.wire.line()
		if err != nil {
			return nil, 0, unexpected(err)
		}
		size, _, _ := bytes.Cut(line[:len(line)-2], []byte(";"))
		n, ok := parseInt(size, 16)
		if !ok {
			return nil, 0, errMalformed
		}
		if n == 0 {
			break
		}
		if err := c.wire.pass(n, use); err != nil {
			return nil, 0, err
		}
		length += n
		if end, err := c.wire.line(); err != nil || len(end) != 2 {
			return nil, 0, errMalformed
		}
	}
	for { // trailers
		line, err := c.wire.line()
		if err != nil {
			return nil, 0, unexpected(err)
		}
		if len(line) == 2 {
			return c.body, length, nil
		}
	}
}
