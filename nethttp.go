package weixin

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
)

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
}

// RoundTrip implements http.RoundTripper.
func (t *netHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	out := sentOnce(req)
	for {
		res, err := t.Transport.RoundTrip(out)
		if err == nil || req.Context().Err() != nil || !isUnsent(err) {
			return res, err
		}
		if req.Body != nil {
			if req.GetBody == nil {
				return nil, err
			}
			body, bodyErr := req.GetBody()
			if bodyErr != nil {
				return nil, bodyErr
			}
			out.Body = body
		}
	}
}

// isUnsent says whether a request failed because its connection was closed
// before it was sent. A new connection never fails so: there is no loop.
func isUnsent(err error) bool {
	return strings.HasSuffix(err.Error(), "server closed idle connection")
}

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
	if out.Body == nil || out.Body == http.NoBody {
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

// netHTTP2 is the standard library's transport with HTTP/2, in which nothing is
// sent again that the server has processed: its answer says what it has not.
// Where the server speaks HTTP/1.1 only, it is a netHTTP. A request can be sent
// again on a connection that was used before, so by then that is known.
type netHTTP2 struct {
	netHTTP

	// http1 has the hosts that have answered with HTTP/1.1.
	http1 sync.Map
}

// RoundTrip implements http.RoundTripper.
func (t *netHTTP2) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	if _, ok := t.http1.Load(host); ok || req.URL.Scheme != "https" {
		return t.netHTTP.RoundTrip(req)
	}
	res, err := t.Transport.RoundTrip(req)
	if err == nil && res.ProtoMajor < 2 {
		t.http1.Store(host, nil)
	}
	return res, err
}
