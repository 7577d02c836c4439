package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// redactor returns what removes the account's secrets, with the token in use.
func (x *exchange) redactor() *wechat.Redactor {
	if x.token == nil {
		return x.Account.Redactor("")
	}
	return x.Account.Redactor(x.token.Secret())
}

// redactAnswer removes secrets from an answer: from its header and trailer, and
// from the first maxTokenErrorLength bytes of its body, unless that is known to
// be longer.
func redactAnswer(res *http.Response, redactor *wechat.Redactor) {
	redactor.Header(res.Header)
	redactor.Header(res.Trailer)
	if res.ContentLength > maxTokenErrorLength || isEmpty(res) {
		return
	}
	b, ok := res.Body.(*prefixedBody)
	switch {
	case !ok:
		res.Body = &redactingBody{res: res, body: res.Body, redactor: redactor}
	case b.err != nil:
		redactRead(res, b, redactor)
	default:
		s := &redactingBody{res: res, body: b.rest, redactor: redactor}
		b.prefix, b.rest = s.next(b.prefix), s
	}
}

// redactRead removes secrets from a body that was read to where it ends. Its
// length may be another then.
func redactRead(res *http.Response, b *prefixedBody, redactor *wechat.Redactor) {
	before := len(b.prefix)
	b.prefix = redactor.Bytes(b.prefix)
	if len(b.prefix) == before || res.ContentLength < 0 || !b.ended() {
		return
	}
	res.ContentLength = int64(len(b.prefix))
	if len(res.Header["Content-Length"]) > 0 {
		res.Header["Content-Length"] = []string{strconv.Itoa(len(b.prefix))}
	}
}

// redactingBody is a body of which not all has been read. It passes on what comes,
// when it comes, but for what may be the beginning of a secret.
type redactingBody struct {
	res      *http.Response // its trailer comes after the body
	body     io.ReadCloser
	redactor *wechat.Redactor

	stream *wechat.RedactedStream
	seen   int    // bytes of the body
	ready  []byte // to be passed on
	err    error  // what follows that
}

// next returns what can be passed on once the next piece is here.
func (b *redactingBody) next(piece []byte) []byte {
	if b.stream == nil {
		b.stream = b.redactor.Stream()
	}
	b.seen += len(piece)
	return b.stream.Next(piece, b.err != nil || b.seen >= maxTokenErrorLength)
}

// Read implements io.Reader.
func (b *redactingBody) Read(p []byte) (int, error) {
	for len(b.ready) == 0 && b.err == nil {
		if b.seen >= maxTokenErrorLength || len(p) == 0 {
			n, err := b.body.Read(p)
			return n, b.end(err)
		}
		piece := p[:min(len(p), maxTokenErrorLength-b.seen)]
		n, err := b.body.Read(piece)
		b.err = b.end(err)
		b.ready = b.next(piece[:n]) // in p itself, where there is nothing to look for
		if n == 0 && err == nil {
			return 0, nil
		}
	}
	n := copy(p, b.ready)
	if b.ready = b.ready[n:]; len(b.ready) == 0 {
		return n, b.err
	}
	return n, nil
}

// end removes secrets from the trailer, which is there when the body has ended.
func (b *redactingBody) end(err error) error {
	if errors.Is(err, io.EOF) {
		b.redactor.Header(b.res.Trailer)
	}
	return err
}

// Close implements io.Closer.
func (b *redactingBody) Close() error { return b.body.Close() }
