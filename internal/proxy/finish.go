package weixin

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	// errcodeLogInterval is how often an errcode of WeChat's is logged at INFO for
	// an account.
	errcodeLogInterval = time.Minute

	// encodingLogInterval is how often answers that cannot be read are warned of.
	encodingLogInterval = time.Hour
)

// finish makes an answer of WeChat's fit for the client, and notes what it says.
func (x *exchange) finish(res *http.Response) {
	o := outcomeOf(x.in.Context())
	header := res.Header
	redactAnswer(res, x.redactor(), func(beginning []byte) {
		errmsg := o.answered(header, beginning)
		if o.errcode != wechat.OK {
			x.logErrcode(o, errmsg)
		}
	})
}

// logErrcode logs an error of WeChat's own: the first of a kind in a while where
// it is seen, the others at DEBUG.
func (x *exchange) logErrcode(o *outcome, errmsg string) {
	first, skipped := x.account.apiErrors.first(wechat.ErrcodeLabel(o.errcode), errcodeLogInterval)
	level := zapcore.DebugLevel
	if first {
		level = zapcore.InfoLevel
	}
	c := x.logger.Check(level, "WeChat answered with an errcode")
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("account", x.account.Name), zap.String("caller", o.caller),
		zap.Int("errcode", o.errcode), zap.String("errmsg", errmsg), zap.String("rid", o.rid),
		zap.String("method", x.in.Method), zap.String("path", x.in.URL.Path),
	}
	if skipped > 0 {
		fields = append(fields, zap.Int("repeated", skipped))
	}
	c.Write(fields...)
}

// warnOfEncoding warns of answers that nobody here can read: their token errors
// reach the client.
func (x *exchange) warnOfEncoding(h http.Header) {
	first, skipped := x.account.unreadable.first("", encodingLogInterval)
	if !first {
		return
	}
	x.logger.Warn("an answer has a Content-Encoding that was not asked for, so it is not known whether WeChat refuses the token: have whatever stands between the proxy and WeChat send answers as they are",
		zap.String("account", x.account.Name), zap.String("path", x.in.URL.Path),
		zap.Strings("content_encoding", h["Content-Encoding"]), zap.Int("repeated", skipped))
}

// gaveUp notes that a request is not sent again.
func (x *exchange) gaveUp(errcode int, level zapcore.Level, message string, cause error) {
	x.account.watcher.replayed(errcode, replayGaveUp)
	x.logGivenUp(level, message, errcode, zap.Error(cause))
}

// logGivenUp logs that WeChat's refusal stays.
func (x *exchange) logGivenUp(level zapcore.Level, message string, errcode int, fields ...zap.Field) {
	x.logRepeated(level, repeatCause{message: message, account: x.account.Name, errcode: errcode},
		append(fields, zap.String("account", x.account.Name), zap.Int("errcode", errcode),
			zap.String("caller", outcomeOf(x.in.Context()).caller),
			zap.String("method", x.in.Method), zap.String("path", x.in.URL.Path))...)
}

// conceal returns an error without the account's secrets, even if it repeats
// what WeChat has sent.
func (x *exchange) conceal(err error) error {
	redactor := x.redactor()
	if proxyErr, ok := errors.AsType[*proxyError](err); ok {
		proxyErr.message = redactor.String(proxyErr.message)
		return err
	}
	if text := redactor.String(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
