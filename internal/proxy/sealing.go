package proxy

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/apisecurity"
)

const (
	// maxSealedBody bounds a body that is encrypted, which takes it some times in
	// memory. The APIs that can be called so take some KB.
	maxSealedBody = 1 << 20

	// maxSealedAnswer bounds a JSON answer to an encrypted request.
	maxSealedAnswer = 8 << 20

	// deprecatedLogInterval is how often an account's log says that the platform's
	// certificate changes.
	deprecatedLogInterval = 24 * time.Hour
)

// sealing is the API security of a request: it is encrypted and signed, and its
// answer is verified and decrypted.
type sealing struct {
	x    *exchange
	keys *apisecurity.Keys
	body []byte // as the application sent it
}

// newSealing returns the API security of the exchange's request, or nil where it
// goes out as it is.
func newSealing(x *exchange) (*sealing, error) {
	security := x.Account.Security
	if x.token == nil || !isSealed(security, x.Request.Request) {
		return nil, nil
	}
	body, isObject, err := x.readObject()
	if err != nil || !isObject {
		return nil, err
	}
	return &sealing{x: x, keys: security.Keys, body: body}, nil
}

// isSealed reports whether a request is to be encrypted, as far as its header
// says.
func isSealed(s *account.APISecurity, req *http.Request) bool {
	return s != nil && req.Method == http.MethodPost && !apisecurity.IsSigned(req.Header) && !isMultipart(req.Header) && s.Matches(req)
}

// ReadsFirst returns how long a body may be for it to be read from the client
// before WeChat is connected.
func ReadsFirst(a *account.Account, req *http.Request) int64 {
	if isSealed(a.Security, req) {
		return maxSealedBody
	}
	return ReadFirst
}

// ReadsBeginning reports whether it takes the beginning of a longer body to see
// that it is not to be encrypted.
func ReadsBeginning(a *account.Account, req *http.Request) bool {
	return req.ContentLength > maxSealedBody && isSealed(a.Security, req)
}

func isMultipart(h http.Header) bool {
	const prefix = "multipart/"
	contentType := strings.TrimSpace(h.Get("Content-Type"))
	return len(contentType) >= len(prefix) && strings.EqualFold(contentType[:len(prefix)], prefix)
}

// readObject returns the request's body, and whether it is a JSON object. None at
// all counts as one. Of what cannot be one no more is read than it takes
// to see that.
func (x *exchange) readObject() (body []byte, isObject bool, err error) {
	if x.body == nil {
		return nil, true, nil
	}
	r := x.body.open()
	defer r.Close()
	body, err = readObject(r, min(x.length, maxSealedBody))
	switch {
	case errors.Is(err, errNotObject):
		return nil, false, nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false, err
	case x.length > maxSealedBody:
		return nil, false, answer.TooLarge("the request body is larger than " + strconv.Itoa(maxSealedBody) +
			" bytes, and is not encrypted for API security: send less, or take the path out of the account's paths")
	case int64(len(body)) < x.length:
		return nil, false, answer.BadRequest("the request body could not be read")
	}
	return body, apisecurity.IsObject(body), nil
}

// errNotObject is that what was read is no JSON object. What was read comes with
// it.
var errNotObject = errors.New("no JSON object")

// readObject reads a JSON object, or so much that it is seen that there is none.
// It ends with io.EOF, or without an error after limit bytes.
func readObject(r io.Reader, limit int64) ([]byte, error) {
	var read bytes.Buffer
	piece := make([]byte, min(limit, 32<<10))
	for {
		n, err := r.Read(piece[:min(int64(len(piece)), limit-int64(read.Len()))])
		read.Write(piece[:n])
		switch {
		case !mayBeObject(read.Bytes(), err != nil):
			return read.Bytes(), errors.Join(errNotObject, err)
		case err != nil || int64(read.Len()) >= limit:
			return read.Bytes(), err
		}
	}
}

// mayBeObject reports whether a text that begins so may be a JSON object, or
// empty. complete is whether nothing follows.
func mayBeObject(text []byte, complete bool) bool {
	const mark = "\xef\xbb\xbf"
	if !complete && len(text) < len(mark) {
		return true
	}
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(mark)), " \t\r\n")
	return len(text) == 0 || text[0] == '{'
}

// sealingError returns the answer to a request that cannot be encrypted.
func sealingError(err error) error {
	if errors.Is(err, apisecurity.ErrQuery) {
		return answer.BadRequest(err.Error())
	}
	return answer.Unavailable(http.StatusInternalServerError, err.Error())
}

// inject encrypts and signs the request. Its query keeps the token alone.
func (s *sealing) inject(out *http.Request) error {
	sealed, header, err := s.keys.Seal(time.Now(), s.x.URL.Path, s.x.URL.RawQuery, s.body)
	if err != nil {
		return sealingError(err)
	}
	apisecurity.StripHeader(out.Header)
	delete(out.Header, "Content-Encoding")
	maps.Copy(out.Header, header)
	out.URL.RawQuery = setParams("", s.x.TokenParams, s.x.token.Escaped())
	closeBody(out)
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sealed)), nil }
	out.Body, _ = out.GetBody()
	out.ContentLength = int64(len(sealed))
	return nil
}

// restore verifies and decrypts the answer. What is no JSON object passes, and so
// does what has another status than 200.
func (s *sealing) restore(res *http.Response) error {
	defer apisecurity.StripHeader(res.Header)
	if res.StatusCode != http.StatusOK || isEmpty(res) {
		return nil
	}
	if isEncoded(res.Header) {
		return answer.Unavailable(http.StatusBadGateway, "WeChat's answer has a Content-Encoding that was not asked for, so it cannot be verified: "+
			"have whatever stands between the proxy and WeChat send answers as they are")
	}
	body, err := s.read(res)
	if errors.Is(err, errNotObject) {
		return nil
	}
	if err != nil {
		return err
	}
	opened, err := s.keys.Open(time.Now(), s.x.URL.Path, res.Header, body)
	if err != nil {
		return answer.Unavailable(http.StatusBadGateway, err.Error())
	}
	if opened.Deprecated != "" {
		s.warnOfDeprecated(opened.Deprecated, res.Header)
	}
	setBody(res, opened.Body)
	return nil
}

// read returns the whole of an answer that may be a JSON object. Of another, the
// body is what it was, and the error is errNotObject.
func (s *sealing) read(res *http.Response) ([]byte, error) {
	from := &patientReader{body: res.Body, timeout: s.x.Timeout}
	body, err := readObject(from, maxSealedAnswer+1)
	switch {
	case errors.Is(err, errNotObject):
		res.Body = &prefixedBody{prefix: body, err: from.err, rest: res.Body}
		return nil, errNotObject
	case err == nil:
		return nil, answer.Unavailable(http.StatusBadGateway, "WeChat's answer is longer than "+strconv.Itoa(maxSealedAnswer)+" bytes, and was not verified")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return body, nil
}

// warnOfDeprecated warns of answers that only the outgoing certificate verifies.
func (s *sealing) warnOfDeprecated(number string, h http.Header) {
	first, skipped := s.x.Account.Security.Deprecated.First("", deprecatedLogInterval)
	if !first {
		return
	}
	s.x.Logger.Warn("the platform's certificate changes, and only the outgoing one is configured: download the new one from the console, and add it to api_security with another line verify <number> {file./etc/wechat-new.pem}, for example",
		zap.String("account", s.x.Account.Name), zap.String("path", s.x.URL.Path),
		zap.String("verified_by", number), zap.String("new", h.Get("Wechatmp-Serial")), zap.Int("repeated", skipped))
}

// setBody gives an answer another body.
func setBody(res *http.Response, body []byte) {
	res.Body.Close()
	res.Body = readBody{bytes.NewReader(body)}
	// A trailer is of the bytes that came.
	res.Trailer, res.TransferEncoding = nil, nil
	res.ContentLength = int64(len(body))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// patientReader waits for a server that goes on with its answer, and for one that
// does not no longer than for its header.
type patientReader struct {
	body    io.ReadCloser
	timeout time.Duration // 0 is for ever
	err     error         // of the last Read
}

// Read implements io.Reader.
func (r *patientReader) Read(p []byte) (n int, err error) {
	if r.timeout == 0 {
		n, r.err = r.body.Read(p)
		return n, r.err
	}
	timer := time.AfterFunc(r.timeout, func() { r.body.Close() })
	n, r.err = r.body.Read(p)
	if !timer.Stop() {
		r.err = errAnswerStalls
	}
	return n, r.err
}

// readBody is a body that is in memory.
type readBody struct{ *bytes.Reader }

// Buffered returns how many bytes can be read without waiting.
func (b readBody) Buffered() int { return b.Len() }

// Close implements io.Closer.
func (readBody) Close() error { return nil }
