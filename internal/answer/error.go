// Package answer holds the proxy's own answers: its errors in WeChat's shape, how
// they are logged, and what is told of a request when it is over.
package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// ReplayedHeader is in an answer for which the request was sent again. Its
// value is the errcode that the first answer had.
const ReplayedHeader = "X-Weixin-Replayed"

// Error is an answer of the proxy's own, in WeChat's shape.
type Error struct {
	Status     int
	Errcode    int
	Message    string
	RetryAfter time.Duration
	Cause      error // for the log alone
	Replayed   int   // the errcode for which the request was replayed, or 0
	OfWeChat   bool  // it is what WeChat has answered

	// ReadBody is for an answer that has to reach the client whatever that is
	// doing: the body is read to its end before.
	ReadBody bool

	// AboutToken is for an answer with the errcode of a token error, which is about
	// a token that the proxy has issued.
	AboutToken bool

	// Whose request it was, as far as that is known.
	Account *account.Account
	Caller  string
}

// Of returns the error with whose request it was, if it is an Error. Other errors
// and nil are returned as they are.
func Of(err error, a *account.Account, caller string) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Account, e.Caller = a, caller
	}
	return err
}

// From returns the Error that an error is, or one that tells the client nothing.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Status: http.StatusBadGateway, Errcode: wechat.SystemBusy, Message: "the request failed", Cause: err}
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// BadRequest is a request that is not as it should be.
func BadRequest(message string) error {
	return &Error{Status: http.StatusBadRequest, Errcode: wechat.InvalidParameter, Message: message}
}

// Forbidden is a request that may not be made.
func Forbidden(message string) error {
	return &Error{Status: http.StatusForbidden, Errcode: wechat.APIUnauthorized, Message: message}
}

// TooLarge is a body that is too large.
func TooLarge(message string) error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Errcode: wechat.MediaTooLarge, Message: message}
}

// Unavailable is a request that cannot be served.
func Unavailable(status int, message string) error {
	return &Error{Status: status, Errcode: wechat.SystemBusy, Message: message}
}

// WeChat is what WeChat itself would answer, so that an SDK understands.
func WeChat(errcode int, message string) error {
	return &Error{Status: http.StatusOK, Errcode: errcode, Message: message}
}

// ClientGone is the end of a request whose client went away.
func ClientGone() error { return Unavailable(statusClientClosedRequest, "the client went away") }

// statusClientClosedRequest is what access logs show where the client was gone
// before there was an answer.
const statusClientClosedRequest = 499

// LoopDetected is a request that came back to where it started.
func LoopDetected(cause error) error { return Unavailable(http.StatusLoopDetected, cause.Error()) }

// Body returns the answer's body.
func (e *Error) Body() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Encoding an int and a string cannot fail.
	_ = enc.Encode(struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}{e.Errcode, e.errmsg()})
	return bytes.TrimRight(b.Bytes(), "\n")
}

// errmsg is the message, from which one tells whose error it is.
func (e *Error) errmsg() string {
	if e.OfWeChat {
		return e.Message
	}
	return account.OwnErrorPrefix + e.Message
}

func (e *Error) setHeader(h http.Header, body []byte) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	if e.Replayed != 0 {
		h.Set(ReplayedHeader, strconv.Itoa(e.Replayed))
	}
	if e.RetryAfter > 0 {
		// Rounded up: a client that comes a moment early is sent away again.
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
}

// AwaitBody reads the body of a request before it is refused, where that is of
// use to the client.
func (e *Error) AwaitBody(req *http.Request, limit int64) {
	if e.ReadBody {
		clientbody.ReadRest(req, clientbody.Limits{Bytes: limit, Total: awaitBodyFor})
	}
}

// awaitBodyFor bounds the time that takes.
const awaitBodyFor = 10 * time.Second

// Write answers a request.
func (e *Error) Write(w http.ResponseWriter) {
	body := e.Body()
	e.setHeader(w.Header(), body)
	w.WriteHeader(e.Status)
	// The client may be gone, which is no concern of the proxy's.
	_, _ = w.Write(body)
}

// Response returns the answer for those who want an http.Response.
func (e *Error) Response(req *http.Request) *http.Response {
	body := e.Body()
	res := NewResponse(req, e.Status, body)
	e.setHeader(res.Header, body)
	return res
}

// NewResponse returns an answer of the proxy's own.
func NewResponse(req *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        make(http.Header),
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}
