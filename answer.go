package weixin

import (
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// maxTokenErrorLength bounds what can be a token error. WeChat's have some 200
// bytes.
const maxTokenErrorLength = 4 << 10

// inspectBuffer is enough for most answers of unknown length that can be one.
const inspectBuffer = 1 << 10

// verdict is what the beginning of an answer says about the token.
type verdict struct {
	errcode  int
	rejected bool // the errcode is a token error
	accepted bool // the token was seen to be good
}

// inspect looks into an answer for as long as it can be a token error, and no
// further. Afterwards the answer's body is what it was, to the last byte, and
// has not been waited for longer than that takes.
func inspect(res *http.Response, place *wechat.Place) verdict {
	if res.StatusCode != http.StatusOK {
		return verdict{}
	}
	if res.Body == nil || res.Body == http.NoBody {
		return verdict{}
	}
	if res.ContentLength > maxTokenErrorLength {
		return verdict{accepted: true}
	}
	size := int64(inspectBuffer)
	if res.ContentLength > 0 {
		size = res.ContentLength
	}
	prefix := make([]byte, 0, size)
	for {
		prefix = slices.Grow(prefix, 1)
		n, err := res.Body.Read(prefix[len(prefix):cap(prefix)])
		prefix = prefix[:len(prefix)+n]
		errcode, result := wechat.ScanErrcode(prefix)
		rejected := result == wechat.ScanFound && place.IsTokenError(errcode)
		short := len(prefix) <= maxTokenErrorLength
		if short && err == nil && (rejected || result == wechat.ScanMore) {
			continue
		}
		ended := errors.Is(err, io.EOF)
		res.Body = &prefixedBody{prefix: prefix, err: err, rest: res.Body}
		if rejected && short && ended {
			return verdict{errcode: errcode, rejected: true}
		}
		return verdict{errcode: errcode, accepted: !rejected && (err == nil || ended) && showsAcceptance(errcode)}
	}
}

// showsAcceptance says whether an answer with this errcode means that the token
// was looked at and found good.
func showsAcceptance(errcode int) bool {
	switch errcode {
	case wechat.SystemBusy, wechat.TooFrequent, wechat.AccessTokenMissing:
		return false
	}
	return true
}

// prefixedBody is a body of which the beginning was read already.
type prefixedBody struct {
	prefix []byte
	err    error // what followed the prefix, if anything did
	rest   io.ReadCloser
}

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
