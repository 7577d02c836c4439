package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	// errcodeLogInterval is how often an errcode of WeChat's is logged at INFO for
	// an account.
	errcodeLogInterval = time.Minute

	// troubleLogInterval is how often an account's troubles are warned of.
	troubleLogInterval = time.Minute

	// encodingLogInterval is how often answers that cannot be read are warned of.
	encodingLogInterval = time.Hour
)

// finish makes an answer of WeChat's fit for the client, and notes what it says.
func (x *exchange) finish(res *http.Response) {
	redactAnswer(res, x.redactor())
	if isFile(res.Header) || isEncoded(res.Header) {
		return
	}
	switch b := res.Body.(type) {
	case *redactingBody:
		res.Body = &notedBody{ReadCloser: b, x: x, header: res.Header}
	case *prefixedBody:
		if b.err != nil {
			x.note(res.Header, b.prefix)
		} else if res.ContentLength <= maxTokenErrorLength {
			// Its errmsg may be still to come, or even its errcode.
			x.noteErrcode(res.Header, b.prefix)
			res.Body = &notedBody{ReadCloser: b, x: x, header: res.Header}
		}
	default:
		if isEmpty(res) {
			x.note(res.Header, nil) // the header may tell all
		}
	}
}

// note notes what an answer says that begins so.
func (x *exchange) note(header http.Header, beginning []byte) {
	x.noteErrcode(header, beginning)
	if x.Outcome.Errcode == wechat.OK {
		return
	}
	errmsg := wechat.ErrmsgOf(beginning)
	x.Outcome.RID = wechat.RIDOf(errmsg)
	x.logErrcode(errmsg)
	x.noteTrouble(header, errmsg)
	x.noteUnauthorized()
}

// noteErrcode notes the errcode of an answer that begins so.
func (x *exchange) noteErrcode(header http.Header, beginning []byte) {
	var inHeader bool
	if x.Outcome.Errcode, inHeader = x.Account.Kind.HeaderErrcode(header); !inHeader {
		x.Outcome.Errcode = x.errcodeOf(beginning)
	}
}

// notedBody is the body of an answer that is still under way. What it says is
// noted at its end, as an error may come in pieces.
type notedBody struct {
	io.ReadCloser
	x      *exchange
	header http.Header
	begins []byte // up to maxTokenErrorLength bytes
	noted  bool
}

// Read implements io.Reader.
func (b *notedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.noted {
		b.begins = append(b.begins, p[:min(n, maxTokenErrorLength-len(b.begins))]...)
		if err != nil || len(b.begins) == maxTokenErrorLength {
			b.note()
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *notedBody) Close() error {
	b.note()
	return b.ReadCloser.Close()
}

func (b *notedBody) note() {
	if !b.noted {
		b.noted = true
		b.x.note(b.header, b.begins)
	}
}

// errcodeOf returns the errcode of an answer that begins so, which mostly is known.
func (x *exchange) errcodeOf(beginning []byte) int {
	if len(x.judged) > 0 && len(x.judged) == len(beginning) && &x.judged[0] == &beginning[0] {
		return x.errcode
	}
	errcode, _ := wechat.ScanErrcode(beginning)
	return errcode
}

// logErrcode logs an error of WeChat's own: the first of a kind in a while where
// it is seen, the others at DEBUG.
func (x *exchange) logErrcode(errmsg string) {
	first, skipped := x.Account.Logged.First("errcode "+wechat.ErrcodeLabel(x.Outcome.Errcode), errcodeLogInterval)
	level := zapcore.DebugLevel
	if first {
		level = zapcore.InfoLevel
	}
	c := x.Logger.Check(level, "WeChat answered with an errcode")
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("account", x.Account.Name), zap.String("caller", x.Caller),
		zap.Int("errcode", x.Outcome.Errcode), zap.String("errmsg", errmsg), zap.String("rid", x.Outcome.RID),
		zap.String("method", x.Method), zap.String("path", x.URL.Path),
	}
	if skipped > 0 {
		fields = append(fields, zap.Int("repeated", skipped))
	}
	c.Write(fields...)
}

// noteTrouble notes an error that an operator has to do something about, and warns
// of it once in a while.
func (x *exchange) noteTrouble(h http.Header, errmsg string) {
	kind, errcode := x.Account.Kind, x.Outcome.Errcode
	if x.token == nil || !slices.Contains(kind.Told, errcode) {
		return
	}
	if errmsg == "" && kind.ErrorMessageHeader != "" {
		errmsg = x.redactor().String(h.Get(kind.ErrorMessageHeader))
	}
	x.Account.InTrouble(account.Trouble{Errcode: errcode, Errmsg: errmsg, At: time.Now()})
	first, skipped := x.Account.Logged.First("trouble", troubleLogInterval)
	if !first {
		return
	}
	x.Logger.Warn("WeChat refuses requests of an account for what has to be changed there",
		zap.String("account", x.Account.Name), zap.Int("errcode", errcode), zap.String("errmsg", errmsg),
		zap.String("advice", kind.AdviceFor(errcode, errmsg, wechat.English)), zap.Int("repeated", skipped))
}

// noteUnauthorized has it looked at whether the account has withdrawn its
// authorisation, if that is what WeChat says.
func (x *exchange) noteUnauthorized() {
	if x.token != nil && x.Account.Component != nil && x.Outcome.Errcode == wechat.Unauthorized {
		x.Account.LookAgain()
	}
}

// warnOfEncoding warns of answers that nobody here can read: their token errors
// reach the client.
func (x *exchange) warnOfEncoding(h http.Header) {
	first, skipped := x.Account.Logged.First("encoding", encodingLogInterval)
	if !first {
		return
	}
	x.Logger.Warn("an answer has a Content-Encoding that was not asked for, so it is not known whether WeChat refuses the token: have whatever stands between the proxy and WeChat send answers as they are",
		zap.String("account", x.Account.Name), zap.String("path", x.URL.Path),
		zap.Strings("content_encoding", h["Content-Encoding"]), zap.Int("repeated", skipped))
}

// conceal returns an error without the account's secrets, even if it repeats
// what WeChat has sent.
func (x *exchange) conceal(err error) error {
	redactor := x.redactor()
	if own, ok := errors.AsType[*answer.Error](err); ok {
		own.Message = redactor.String(own.Message)
		return err
	}
	if text := redactor.String(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
