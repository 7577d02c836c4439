package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// smallBody is the length up to which a request body is sent in one go with the
// header.
const smallBody = 32 << 10

// check refuses what must not get onto the wire.
func check(req *http.Request) error {
	switch {
	case req.URL == nil:
		return errors.New("http1: the request has no URL")
	case req.Header == nil:
		return errors.New("http1: the request has no header")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("http1: unsupported protocol scheme %q", req.URL.Scheme)
	case req.URL.Host == "":
		return errors.New("http1: no host in the request's URL")
	case req.Method == http.MethodConnect:
		return errors.New("http1: CONNECT is not supported")
	case req.Method != "" && !httpguts.ValidHeaderFieldName(req.Method): // both are tokens
		return fmt.Errorf("http1: invalid method %q", req.Method)
	case hasBody(req) && req.ContentLength < 0:
		return errors.New("http1: the length of the request body is unknown")
	case !hasBody(req) && req.Body == nil && req.ContentLength != 0:
		return fmt.Errorf("http1: the request has a length of %d and no body", req.ContentLength)
	}
	if err := checkFields(req.Header); err != nil {
		return err
	}
	return checkFields(req.Trailer)
}

func checkFields(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("http1: invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("http1: invalid header field value for %q", name) // the value may be secret
			}
		}
	}
	return nil
}

// hasBody says whether the request has a body to send.
func hasBody(req *http.Request) bool {
	return req.Body != nil && req.Body != http.NoBody && req.ContentLength != 0
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// outgoing is a request as it goes onto the wire: its header, and its body if
// that is small and was read.
type outgoing struct {
	buf []byte

	// body is what follows. Nobody has read any of it.
	body   io.ReadCloser
	length int64
	close  bool // the connection is not to be kept
}

// newOutgoing puts a request together.
func newOutgoing(req *http.Request) (*outgoing, error) {
	o := outgoings.Get().(*outgoing)
	o.body, o.length, o.close = nil, 0, wantsClose(req)
	var err error
	if o.buf, err = appendHeader(o.buf[:0], req); err != nil {
		o.release()
		return nil, err
	}
	if hasBody(req) {
		o.body, o.length = req.Body, req.ContentLength
	} else {
		closeBody(req)
	}
	return o, nil
}

// hasSmallBody says whether there is a small body that was not read yet.
func (o *outgoing) hasSmallBody() bool { return o.body != nil && o.length <= smallBody }

// readSmallBody reads a small body to its end.
func (o *outgoing) readSmallBody() error {
	start := len(o.buf)
	o.buf = slices.Grow(o.buf, int(o.length))[:start+int(o.length)]
	n, err := io.ReadFull(o.body, o.buf[start:])
	if err != nil {
		return bodyError(err, int64(n), o.length)
	}
	if err := expectEnd(o.body, o.length); err != nil {
		return err
	}
	return o.takeBody().Close()
}

// bodyError returns why a body could not be read in full.
func bodyError(err error, n, length int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("http1: the request body has %d bytes and not %d: %w", n, length, io.ErrUnexpectedEOF)
	}
	return err
}

// expectEnd returns an error if a body goes on.
func expectEnd(body io.Reader, length int64) error {
	var more [1]byte
	for range 100 {
		n, err := body.Read(more[:])
		switch {
		case n > 0:
			return fmt.Errorf("http1: the request body has more than %d bytes", length)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// abandon closes a body that was not sent, and nobody will send any more.
func (o *outgoing) abandon() {
	if o.body != nil {
		o.body.Close()
		o.body = nil
	}
}

// takeBody hands a large body over to who sends and closes it.
func (o *outgoing) takeBody() io.ReadCloser {
	body := o.body
	o.body = nil
	return body
}

// release gives the buffer back.
func (o *outgoing) release() {
	if cap(o.buf) <= bufferSize+smallBody {
		outgoings.Put(o)
	}
}

// appendHeader appends a request's header as it goes onto the wire.
func appendHeader(b []byte, req *http.Request) ([]byte, error) {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	b = append(b, method...)
	b = append(b, ' ')
	target := len(b)
	b = appendTarget(b, req.URL)
	for _, c := range b[target:] {
		if c <= ' ' || c == 0x7f {
			return b, errors.New("http1: a space or control character in the request's URL")
		}
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	host, err := hostHeader(req)
	if err != nil {
		return b, err
	}
	b = append(b, host...)
	b = append(b, "\r\n"...)
	userAgent, ok := req.Header["User-Agent"]
	switch {
	case !ok:
		b = appendField(b, "User-Agent", "Go-http-client/1.1")
	case len(userAgent) > 0 && userAgent[0] != "":
		b = appendField(b, "User-Agent", userAgent[0])
	}
	if req.Close && !hasToken(req.Header["Connection"], "close") {
		b = append(b, "Connection: close\r\n"...)
	}
	switch {
	case hasBody(req):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.ContentLength, 10)
		b = append(b, "\r\n"...)
	case method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...)
	}
	for name, values := range req.Header {
		if isOwn(name) {
			continue
		}
		for _, value := range values {
			b = appendField(b, name, value)
		}
	}
	return append(b, "\r\n"...), nil
}

// isOwn says whether a header field is told by the request's own members,
// however it is spelled: a second one could make the request end elsewhere.
func isOwn(name string) bool {
	own := ""
	switch len(name) {
	case len("Host"):
		own = "Host"
	case len("Trailer"):
		own = "Trailer"
	case len("User-Agent"):
		own = "User-Agent"
	case len("Content-Length"):
		own = "Content-Length"
	case len("Transfer-Encoding"):
		own = "Transfer-Encoding"
	}
	return strings.EqualFold(name, own)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, strings.Trim(value, " \t")...)
	return append(b, "\r\n"...)
}

// appendTarget appends what URL.RequestURI returns.
func appendTarget(b []byte, u *url.URL) []byte {
	target := u.Opaque
	if target == "" {
		target = u.EscapedPath()
	} else if strings.HasPrefix(target, "//") {
		b = append(b, u.Scheme...)
		b = append(b, ':')
	}
	if target == "" {
		target = "/"
	}
	b = append(b, target...)
	if u.ForceQuery || u.RawQuery != "" {
		b = append(b, '?')
		b = append(b, u.RawQuery...)
	}
	return b
}

// hostHeader returns the value of the Host header: the request's host, or else
// its URL's, in ASCII and without an IPv6 zone, which means something here alone.
func hostHeader(req *http.Request) (string, error) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	host, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return "", err
	}
	if !httpguts.ValidHostHeader(host) {
		return "", errors.New("http1: invalid Host header")
	}
	if strings.HasPrefix(host, "[") {
		if end := strings.LastIndex(host, "]"); end >= 0 {
			if zone := strings.LastIndex(host[:end], "%"); zone >= 0 {
				host = host[:zone] + host[end:]
			}
		}
	}
	return host, nil
}

// wantsClose says whether the request ends its connection.
func wantsClose(req *http.Request) bool {
	return req.Close || hasToken(req.Header["Connection"], "close")
}

func hasToken(values []string, token string) bool {
	return len(values) > 0 && httpguts.HeaderValuesContainsToken(values, token)
}
