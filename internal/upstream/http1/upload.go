package http1

import (
	"errors"
	"io"
	"sync"
	"time"
)

// upload sends a large request body while the answer is awaited: the server may
// give one before it has the whole body.
type upload struct {
	exchange *exchange
	body     io.ReadCloser
	length   int64

	done chan struct{} // is closed when the body was sent, or will not be

	mu     sync.Mutex
	err    error // why the body was not sent in full
	answer bool  // the answer's header was read
}

func newUpload(x *exchange, body io.ReadCloser, length int64) *upload {
	return &upload{exchange: x, body: body, length: length, done: make(chan struct{})}
}

// run sends the body and closes it.
func (u *upload) run() {
	sendErr, readErr := u.copy()
	if closeErr := u.body.Close(); readErr == nil && sendErr == nil {
		readErr = closeErr
	}
	defer close(u.done)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case readErr != nil:
		// What the server has got is no request.
		u.err = readErr
		u.exchange.abort()
	case u.answer:
		u.err = sendErr
	case sendErr != nil:
		u.err = sendErr
		u.exchange.limit(time.Now().Add(lastWords))
	default:
		u.exchange.awaitHeader()
	}
}

// copy copies the body to the connection, and tells which of the two failed.
func (u *upload) copy() (sendErr, readErr error) {
	buf := copyBuffers.Get().(*copyBuffer)
	defer copyBuffers.Put(buf)
	for sent := int64(0); sent < u.length; {
		n, err := u.body.Read(buf.plain[:min(copyBufferSize, u.length-sent)])
		if n > 0 {
			if err := u.send(buf.plain[:n], buf); err != nil {
				return err, nil
			}
			sent += int64(n)
		}
		if err != nil && sent < u.length {
			return nil, bodyError(err, sent, u.length)
		}
	}
	return nil, expectEnd(u.body, u.length)
}

// send sends a part of the body in one piece.
func (u *upload) send(p []byte, buf *copyBuffer) error {
	x := u.exchange
	if x.tls == nil {
		_, err := x.rw.Write(p)
		return err
	}
	x.wire.cork(buf.sealed)
	_, err := x.rw.Write(p)
	var flushErr error
	buf.sealed, flushErr = x.wire.uncork()
	return errors.Join(err, flushErr)
}

const copyBufferSize = 64 << 10

// copyBuffer holds a part of a body, and the same as TLS records.
type copyBuffer struct {
	plain  [copyBufferSize]byte
	sealed []byte
}

var copyBuffers = sync.Pool{New: func() any { return new(copyBuffer) }}

// headerRead notes that there is an answer, so that no time limit for it is set
// any more.
func (u *upload) headerRead() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = true
}

// sentWait is how long a complete answer waits for the end of the request. They
// may come at the same time.
const sentWait = 50 * time.Millisecond

// complete says whether the whole body was sent.
func (u *upload) complete() bool {
	timer := time.NewTimer(sentWait)
	defer timer.Stop()
	select {
	case <-u.done:
		return u.failure() == nil
	case <-timer.C:
		return false
	}
}

// failure returns why the body was not sent, if that is known by now.
func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}
