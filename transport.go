package weixin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// replayedHeader is in an answer for which the request was sent again. Its
// value is the errcode that the first answer had.
const replayedHeader = "X-Weixin-Replayed"

// transport sends requests to WeChat with an account's token. It sees to it
// that the client notices nothing of the token's life: a request that is
// refused for its token is sent again, once, with another.
//
// WeChat checks the token before it does anything else, so a request that was
// refused for it had no effect, whatever its method. No other request is ever
// sent again.
type transport struct {
	base   upstream.RoundTripper
	tokens *TokenManager
	logger *zap.Logger

	// repeats is where what may go on for long is logged; nil is the logger.
	repeats *repeatLog

	bodyBuffer int64 // bytes of a request body kept in memory
	bodyLimit  int64 // bytes of a request body at most

	forwardHeaders []string // that go to WeChat beside those which always do

	// timeout bounds the wait for the part of an answer that is judged; 0 is no
	// bound.
	timeout time.Duration
}

// roundTrip sends req to the target on behalf of an account. The context is the
// request's or one made from it by the informer, which may be nil. virtual says
// that the client knows virtual tokens only. Errors are of type *proxyError,
// except for those of the connection to WeChat. The request's body is not closed.
func (t *transport) roundTrip(ctx context.Context, i *informer, a *Account, target *url.URL, req *http.Request, virtual bool) (*http.Response, error) {
	if err := wechat.CheckPath(req.URL); err != nil {
		return nil, badRequest(err.Error())
	}
	body, length, err := newReplayBody(req, t.bodyBuffer, t.bodyLimit)
	if err != nil {
		return nil, t.bodyError(a, req, err)
	}
	defer body.release()
	ctx = upstream.WithResolver(ctx, a.Resolver)
	x := &exchange{transport: t, ctx: ctx, informer: i, account: a, in: req, target: target, body: body, length: length, virtual: virtual}
	res, err := x.do()
	if err == nil {
		x.finish(res)
		return res, nil
	}
	if _, ok := errors.AsType[*proxyError](err); !ok && body.sourceErr() != nil {
		err = t.bodyError(a, req, body.sourceErr())
	}
	return nil, x.conceal(err)
}

// bodyError returns the answer to a request whose body could not be had.
func (t *transport) bodyError(a *Account, req *http.Request, err error) error {
	tooLong, ok := errors.AsType[*http.MaxBytesError](err)
	switch {
	case ok:
		return tooLarge("the request body is larger than " + strconv.FormatInt(tooLong.Limit, 10) + " bytes")
	case errors.Is(err, errBodyTooLarge):
		return tooLarge("the request body is larger than body_limit, " + strconv.FormatInt(t.bodyLimit, 10) + " bytes")
	case req.Context().Err() != nil:
		return context.Cause(req.Context())
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		t.logger.Error("a request body could not be kept", zap.String("account", a.Name), zap.Error(err))
		return unavailable(http.StatusServiceUnavailable, "the request body could not be kept")
	}
	return badRequest("the request body could not be read")
}

// exchange is a request on its way, which may take two attempts.
type exchange struct {
	*transport
	ctx      context.Context // the request's, or one made from it
	informer *informer
	account  *Account
	in       *http.Request
	target   *url.URL
	body     *replayBody
	length   int64
	token    *Token   // in use; nil where the path takes none
	sealing  *sealing // nil where the request goes out as it is
	virtual  bool
}

func (x *exchange) do() (*http.Response, error) {
	place := &x.account.Place
	if !place.Takes(x.in.URL.Path) {
		return x.tryUnlessNested()
	}
	var err error
	if x.token, err = x.tokens.Token(x.ctx, x.account); err != nil {
		return nil, tokenFailure(err, x.account, x.tokens.now())
	}
	if x.sealing, err = newSealing(x); err != nil {
		return nil, err
	}
	if isVirtualToken(x.token.Secret()) {
		return x.tryUnlessNested()
	}
	return x.tryTwice()
}

// tryTwice sends the request, and once more if its token is refused.
func (x *exchange) tryTwice() (*http.Response, error) {
	res, v, err := x.try()
	if err != nil {
		return nil, err
	}
	if !v.rejected {
		return res, nil
	}
	return x.replay(res, v.errcode)
}

// tryUnlessNested does the same for a request that may come back here.
func (x *exchange) tryUnlessNested() (*http.Response, error) {
	leave, err := nested.enter(x.in)
	if err != nil {
		return nil, err
	}
	defer leave()
	return x.tryTwice()
}

// replay gets another token and sends the request again. first is the answer
// that rejected the token: it is the client's where there is nothing better.
func (x *exchange) replay(first *http.Response, errcode int) (*http.Response, error) {
	logger := x.logger.With(zap.String("account", x.account.Name), zap.Int("errcode", errcode),
		zap.String("method", x.in.Method), zap.String("path", x.in.URL.Path), zap.Stringer("rejected", x.token))
	fresh, err := x.tokens.Replace(x.ctx, x.account, x.token, requesterOf(x.in))
	if errors.Is(err, errStillRejected) {
		x.gaveUp(errcode, zapcore.WarnLevel, "request not replayed: WeChat refuses it with every token", nil)
		return x.refused(first, errcode, "WeChat refuses this request with every token of account "+x.account.Name)
	}
	if err != nil {
		first.Body.Close()
		if x.ctx.Err() == nil {
			x.account.watcher.replayed(errcode, replayGaveUp)
		}
		return nil, tokenFailure(err, x.account, x.tokens.now())
	}
	if err := x.body.replayable(); err != nil {
		x.gaveUp(errcode, zapcore.ErrorLevel, "request not replayed: its body could not be kept", err)
		return x.refused(first, errcode, "the request body could not be kept for another attempt")
	}
	first.Body.Close()
	x.tokens.replayed(x.account)
	x.token = fresh.Value
	res, v, err := x.try()
	if err == nil || !x.endedByClient() {
		// Where WeChat gives no answer, nothing is known against whoever asked.
		fresh.Report(err != nil || !v.rejected)
	}
	if err != nil {
		return nil, err
	}
	res.Header.Set(replayedHeader, strconv.Itoa(errcode))
	outcomeOf(x.in.Context()).replayed = errcode
	if v.rejected {
		x.account.watcher.replayed(errcode, replayRejected)
		x.logGivenUp(zapcore.WarnLevel, "request replayed in vain", errcode, zap.Stringer("token", fresh), zap.Int("replay_errcode", v.errcode))
		answer, err := x.refused(res, v.errcode, "WeChat refuses this request with every token of account "+x.account.Name)
		if refusal, ok := errors.AsType[*proxyError](err); ok {
			refusal.replayed = errcode
		}
		return answer, err
	}
	x.account.watcher.replayed(errcode, replayOK)
	logger.Info("request replayed", zap.Stringer("token", fresh))
	return res, nil
}

// endedByClient reports whether the client has left or its body has failed. Who
// does so before the answer could have fetches go unaccounted for.
func (x *exchange) endedByClient() bool {
	return x.in.Context().Err() != nil || x.body.sourceErr() != nil
}

// refused returns the answer to a request whose token WeChat refuses for good.
// A client that knows virtual tokens only would take WeChat's answer for one
// about its own token, which is valid, and fetch another, again and again.
func (x *exchange) refused(res *http.Response, errcode int, cause string) (*http.Response, error) {
	if !x.virtual {
		return res, nil
	}
	res.Body.Close()
	return nil, unavailable(http.StatusServiceUnavailable, fmt.Sprintf("%s (errcode %d)", cause, errcode))
}

// try sends the request with the token, and looks at what the answer says of it.
func (x *exchange) try() (*http.Response, verdict, error) {
	x.redactor() // knows it from now on, for 1xx answers too
	start := time.Now()
	res, err := x.send(x.token != nil)
	if err != nil {
		if x.ctx.Err() == nil && x.body.sourceErr() == nil {
			x.account.reach.failed(time.Now())
		}
		return nil, verdict{}, err
	}
	x.account.reach.answered()
	d := time.Since(start)
	if err := x.restore(res); err != nil {
		return nil, verdict{}, err
	}
	if x.token == nil && res.ContentLength < 0 {
		// It cannot be a token error, so it is not waited for.
		x.account.watcher.answered(d, wechat.OK)
		return res, verdict{}, nil
	}
	v, err := x.judge(res)
	if err != nil {
		return nil, verdict{}, err
	}
	v.rejected = v.rejected && x.token != nil // or else it is another's token
	x.informer.judged(v.rejected)
	x.account.watcher.answered(d, v.errcode)
	if v.encoded {
		x.warnOfEncoding(res.Header)
	}
	if v.accepted && x.token != nil {
		x.token.Accept()
	}
	return res, v, nil
}

// outgoing returns the request as WeChat gets it.
func (x *exchange) outgoing() *http.Request {
	in := x.in
	out := (&http.Request{
		Method: in.Method,
		Host:   x.target.Host,
		URL: &url.URL{
			Scheme:   x.target.Scheme,
			Host:     x.target.Host,
			Path:     in.URL.Path,
			RawPath:  in.URL.RawPath,
			RawQuery: in.URL.RawQuery,
		},
		Header: outgoingHeader(in.Header, x.forwardHeaders),
		// WeChat answers a chunked request with 412.
		ContentLength: x.length,
	}).WithContext(x.ctx)
	if x.target.Path != "" {
		out.URL.Path = x.target.Path + in.URL.Path
		out.URL.RawPath = x.target.EscapedPath() + in.URL.EscapedPath()
	}
	if out.URL.RawPath != "" && out.URL.RawPath != out.URL.EscapedPath() {
		// Characters that need no escape to be understood are left unescaped.
		out.URL.Opaque = out.URL.RawPath
	}
	if x.body != nil {
		out.Body = x.body.open()
		out.GetBody = func() (io.ReadCloser, error) { return x.body.open(), nil }
	}
	return out
}

// requesterOf names who makes a request: a caller, or a client's address.
func requesterOf(req *http.Request) string {
	if name := outcomeOf(req.Context()).caller; name != "" {
		return "caller " + name
	}
	return clientAddr(req).String()
}
