package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Forward sends a request to WeChat and the answer to the client. It has every
// duty of a proxy, and does what the standard library's ReverseProxy does,
// without its copies of what is thrown away afterwards. An error is an
// *answer.Error, which the client has yet to get.
func (p *Proxy) Forward(w http.ResponseWriter, r *Request) error {
	res, err := p.RoundTrip(r, w)
	if err != nil {
		return failure(r, err)
	}
	r.Account.Observer.Served(r.Caller, res.StatusCode)
	defer res.Body.Close()
	if !IsComplete(res) {
		clientbody.PassOn(w)
	}
	if err := passOn(w, res); err != nil {
		// The header is out: that the rest does not come can only be told by
		// ending the connection.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// passOn passes an answer on.
func passOn(w http.ResponseWriter, res *http.Response) error {
	h := w.Header()
	if len(res.Header["Server"]) > 0 {
		delete(h, "Server") // Caddy's
	}
	copyAnswerHeader(h, res.Header)
	dropHostFields(res.Trailer)
	announced := len(res.Trailer)
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	w.WriteHeader(res.StatusCode)
	if err := copyBody(w, res); err != nil {
		return err
	}
	dropHostFields(res.Trailer)
	if len(res.Trailer) == 0 {
		return nil
	}
	// Trailers are sent only where the body is chunked.
	_ = http.NewResponseController(w).Flush()
	for name, values := range res.Trailer {
		if len(res.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return nil
}

// copyBody passes a body on at the pace at which it comes.
func copyBody(w http.ResponseWriter, res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	flush := func() error {
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	// A long body, or one of unknown length, may be a while in coming, unless
	// its beginning was looked at already.
	body := res.Body
	if b, ok := body.(*notedBody); ok {
		body = b.ReadCloser
	}
	_, looked := body.(*prefixedBody)
	if !looked && (res.ContentLength < 0 || res.ContentLength > maxTokenErrorLength) {
		if err := flush(); err != nil {
			return err
		}
	}
	for {
		n, err := res.Body.Read(buf[:])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil // the server sends what is left
		case err != nil:
			// Or else the client could take this for a connection that was
			// closed before its request came, and send it again.
			_ = flush()
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
}

const copyBufferSize = 32 << 10

// copyBuffers are the buffers that answers are copied with.
var copyBuffers = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

// failure returns the answer to a request that could not be forwarded.
func failure(r *Request, err error) error {
	if _, ok := errors.AsType[*answer.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return answer.ClientGone()
	}
	status, message := http.StatusBadGateway, "the request to WeChat failed"
	if isTimeout(err) {
		status, message = http.StatusGatewayTimeout, "WeChat did not answer in time"
	}
	return &answer.Error{Status: status, Errcode: wechat.SystemBusy, Message: message, Cause: err}
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || ok && netErr.Timeout()
}
