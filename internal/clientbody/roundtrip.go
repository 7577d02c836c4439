package clientbody

import (
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// beforeAnswer is for a transport, whose answer has gone nowhere yet when the
// rest of the body is read. A client that has stopped sending waits for one
// second at most.
var beforeAnswer = Limits{Bytes: lingering.Bytes, Total: lingering.Total, Idle: time.Second}

// RoundTrip calls a round tripper beneath Caddy's reverse_proxy with a request
// whose body is a *Body, and sees to what is left of it: where the answer comes
// first, the body is read to its end within limits.
//
// The round tripper reports whether its answer is complete, so that it would not
// break off if the request's context ended.
func RoundTrip(req *http.Request, send func(*http.Request) (res *http.Response, complete bool, err error)) (*http.Response, error) {
	if none(req) {
		res, _, err := send(req)
		return res, err
	}
	b := newBody(req, readDeadlineOf(req))
	in := *req
	in.Body = b
	done := false
	defer func() {
		if !done { // a panic
			b.end()
		}
	}()
	res, complete, err := send(&in)
	done = true
	if err != nil {
		// reverse_proxy may try another upstream, so the body is left to it.
		b.revoked.Store(true)
		b.interrupt()
		b.settleBelow(false)
		return nil, err
	}
	if complete && b.isHTTP1() && !b.waits() {
		b.readFrom(b.source, b.setReadDeadline, beforeAnswer)
	}
	b.settleBelow(complete)
	res.Body = &answerBody{res.Body, b}
	return res, nil
}

// readDeadlineOf returns what bounds the reading of the client, which only
// Caddy's idle limits know beneath reverse_proxy.
func readDeadlineOf(req *http.Request) func(time.Time) error {
	reader, writer := caddyhttp.IdleTimeoutsFromContext(req.Context())
	switch {
	case reader != nil:
		return reader.SetReadDeadline
	case writer != nil:
		return writer.Ctrl.SetReadDeadline
	}
	return func(time.Time) error { return http.ErrNotSupported }
}

// settleBelow decides whether the connection is kept. reverse_proxy removes
// Connection from an answer of ours, but not from the header that the answer is
// added to. Where that is out of reach, and nobody needs the rest of the body,
// nothing more is read from the connection, and then the server closes it. Where
// Caddy has no idle limits, net/http sees to all of that itself.
func (b *Body) settleBelow(needless bool) {
	if !b.isHTTP1() || b.ended.Load() {
		return
	}
	if _, writer := caddyhttp.IdleTimeoutsFromContext(b.req.Context()); writer != nil {
		writer.Header().Set("Connection", "close")
		return
	}
	if needless {
		_ = b.setReadDeadline(over)
	}
}

// answerBody is the body of an answer to a request whose body may still be under
// way.
type answerBody struct {
	io.ReadCloser
	body *Body
}

// Close implements io.Closer.
func (a *answerBody) Close() error {
	err := a.ReadCloser.Close()
	a.body.end()
	return err
}
