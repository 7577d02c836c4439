package upstream

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
)

// identityEncoding says that a body is sent as it is.
var identityEncoding = []string{"identity"}

// netHTTP is the standard library's transport, but sends no request again that
// WeChat may have processed.
//
// Where a connection that it kept turns out to be closed, http.Transport sends
// any request again of which nothing was written, and one whose method is GET or
// the like, or that has an Idempotency-Key, even if the server may have read it,
// provided its body can be had again. So the body of those never can here, the
// header is spelled otherwise, and a request of which nothing was written is
// sent again here.
type netHTTP struct {
	*http.Transport
	closed atomic.Bool
}

// Close closes the connections that nobody uses, and has none be kept from now
// on.
func (t *netHTTP) Close() {
	t.closed.Store(true)
	t.CloseIdleConnections()
}

// unsentAttempts is how many connections may be closed before a request is sent
// over them. A server that has closed one may close a new one just as well.
const unsentAttempts = 5

// RoundTrip implements http.RoundTripper.
func (t *netHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.send(req)
	if t.closed.Load() {
		// http.Transport keeps connections again once it was asked for one.
		t.CloseIdleConnections()
	}
	return checkFields(res, err)
}

// checkFields refuses an answer with too many header fields.
func checkFields(res *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	fields := 0
	for _, values := range res.Header {
		fields += len(values)
	}
	if fields > maxResponseFields {
		res.Body.Close()
		return nil, fmt.Errorf("an answer with %d header fields", fields)
	}
	return res, nil
}

func (t *netHTTP) send(req *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		res, err := t.Transport.RoundTrip(sentOnce(req))
		if err == nil || req.Context().Err() != nil || !isUnsent(err) || attempt == unsentAttempts {
			return res, err
		}
		if hasNoBody(req) {
			continue
		}
		if req.GetBody == nil {
			return nil, err
		}
		body, bodyErr := req.GetBody()
		if bodyErr != nil {
			return nil, bodyErr
		}
		again := *req
		again.Body = body
		req = &again
	}
}

// isUnsent reports whether a request failed because its connection was closed
// before it was sent: http.Transport has these errors where nobody was waiting
// for an answer.
func isUnsent(err error) bool {
	text := err.Error()
	return strings.HasSuffix(text, "server closed idle connection") || strings.HasPrefix(text, "readLoopPeekFailLocked: ")
}

func hasNoBody(req *http.Request) bool { return req.Body == nil || req.Body == http.NoBody }

// sentOnce returns the request in a form in which http.Transport does not send
// it again once the server may have read it.
func sentOnce(req *http.Request) *http.Request {
	out := new(http.Request)
	*out = *req
	out.Header = withoutIdempotencyKey(req.Header)
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
	default:
		return out
	}
	out.GetBody = nil
	if hasNoBody(out) {
		out.Body = emptyBody{}
		// Or else http.Transport tries for a while to find out whether the body
		// is empty, and sends it chunked if it did not get to it in time.
		out.TransferEncoding = identityEncoding
	}
	return out
}

// emptyBody is a body without bytes of which http.Transport does not know that
// it can be had again.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// withoutIdempotencyKey returns the header with that field in a spelling in which
// http.Transport does not know it.
func withoutIdempotencyKey(h http.Header) http.Header {
	var out http.Header
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		values, ok := h[name]
		if !ok {
			continue
		}
		if out == nil {
			out = maps.Clone(h)
		}
		delete(out, name)
		out[strings.ToLower(name)] = values
	}
	if out == nil {
		return h
	}
	return out
}
