package http1

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// body is the body of an answer. When it is read to its end the connection is
// free for another request; when it is closed before, so is the connection.
type body struct {
	*exchange
	rc     io.ReadCloser
	err    error // of Read, for good
	closed atomic.Bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.rc.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.finish()
		b.err = io.EOF
	case b.closed.Load():
		b.err = http.ErrBodyReadAfterClose
	default:
		b.cut()
		if ctx := b.req.Context(); ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		b.err = err
	}
	return n, b.err
}

// Buffered returns how many bytes of the connection were read already, and may
// belong to the body.
func (b *body) Buffered() int {
	if b.ended.Load() {
		return 0
	}
	return b.br.Buffered()
}

// Close implements io.Closer. A Read that is under way fails.
func (b *body) Close() error {
	b.closed.Store(true)
	b.cut()
	return nil
}
