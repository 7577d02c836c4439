package weixin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// proxyError is an answer of the proxy's own, in WeChat's shape.
type proxyError struct {
	status     int
	errcode    int
	message    string
	retryAfter time.Duration
	cause      error // for the log alone
	replayed   int   // the errcode for which the request was replayed, or 0
	isWeChats  bool  // it is what WeChat has answered

	// readBody is for an answer that has to reach the client whatever that is
	// doing: the body is read to its end before.
	readBody bool

	// Whose request it was, as far as that is known.
	account *Account
	caller  *caller
}

// of notes whose request it was.
func (e *proxyError) of(account *Account, caller *caller) *proxyError {
	e.account, e.caller = account, caller
	return e
}

// Error returns the message.
func (e *proxyError) Error() string { return e.message }

func badRequest(message string) *proxyError {
	return &proxyError{status: http.StatusBadRequest, errcode: wechat.InvalidParameter, message: message}
}

func forbidden(message string) *proxyError {
	return &proxyError{status: http.StatusForbidden, errcode: wechat.APIUnauthorized, message: message}
}

func tooLarge(message string) *proxyError {
	return &proxyError{status: http.StatusRequestEntityTooLarge, errcode: wechat.MediaTooLarge, message: message}
}

func unavailable(status int, message string) *proxyError {
	return &proxyError{status: status, errcode: wechat.SystemBusy, message: message}
}

func (e *proxyError) body() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Encoding an int and a string cannot fail.
	_ = enc.Encode(struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}{e.errcode, e.errmsg()})
	return bytes.TrimRight(b.Bytes(), "\n")
}

// errmsg is the message, from which one tells whose error it is.
func (e *proxyError) errmsg() string {
	if e.isWeChats {
		return e.message
	}
	return "weixin proxy: " + e.message
}

func (e *proxyError) setHeader(h http.Header, body []byte) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	if e.replayed != 0 {
		h.Set(replayedHeader, strconv.Itoa(e.replayed))
	}
	if e.retryAfter > 0 {
		// Rounded up: a client that comes a moment early is sent away again.
		h.Set("Retry-After", strconv.Itoa(int((e.retryAfter+time.Second-1)/time.Second)))
	}
}

// awaitBody reads the body of a request before it is refused, where that is of
// use to the client.
func (e *proxyError) awaitBody(req *http.Request, limit int64) {
	if e.readBody {
		clientbody.ReadRest(req, clientbody.Limits{Bytes: limit, Total: awaitBodyFor})
	}
}

// awaitBodyFor bounds the time that takes.
const awaitBodyFor = 10 * time.Second

// write answers a request.
func (e *proxyError) write(w http.ResponseWriter) {
	body := e.body()
	e.setHeader(w.Header(), body)
	w.WriteHeader(e.status)
	// The client may be gone, which is no concern of the proxy's.
	_, _ = w.Write(body)
}

// response returns the answer for those who want an http.Response.
func (e *proxyError) response(req *http.Request) *http.Response {
	body := e.body()
	res := newResponse(req, e.status, body)
	e.setHeader(res.Header, body)
	return res
}

// newResponse returns an answer of the proxy's own.
func newResponse(req *http.Request, status int, body []byte) *http.Response {
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

// logRefusal tells the operator of an error that a client got. What is the
// client's doing is of less interest than what is not.
func (t *transport) logRefusal(req *http.Request, err *proxyError) {
	level := zapcore.InfoLevel
	switch {
	case err.status == http.StatusForbidden:
		level = zapcore.WarnLevel
	case err.status >= http.StatusInternalServerError:
		level = zapcore.ErrorLevel
	}
	if !t.logger.Core().Enabled(level) {
		return
	}
	var who outcome
	who.of(err.account, err.caller)
	t.logRepeated(level, repeatCause{"request refused", who.account, err.message, err.status, err.errcode},
		zap.Int("status", err.status), zap.Int("errcode", err.errcode), zap.String("reason", err.message),
		zap.String("account", who.account), zap.String("caller", who.caller), zap.Stringer("client_ip", clientAddr(req)),
		zap.String("method", req.Method), zap.String("path", req.URL.Path), zap.NamedError("cause", err.cause))
}

// logRepeated writes a line, or counts it where it was written lately.
func (t *transport) logRepeated(level zapcore.Level, cause repeatCause, fields ...zap.Field) {
	if t.repeats == nil {
		t.logger.Log(level, cause.message, fields...)
		return
	}
	t.repeats.log(level, cause, fields...)
}

// countRefusal counts an error of the proxy's own.
func countRefusal(err *proxyError) {
	name := ""
	if err.caller != nil {
		name = err.caller.name
	}
	if err.account == nil {
		collectors().unclear(name, err.status)
		return
	}
	err.account.watcher.served(name, err.status)
}
