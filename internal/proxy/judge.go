package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// maxTokenErrorLength bounds what can be a token error. WeChat's have some 200
// bytes. Answers of up to that length are searched for secrets as well.
const maxTokenErrorLength = 4 << 10

// inspectBuffer is enough for most answers of unknown length that can be one.
const inspectBuffer = 1 << 10

// verdict is what the beginning of an answer says about the token.
type verdict struct {
	errcode  int
	rejected bool // the errcode is a token error
	accepted bool // the token was seen to be good
	encoded  bool // the answer could not be read
}

// inspect looks into an answer for as long as it can be a token error, and no
// further, but of an answer that tells beforehand that it is short it looks at
// what comes first. Afterwards the answer's body is what it was, to the last
// byte, and has not been waited for longer than that takes.
func inspect(res *http.Response, kind *wechat.Kind) verdict {
	if v, ok := headerVerdict(res, kind); ok {
		return v
	}
	if isEmpty(res) {
		return verdict{}
	}
	if isEncoded(res.Header) {
		return verdict{encoded: true}
	}
	isJudged := res.StatusCode == http.StatusOK && !isFile(res.Header)
	isShort := res.ContentLength >= 0 && res.ContentLength <= maxTokenErrorLength
	if isJudged && (isShort || res.ContentLength < 0) {
		return readWhile(res, func(prefix []byte) bool { return isUnclear(kind, prefix) }).judge(kind)
	}
	accepted := res.StatusCode == http.StatusOK
	if isShort {
		b := readWhile(res, func([]byte) bool { return false })
		accepted = accepted && b.isWhole()
	}
	return verdict{accepted: accepted}
}

// isEmpty reports whether it is known beforehand that an answer has no body.
func isEmpty(res *http.Response) bool { return res.Body == nil || res.Body == http.NoBody }

// headerVerdict returns the verdict of an answer that has its errcode in its
// header, so that nothing of its body has to be waited for.
func headerVerdict(res *http.Response, kind *wechat.Kind) (verdict, bool) {
	errcode, ok := kind.HeaderErrcode(res.Header)
	if !ok || res.StatusCode != http.StatusOK {
		return verdict{}, false
	}
	return verdict{errcode: errcode, rejected: kind.IsTokenError(errcode), accepted: kind.Accepts(errcode)}, true
}

// isFile reports whether an answer is a file that somebody has uploaded. WeChat's
// own errors are never sent as one, so what such a file says is no verdict.
func isFile(h http.Header) bool { return len(h["Content-Disposition"]) > 0 }

// isEncoded reports whether an answer has an encoding, which nobody asked for.
func isEncoded(h http.Header) bool {
	for _, value := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// readWhile reads an answer while more of it is wanted, but what is there at once
// in any case.
func readWhile(res *http.Response, more func(prefix []byte) bool) *prefixedBody {
	size := int64(inspectBuffer)
	if res.ContentLength > 0 {
		size = res.ContentLength + 1
	}
	b := &prefixedBody{prefix: make([]byte, 0, size), rest: res.Body}
	res.Body = b
	for {
		b.prefix = slices.Grow(b.prefix, 1)
		b.readMore()
		// Where all bytes are there, the end is too.
		complete := int64(len(b.prefix)) == res.ContentLength
		if b.err != nil || len(b.prefix) > maxTokenErrorLength || !complete && !more(b.prefix) {
			return b
		}
	}
}

// isUnclear reports whether an answer that begins so can be a token error that
// has not come to its end.
func isUnclear(kind *wechat.Kind, prefix []byte) bool {
	errcode, result := wechat.ScanErrcode(prefix)
	return result == wechat.ScanMore || result == wechat.ScanFound && kind.IsTokenError(errcode)
}

// judge returns the verdict on an answer of which all that matters was read.
func (b *prefixedBody) judge(kind *wechat.Kind) verdict {
	errcode, result := wechat.ScanErrcode(b.prefix)
	b.judged = b.prefix
	rejected := result == wechat.ScanFound && kind.IsTokenError(errcode)
	if rejected && len(b.prefix) <= maxTokenErrorLength && b.ended() {
		return verdict{errcode: errcode, rejected: true}
	}
	return verdict{errcode: errcode, accepted: !rejected && b.isWhole() && kind.Accepts(errcode)}
}

// prefixedBody is a body of which the beginning was read already.
type prefixedBody struct {
	prefix []byte
	err    error // what followed the prefix, if anything did
	rest   io.ReadCloser

	judged []byte // of the prefix, in which the errcode was looked for
}

// readMore reads once into what is left of the prefix's capacity.
func (b *prefixedBody) readMore() {
	n, err := b.rest.Read(b.prefix[len(b.prefix):cap(b.prefix)])
	b.prefix, b.err = b.prefix[:len(b.prefix)+n], err
}

// ended reports whether the whole body is in the prefix.
func (b *prefixedBody) ended() bool { return errors.Is(b.err, io.EOF) }

// isWhole reports whether the body has not broken off so far.
func (b *prefixedBody) isWhole() bool { return b.err == nil || b.ended() }

// Read implements io.Reader. Where the whole body is in the prefix, its end is
// told together with its last bytes, so that nobody has to ask for more.
func (b *prefixedBody) Read(p []byte) (int, error) {
	if len(b.prefix) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		return b.rest.Read(p)
	}
	n := copy(p, b.prefix)
	b.prefix = b.prefix[n:]
	if len(b.prefix) == 0 {
		return n, b.err
	}
	return n, nil
}

// Close implements io.Closer.
func (b *prefixedBody) Close() error { return b.rest.Close() }
