package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection to a server. It serves one request at a time.
type conn struct {
	transport *Transport
	key       connKey
	raw       net.Conn
	wire      *wire    // raw, to be written to
	rw        net.Conn // wire, or TLS over it
	tls       *tls.ConnectionState
	syscall   syscall.RawConn // of raw, to look at it; without one it is not kept

	kept      bool // it has served a request before
	idleSince time.Time

	// wrote is whether anything of the request has left for the server.
	wrote atomic.Bool

	// limited is whether there is a time limit for reading.
	limited bool

	// headerLeft is how many bytes may be read before the header must be
	// complete. It belongs to who reads.
	headerLeft int64

	// linesLeft is how many lines more may be read before the header must be
	// complete. It belongs to who reads.
	linesLeft int

	// readErr is why nothing more could be read. It belongs to who reads.
	readErr error

	oneByte [1]byte // is read into where nothing is to come

	// peek looks at the socket, and notes in quiet whether there is nothing.
	peek  func(fd uintptr)
	quiet bool
}

func newConn(t *Transport, key connKey, raw net.Conn) *conn {
	c := &conn{transport: t, key: key, raw: raw}
	c.wire = &wire{Conn: raw, c: c}
	c.rw = c.wire
	if sc, ok := raw.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			c.syscall = rc
		}
	}
	return c
}

// wire is the connection as it is written to, beneath TLS. TLS may write on its
// own account while somebody reads.
type wire struct {
	net.Conn
	c *conn

	mu sync.Mutex

	// While it is corked, what is written is held back here. TLS writes record by
	// record, and each would be a packet and wake the server.
	corked  bool
	pending []byte

	// While it is dry, there is nothing to read. It belongs to who reads.
	dry bool
}

// Read implements io.Reader.
func (w *wire) Read(p []byte) (int, error) {
	if w.dry {
		return 0, os.ErrDeadlineExceeded
	}
	return w.Conn.Read(p)
}

// Write implements io.Writer.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.corked {
		w.pending = append(w.pending, p...)
		return len(p), nil
	}
	return w.write(p)
}

func (w *wire) write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if n > 0 {
		w.c.wrote.Store(true)
	}
	return n, err
}

// cork holds back what is written from now on, in a buffer.
func (w *wire) cork(buf []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.corked, w.pending = true, buf[:0]
}

// uncork writes what was held back, and returns the buffer.
func (w *wire) uncork() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	buf := w.pending
	w.corked, w.pending = false, nil
	_, err := w.write(buf)
	return buf, err
}

// handshake makes it a TLS connection.
func (c *conn) handshake(ctx context.Context) error {
	config := new(tls.Config)
	if c.transport.TLSClientConfig != nil {
		config = c.transport.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(c.key.addr)
		if err != nil {
			return err
		}
		config.ServerName = host
	}
	config.NextProtos = []string{"http/1.1"}
	hsCtx := ctx
	if timeout := c.transport.TLSHandshakeTimeout; timeout > 0 {
		var cancel context.CancelFunc
		hsCtx, cancel = context.WithTimeoutCause(ctx, timeout, errHandshakeTimeout)
		defer cancel()
	}
	tlsConn := tls.Client(c.rw, config)
	if err := tlsConn.HandshakeContext(hsCtx); err != nil {
		if hsCtx.Err() != nil {
			return context.Cause(hsCtx)
		}
		return err
	}
	state := tlsConn.ConnectionState()
	c.tls, c.rw = &state, tlsConn
	return nil
}

// errUnsent is that nothing of a request has left for the server.
var errUnsent = errors.New("http1: the connection was closed before the request was sent")

var errClosedEarly = errors.New("http1: the server closed the connection without an answer")

// roundTrip sends a request and reads the header of its answer. Afterwards the
// connection is the answer's, or closed.
func (c *conn) roundTrip(req *http.Request, out *outgoing) (*http.Response, error) {
	if c.limited && (out.body != nil || c.transport.ResponseHeaderTimeout <= 0) { // or else awaitHeader sets another
		c.limit(time.Time{})
	}
	x := &exchange{conn: c, req: req, keep: !out.close}
	if ctx := req.Context(); ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, x.abort)
	}
	c.wrote.Store(false)
	if _, err := c.rw.Write(out.buf); err != nil {
		if !c.wrote.Load() && req.Context().Err() == nil {
			err = fmt.Errorf("%w: %w", errUnsent, err)
		}
		if out.body == nil && c.wrote.Load() {
			// The server may have refused the request before it had all of it.
			return x.readAnswer(err)
		}
		return nil, x.fail(err)
	}
	if body := out.takeBody(); body != nil {
		x.upload = newUpload(x, body, out.length)
		go x.upload.run()
		return x.readAnswer(nil)
	}
	x.awaitHeader()
	return x.readAnswer(nil)
}

// exchange is a request and its answer on a connection.
type exchange struct {
	*conn
	req    *http.Request
	stop   func() bool // of the context; nil if that never ends
	upload *upload     // of a large request body; nil if there is none
	br     *bufio.Reader
	keep   bool // the connection, afterwards
	ended  atomic.Bool
	body   body // of the answer
}

// abort ends the exchange at once: whatever is under way on the connection
// fails.
func (x *exchange) abort() { x.raw.Close() }

// awaitHeader sets the time limit for the answer's header.
func (x *exchange) awaitHeader() {
	if timeout := x.transport.ResponseHeaderTimeout; timeout > 0 {
		x.limit(time.Now().Add(timeout))
	}
}

// limit sets until when what is read has to come. It does nothing to a closed
// connection, from which nothing can be read either.
func (c *conn) limit(deadline time.Time) {
	_ = c.raw.SetReadDeadline(deadline)
	c.limited = !deadline.IsZero()
}

// lastWords is how long a server that does not take the rest of a request has
// for its answer.
const lastWords = time.Second

// readers are the buffers of connections on which an answer is under way.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// Read reads from the connection, in the header no further than it may be long.
func (c *conn) Read(p []byte) (int, error) {
	if c.headerLeft <= 0 {
		c.readErr = errHeaderTooLarge
		return 0, c.readErr
	}
	if c.linesLeft < 0 {
		c.readErr = errTooManyFields
		return 0, c.readErr
	}
	n, err := c.rw.Read(p[:min(int64(len(p)), c.headerLeft)])
	c.headerLeft -= int64(n)
	c.countLines(p[:n])
	c.readErr = err
	return n, err
}

var errHeaderTooLarge = errors.New("http1: the header of the answer is too large")

// readAnswer reads the header of the answer. sendErr is why the request could
// not be sent in full: an answer to it may have come all the same.
func (x *exchange) readAnswer(sendErr error) (*http.Response, error) {
	if sendErr != nil {
		x.keep = false
		x.limit(time.Now().Add(lastWords))
	}
	x.br = readers.Get().(*bufio.Reader)
	x.br.Reset(x.conn)
	res, err := x.readHeader()
	if err != nil {
		if sendErr != nil {
			err = sendErr
		}
		return nil, x.fail(err)
	}
	x.headerLeft, x.linesLeft = math.MaxInt64, math.MaxInt
	if x.upload != nil {
		x.upload.headerRead()
	}
	res.TLS = x.tls
	x.keep = x.keep && !res.Close && res.StatusCode >= 200
	if res.Body == http.NoBody {
		x.finish()
		return res, nil
	}
	// The limit was for the header. Where the body is here already, nothing is
	// read any more.
	if x.limited && (res.ContentLength < 0 || res.ContentLength > int64(x.br.Buffered())) {
		x.limit(time.Time{})
	}
	x.body = body{exchange: x, rc: res.Body}
	res.Body = &x.body
	return res, nil
}

// readHeader reads until the header of the final answer.
func (x *exchange) readHeader() (*http.Response, error) {
	x.headerLeft, x.readErr = x.transport.maxHeader(), nil
	for {
		x.linesLeft = x.transport.maxLines()
		if n := x.br.Buffered(); n > 0 { // behind a 1xx answer
			here, _ := x.br.Peek(n) // it cannot fail
			x.countLines(here)
		}
		if _, err := x.br.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = errClosedEarly
			}
			return nil, err
		}
		res, err := http.ReadResponse(x.br, x.req)
		if err != nil {
			if x.readErr != nil {
				// A line that breaks off is taken for a whole one, and that is
				// what the other error is about.
				err = x.readErr
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("http1: the server switches to another protocol")
		case x.hasTooManyFields(res.Header):
			return nil, errTooManyFields
		case res.StatusCode >= 200 || res.StatusCode < 100:
			return res, nil
		}
		if trace := httptrace.ContextClientTrace(x.req.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
			// Who looks at them bounds their number.
			x.headerLeft = x.transport.maxHeader()
		}
	}
}

// fail ends the exchange with the connection closed, and returns why.
func (x *exchange) fail(err error) error {
	x.ended.Store(true)
	if x.stop != nil {
		x.stop()
	}
	x.raw.Close()
	if x.upload != nil {
		if uploadErr := x.upload.failure(); uploadErr != nil {
			err = uploadErr
		}
	}
	switch {
	case x.req.Context().Err() != nil:
		return context.Cause(x.req.Context())
	case timedOut(err) && !errors.Is(err, errHeaderTimeout):
		return errHeaderTimeout
	}
	return err
}

// finish ends the exchange after the answer was read to its end. The connection
// is kept if nothing speaks against it: an end that came at the same time, or
// bytes beyond the answer, which belong to no request.
func (x *exchange) finish() {
	if x.ended.Swap(true) {
		return
	}
	keep := x.keep && x.syscall != nil && x.br.Buffered() == 0 && (x.upload == nil || x.upload.complete())
	x.br.Reset(nil)
	readers.Put(x.br)
	keep = (x.stop == nil || x.stop()) && keep
	if keep && x.read() {
		x.transport.pool.put(x.conn)
	} else {
		x.raw.Close()
	}
}

// read says whether everything that came from the server was read. What is left
// in the socket is seen when the connection is used again.
func (c *conn) read() bool {
	if c.tls == nil {
		return true
	}
	// TLS may have more than it was asked for.
	c.wire.dry = true
	defer func() { c.wire.dry = false }()
	return c.isQuiet()
}

// isQuiet reads until the time limit, or while it is dry what TLS still has, and says
// whether there was nothing.
func (c *conn) isQuiet() bool {
	c.headerLeft, c.linesLeft = 1, math.MaxInt
	_, err := c.Read(c.oneByte[:])
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// cut ends the exchange before the answer was read to its end. The reader may
// still be in use, so it is left alone.
func (x *exchange) cut() {
	if x.ended.Swap(true) {
		return
	}
	if x.stop != nil {
		x.stop()
	}
	x.raw.Close()
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}
