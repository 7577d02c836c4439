package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// send sends the request once, and returns an answer that can be passed on. Where
// the answer is to be judged, what comes before it is held back until then.
func (x *exchange) send(judged bool) (*http.Response, error) {
	x.informer.begin(x, judged)
	out := x.outgoing()
	if err := x.inject(out); err != nil {
		return nil, err
	}
	res, err := x.Base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	// The server would not send them, and no client expects them.
	if res.StatusCode < http.StatusOK || res.StatusCode > 599 {
		res.Body.Close()
		return nil, fmt.Errorf("an answer with status %03d", res.StatusCode)
	}
	return res, nil
}

// judge looks at what the answer says of the token. A server that does not go on
// with its answer meanwhile is waited for no longer than for its header.
func (x *exchange) judge(res *http.Response) (verdict, error) {
	if x.Timeout == 0 || isHere(res) {
		return inspect(res, x.Account.Kind), nil
	}
	body := res.Body
	timer := time.AfterFunc(x.Timeout, func() { body.Close() })
	v := inspect(res, x.Account.Kind)
	if !timer.Stop() {
		res.Body.Close()
		return verdict{}, errAnswerStalls
	}
	return v, nil
}

// isHere reports whether the whole body of an answer can be read without waiting.
func isHere(res *http.Response) bool {
	if res.Body == http.NoBody {
		return true
	}
	b, ok := res.Body.(interface{ Buffered() int })
	return ok && res.ContentLength >= 0 && res.ContentLength <= int64(b.Buffered())
}

// IsComplete reports whether an answer was read to its end, so that nothing of it
// can break off any more.
func IsComplete(res *http.Response) bool {
	if res.Body == http.NoBody {
		return true
	}
	b, ok := res.Body.(*prefixedBody)
	return ok && errors.Is(b.err, io.EOF)
}

// stalledError is that an answer did not go on.
type stalledError struct{}

func (stalledError) Error() string   { return "WeChat's answer stalled" }
func (stalledError) Timeout() bool   { return true }
func (stalledError) Temporary() bool { return true }

var errAnswerStalls error = stalledError{}
