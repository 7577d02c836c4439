package proxy

import (
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// replayBody is a request body that can be sent more than once. It keeps what
// has been read from the client, in memory up to a bound and in a temporary
// file beyond, while the first attempt sends it. Several attempts may read it
// at the same time, each from the beginning: WeChat may refuse a request
// before all of it was sent.
type replayBody struct {
	memory int64 // bytes that may be kept in memory

	// sourceMu is held while the client is read, which may take any time; mu
	// guards what follows it, and is never held for long.
	sourceMu sync.Mutex
	source   io.Reader // the client; closing it is for the server

	mu      sync.Mutex
	err     error // of the source: what follows the bytes that are kept
	kept    int64
	head    []byte   // the first bytes that are kept
	file    *os.File // the others
	keepErr error    // why bytes are missing from those kept

	// uses counts who may still want what is kept: the owner, every reader
	// that is open, and every Read that is under way.
	uses atomic.Int32
}

// errBodyTooLarge is returned for a body beyond the limit.
var errBodyTooLarge = errors.New("the request body is too large")

// errBodyClosed is returned to who reads a body after closing it.
var errBodyClosed = errors.New("the request body is closed")

// ReadFirst is how long a body may be for it to be read from the client before
// WeChat is connected. A connection that waits for a slow client is of use to
// nobody, and WeChat closes it.
const ReadFirst = 64 << 10

// newReplayBody returns the body of a request, or nil if it has none, and its
// length. A body that is small, or whose length the client has not told, is read
// to its end here. The owner calls release when the request needs no further
// attempt. The request's own body is never closed.
func newReplayBody(req *http.Request, memory, limit int64) (*replayBody, int64, error) {
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return nil, 0, nil
	}
	if req.ContentLength > limit {
		return nil, 0, errBodyTooLarge
	}
	length := req.ContentLength
	b := keepBody(req.Body, length, memory)
	var err error
	switch {
	case length < 0:
		length, err = b.measure(limit)
	case length <= ReadFirst:
		err = b.readAll(length)
	}
	if err != nil || length == 0 {
		b.release()
		return nil, 0, err
	}
	return b, length, nil
}

// keepBody returns a body that has yet to be read from the client.
func keepBody(source io.Reader, length, memory int64) *replayBody {
	if length > memory {
		memory = 0 // it goes into a file in any case
	}
	b := &replayBody{source: source, memory: memory}
	b.uses.Store(1)
	return b
}

// readAll reads a body of a known length, which nobody else reads yet.
func (b *replayBody) readAll(length int64) error {
	if length > b.memory {
		n, err := b.measure(length)
		if err == nil && n < length {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	all := make([]byte, length+1) // its end is seen behind it
	n := 0
	for b.err == nil && n < len(all) {
		var read int
		read, b.err = b.source.Read(all[n:])
		n += read
	}
	b.head, b.kept = all[:n], int64(n)
	switch {
	case b.err == nil:
		return errBodyTooLarge
	case !errors.Is(b.err, io.EOF):
		return b.err
	case int64(n) < length:
		return io.ErrUnexpectedEOF
	default:
		return nil
	}
}

// measure reads the source to its end.
func (b *replayBody) measure(limit int64) (int64, error) {
	limit = min(limit, math.MaxInt64-1)
	r := b.open()
	defer r.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(struct{ io.Reader }{r}, limit+1))
	switch {
	case err != nil:
		return 0, err
	case n > limit:
		return 0, errBodyTooLarge
	case b.keepErr != nil:
		return 0, b.keepErr
	}
	return n, nil
}

// open returns a reader from the beginning.
func (b *replayBody) open() io.ReadCloser {
	b.uses.Add(1)
	return &bodyReader{body: b}
}

// replayable returns why the body cannot be sent again, nil if it can.
func (b *replayBody) replayable() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keepErr
}

// sourceErr returns the error with which the client's part ended, other than
// that it is complete.
func (b *replayBody) sourceErr() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// release ends one use. The last one frees what is kept.
func (b *replayBody) release() {
	if b == nil || b.uses.Add(-1) > 0 {
		return
	}
	// Nobody else is left, but for whoever asks about errors.
	b.mu.Lock()
	defer b.mu.Unlock()
	b.head = nil
	if b.file != nil {
		spool.put(b.file)
		b.file = nil
	}
}

// readAt returns bytes from offset off, of what is kept or from the client.
func (b *replayBody) readAt(p []byte, off int64) (int, error) {
	if n, err, ok := b.keptAt(p, off); ok {
		return n, err
	}
	b.sourceMu.Lock()
	defer b.sourceMu.Unlock()
	// Another reader may have been faster.
	if n, err, ok := b.keptAt(p, off); ok {
		return n, err
	}
	n, err := b.source.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keepLocked(p[:n])
	b.err = err
	return n, err
}

// keptAt returns what is known without the client, if anything is.
func (b *replayBody) keptAt(p []byte, off int64) (n int, err error, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case off < int64(len(b.head)):
		return copy(p, b.head[off:]), nil, true
	case off < b.kept && b.keepErr == nil:
		p = p[:min(int64(len(p)), b.kept-off)]
		n, err = b.file.ReadAt(p, off-int64(len(b.head)))
		return n, err, true
	case off < b.kept:
		return 0, b.keepErr, true
	case b.err != nil:
		return 0, b.err, true
	}
	return 0, nil, false
}

// keepLocked appends to what is kept. Where that fails, the attempt under way goes on
// and there will be no other.
func (b *replayBody) keepLocked(p []byte) {
	b.kept += int64(len(p))
	if b.keepErr != nil || len(p) == 0 {
		return
	}
	if b.file == nil {
		room := min(b.memory-int64(len(b.head)), int64(len(p)))
		b.head = append(b.head, p[:room]...)
		if p = p[room:]; len(p) == 0 {
			return
		}
		if b.file, b.keepErr = spool.get(); b.keepErr != nil {
			return
		}
	}
	off := b.kept - int64(len(b.head)) - int64(len(p))
	if _, b.keepErr = b.file.WriteAt(p, off); b.keepErr != nil && spool.clear() {
		// The disk was full of what nobody uses.
		_, b.keepErr = b.file.WriteAt(p, off)
	}
	if b.keepErr != nil {
		// What is in the file is of no use without the rest.
		closeTemporary(b.file)
		b.file = nil
	}
}

// bodyReader is one attempt's view of a body.
type bodyReader struct {
	body   *replayBody
	off    int64
	closed atomic.Bool
}

func (r *bodyReader) Read(p []byte) (int, error) {
	// Counted first: what is kept must not be freed beneath a Read.
	r.body.uses.Add(1)
	defer r.body.release()
	if r.closed.Load() {
		return 0, errBodyClosed
	}
	n, err := r.body.readAt(p, r.off)
	r.off += int64(n)
	return n, err
}

// Close does not wait for a Read, which may be waiting for the client.
func (r *bodyReader) Close() error {
	if r.closed.CompareAndSwap(false, true) {
		r.body.release()
	}
	return nil
}
