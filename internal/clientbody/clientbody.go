// Package clientbody stands between a handler and the body of the client's
// request, so that no byte of one request is ever taken for another.
//
// net/http closes a connection on which a body was not read to its end, but
// only where it finds its own body in the request. Caddy's idle limits put
// another in its place. If a handler, or a transport that it gives the body to,
// closes that one early, net/http takes the unread rest for the next request.
//
// So the body is never closed here: that is for the server to do. An HTTP/1
// answer that goes out before the end of the body says Connection: close, and
// nothing is read from that connection as a request again. And nobody reads the
// body once the handler has returned.
package clientbody

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ErrDone is returned to who reads a body after the handler is done with it.
var ErrDone = errors.New("the request is over, and its body is read no more")

// Body is the body of a client's request, as a handler and those it gives the
// body to may see it. It may be read by several goroutines, and closing it does
// nothing.
type Body struct {
	req    *http.Request
	source io.Reader // the server's body

	// setReadDeadline bounds every Read, one that is under way included.
	setReadDeadline func(time.Time) error

	// below is the connection beneath Caddy's idle limits and whatever else
	// refuses to be read once it has failed: a body that is larger than allowed,
	// or that took too long, is not lost to who only lingers.
	below struct {
		source          io.Reader
		setReadDeadline func(time.Time) error
	}

	// revoked is set once nobody may read any more.
	revoked atomic.Bool

	mu    sync.Mutex // is held while the client is read
	left  int64      // bytes to come; negative is not known
	begun bool
	ended atomic.Bool // the body was read to its end
}

// none reports whether the request has no body.
func none(req *http.Request) bool {
	return req.ContentLength == 0 || req.Body == nil || req.Body == http.NoBody
}

// mayHideBody reports whether more than the server knows of may belong to a
// request: net/http drops a Transfer-Encoding from HTTP/1.0, where it has no
// meaning but may have one to whoever stands in front. RFC 9112 wants such a
// connection closed.
func mayHideBody(req *http.Request) bool { return !req.ProtoAtLeast(1, 1) }

func newBody(req *http.Request, setReadDeadline func(time.Time) error) *Body {
	b := &Body{req: req, source: req.Body, left: req.ContentLength, setReadDeadline: setReadDeadline}
	b.below.source, b.below.setReadDeadline = b.source, setReadDeadline
	if reader, _ := caddyhttp.IdleTimeoutsFromContext(req.Context()); reader != nil {
		b.below.source, b.below.setReadDeadline = reader.ReadCloser, reader.Ctrl.SetReadDeadline
	}
	return b
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.revoked.Load() {
		return 0, ErrDone
	}
	return b.readLocked(b.source, p)
}

func (b *Body) readLocked(r io.Reader, p []byte) (int, error) {
	if b.ended.Load() {
		return 0, io.EOF
	}
	b.begun = true
	n, err := r.Read(p)
	if b.left > 0 {
		b.left -= min(b.left, int64(n))
	}
	if b.left == 0 || errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

// Close does nothing: whoever reads a request's body may close it, but the
// server's is the server's to close.
func (b *Body) Close() error { return nil }

// Limits bound the reading of what a client still sends.
type Limits struct {
	Bytes int64         // a body that goes on longer is not read to its end
	Total time.Duration // for all of it
	Idle  time.Duration // without a byte; 0 is no bound of its own
}

// ReadRest reads the body of a request to its end, so far as the limits allow. A
// body that is known to be longer is left alone. Where a limit is reached, the
// request's context ends.
func ReadRest(req *http.Request, limits Limits) {
	if b, ok := req.Body.(*Body); ok {
		b.readRest(limits)
	}
}

// readRest reports whether the body was read to its end.
func (b *Body) readRest(limits Limits) bool {
	if b.mu.TryLock() {
		tooLong := b.left > limits.Bytes
		b.mu.Unlock()
		if tooLong {
			return false
		}
	}
	return b.readFrom(b.source, b.setReadDeadline, limits)
}

// readFrom reads from the client in whatever way is given.
func (b *Body) readFrom(r io.Reader, setReadDeadline func(time.Time) error, limits Limits) bool {
	if b.ended.Load() {
		return true
	}
	end := time.Now().Add(limits.Total)
	// Set before it is this goroutine's turn: another may be waiting for the
	// client.
	if setReadDeadline(limits.deadline(end)) != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for !b.ended.Load() {
		if limits.Bytes <= 0 || setReadDeadline(limits.deadline(end)) != nil {
			return false
		}
		n, err := b.readLocked(r, buf[:])
		limits.Bytes -= int64(n)
		if err != nil && !b.ended.Load() {
			return false
		}
	}
	// The server sets its own for the next request.
	_ = setReadDeadline(time.Time{})
	return true
}

func (l Limits) deadline(end time.Time) time.Time {
	if l.Idle > 0 {
		if idle := time.Now().Add(l.Idle); idle.Before(end) {
			return idle
		}
	}
	return end
}

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// over is a time limit that is over.
var over = time.Unix(1, 0)

// endWait bounds the wait for a Read that is under way. It takes so long only
// where no deadline can be set.
const endWait = 5 * time.Second

// end has nobody read the body any more, and waits for the Read that is under
// way: Caddy's access log counts the bytes. Unless the body was read to its end,
// nothing more is read from an HTTP/1 connection, not by the server either.
func (b *Body) end() {
	b.revoked.Store(true)
	if b.isHTTP1() && !b.ended.Load() {
		_ = b.setReadDeadline(over) // or else the server closes it for Connection: close
	}
	b.interrupt()
}

// interrupt waits until nobody reads the body.
func (b *Body) interrupt() {
	if b.mu.TryLock() {
		b.mu.Unlock()
		return
	}
	if !b.ended.Load() {
		_ = b.setReadDeadline(over)
	}
	done := make(chan struct{})
	go func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		close(done)
	}()
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (b *Body) isHTTP1() bool { return b.req.ProtoMajor == 1 }

// waits reports whether the client waits for 100 Continue with its body, which
// the first Read has the server send.
func (b *Body) waits() bool {
	if len(b.req.Header["Expect"]) == 0 {
		return false
	}
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return !b.begun
}
