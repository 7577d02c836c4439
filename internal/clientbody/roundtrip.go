package clientbody

import (
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// RoundTrip calls a round tripper beneath Caddy's reverse_proxy with a request
// whose body is a *Body, and sees to what is left of it: where the answer comes
// first, the body is read to its end within limits.
//
// The round tripper reports whether nobody needs the rest of the body: neither
// an answer that is still under way, which would break off if the request's
// context ended, nor another attempt of reverse_proxy's.
func RoundTrip(req *http.Request, send func(*http.Request) (res *http.Response, needless bool, err error)) (*http.Response, error) {
	if _, writer := caddyhttp.IdleTimeoutsFromContext(req.Context()); writer != nil && mayHideBody(req) {
		writer.Header().Set("Connection", "close")
	}
	if none(req) {
		res, _, err := send(req)
		return res, err
	}
	b := newBody(req, readDeadlineOf(req))
	if caddyhttp.GetVar(req.Context(), deadlineVar) != nil {
		_ = b.setReadDeadline(time.Time{})
	}
	in := *req
	in.Body = b
	returned := false
	defer func() {
		if !returned { // a panic
			b.end()
		}
	}()
	res, needless, err := send(&in)
	returned = true
	if needless && !b.waits() {
		b.readFrom(b.source, b.setReadDeadline, beforeAnswer)
	}
	if err == nil || needless {
		b.settleBelow(needless)
	} else {
		b.leave()
	}
	if err != nil {
		b.revoked.Store(true)
		b.interrupt()
		return nil, err
	}
	res.Body = &answerBody{res.Body, b}
	return res, nil
}

// deadlineVar is the variable of a request for whose body there is a time limit
// that another attempt must not have.
const deadlineVar = "weixin.body_deadline"

// leave leaves a body to another attempt of reverse_proxy's. Where there is none
// an answer comes, and net/http reads a part of the body first. It must not wait
// for a client that sends nothing.
func (b *Body) leave() {
	if !b.isHTTP1() || b.ended.Load() {
		return
	}
	if b.waits() {
		b.settleBelow(false)
	}
	if b.setReadDeadline(time.Now().Add(beforeAnswer.Idle)) == nil {
		caddyhttp.SetVar(b.req.Context(), deadlineVar, true)
	}
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
