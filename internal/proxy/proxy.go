// Package proxy forwards requests: it sends them with an account's token, judges
// what the answers say of it, and sends a request again, once, that was refused
// for its token.
package proxy

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Proxy sends requests to WeChat with an account's token. It sees to it
// that the client notices nothing of the token's life: a request that is
// refused for its token is sent again, once, with another.
//
// WeChat checks the token before it does anything else, so a request that was
// refused for it had no effect, whatever its method. No other request is ever
// sent again.
type Proxy struct{ Config }

// Config is what a Proxy works with.
type Config struct {
	Base   upstream.RoundTripper
	Logger *zap.Logger

	// Log is where what may go on for long is logged.
	Log *answer.Log

	BodyBuffer int64 // bytes of a request body kept in memory
	BodyLimit  int64 // bytes of a request body at most

	ForwardHeaders []string // that go to WeChat beside those which always do

	// Timeout bounds the wait for the part of an answer that is judged; 0 is no
	// bound.
	Timeout time.Duration
}

// New returns a proxy.
func New(c Config) *Proxy { return &Proxy{c} }

// Close closes the connections to WeChat that are idle. Requests that are under
// way end with theirs.
func (p *Proxy) Close() {
	p.Log.Close()
	p.Base.Close()
}

// Request is a request that was admitted.
type Request struct {
	*http.Request

	Account *account.Account
	Target  *url.URL        // where it goes
	Caller  string          // the caller's name, or ""
	Client  netip.Addr      // the client's address
	Outcome *answer.Outcome // what becomes of it

	// TokenParams are the query parameters that take the account's token; nil where
	// the request takes none.
	TokenParams []string

	// Translate returns an answer as the client may see it; nil where it may see it as
	// it is.
	Translate func(context.Context, []byte) ([]byte, error)

	// Virtual is whether the client knows virtual tokens only.
	Virtual bool
}

// by names who makes the request.
func (r *Request) by() string {
	if r.Caller != "" {
		return "caller " + r.Caller
	}
	return r.Client.String()
}

// RoundTrip sends a request. 1xx answers go to the client where it is given, and
// else to the request's httptrace. Errors are of type *answer.Error, except for
// those of the connection to WeChat. The request's body is not closed.
func (p *Proxy) RoundTrip(r *Request, client http.ResponseWriter) (*http.Response, error) {
	if err := wechat.CheckPath(r.URL); err != nil {
		return nil, answer.BadRequest(err.Error())
	}
	body, length, err := newReplayBody(r.Request, p.BodyBuffer, p.BodyLimit)
	if err != nil {
		return nil, p.BodyError(r.Account, r.Request, err)
	}
	defer body.release()
	x := &exchange{Proxy: p, Request: *r, body: body, length: length}
	x.informer = informer{Context: r.Context(), client: client, deaf: !r.ProtoAtLeast(1, 1)}
	defer x.informer.end()
	x.ctx = upstream.WithResolver(&x.informer, r.Account.Resolver)
	res, err := x.do()
	if err == nil {
		err = x.translate(res)
	}
	if err == nil {
		x.finish(res)
		return res, nil
	}
	if _, ok := errors.AsType[*answer.Error](err); !ok && body.sourceErr() != nil {
		err = p.BodyError(r.Account, r.Request, body.sourceErr())
	}
	return nil, x.conceal(err)
}

// BodyError returns the answer to a request whose body could not be had.
func (p *Proxy) BodyError(a *account.Account, req *http.Request, err error) error {
	tooLong, ok := errors.AsType[*http.MaxBytesError](err)
	switch {
	case ok:
		return answer.TooLarge("the request body is larger than " + strconv.FormatInt(tooLong.Limit, 10) + " bytes")
	case errors.Is(err, errBodyTooLarge):
		return answer.TooLarge("the request body is larger than body_limit, " + strconv.FormatInt(p.BodyLimit, 10) + " bytes")
	case req.Context().Err() != nil:
		return context.Cause(req.Context())
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		p.Logger.Error("a request body could not be kept", zap.String("account", a.Name), zap.Error(err))
		return answer.Unavailable(http.StatusServiceUnavailable, "the request body could not be kept")
	}
	return answer.BadRequest("the request body could not be read")
}

// exchange is a request on its way, which may take two attempts.
type exchange struct {
	*Proxy
	Request
	ctx      context.Context // the informer, or one made from it
	informer informer
	body     *replayBody
	length   int64
	token    *account.Token // in use; nil where the request takes none
	sealing  *sealing       // nil where the request goes out as it is
	errcode  int            // of the last answer that was judged
	judged   []byte         // the beginning of its body, if the errcode was looked for there
}

func (x *exchange) do() (*http.Response, error) {
	if x.TokenParams == nil {
		return x.tryUnlessNested()
	}
	var err error
	if x.token, err = x.Account.Token(x.ctx); err != nil {
		return nil, answer.TokenFailure(err, x.Account, x.Account.Now())
	}
	if x.sealing, err = newSealing(x); err != nil {
		return nil, err
	}
	if account.IsVirtualToken(x.token.Secret()) {
		return x.tryUnlessNested()
	}
	return x.tryTwice()
}

// tryUnlessNested does the same for a request that may come back here.
func (x *exchange) tryUnlessNested() (*http.Response, error) {
	leave, err := nested.enter(&x.Request)
	if err != nil {
		return nil, err
	}
	defer leave()
	return x.tryTwice()
}

// try sends the request with the token, and looks at what the answer says of it.
func (x *exchange) try() (*http.Response, verdict, error) {
	x.redactor() // knows it from now on, for 1xx answers too
	start := time.Now()
	res, err := x.send(x.token != nil)
	if err != nil {
		if x.ctx.Err() == nil && x.body.sourceErr() == nil {
			x.Account.NotReached(time.Now())
		}
		return nil, verdict{}, err
	}
	x.Account.Reached()
	d := time.Since(start)
	if err := x.restore(res); err != nil {
		return nil, verdict{}, err
	}
	if x.token == nil && res.ContentLength < 0 {
		// It cannot be a token error, so it is not waited for.
		x.Account.Observer.Answered(d, wechat.OK)
		return res, verdict{}, nil
	}
	v, err := x.judge(res)
	if err != nil {
		return nil, verdict{}, err
	}
	v.rejected = v.rejected && x.token != nil // or else it is another's token
	x.errcode, x.judged = v.errcode, nil
	if b, ok := res.Body.(*prefixedBody); ok {
		x.judged = b.judged
	}
	x.informer.judged(v.rejected)
	x.Account.Observer.Answered(d, v.errcode)
	if v.encoded {
		x.warnOfEncoding(res.Header)
	}
	if v.accepted && x.token != nil {
		x.token.Accept()
		if v.errcode == wechat.OK {
			x.Account.Succeeded()
		}
	}
	return res, v, nil
}

// outgoing returns the request as WeChat gets it.
func (x *exchange) outgoing() *http.Request {
	in := x.Request
	out := (&http.Request{
		Method: in.Method,
		Host:   x.Target.Host,
		URL: &url.URL{
			Scheme:   x.Target.Scheme,
			Host:     x.Target.Host,
			Path:     in.URL.Path,
			RawPath:  in.URL.RawPath,
			RawQuery: in.URL.RawQuery,
		},
		Header: outgoingHeader(in.Header, x.ForwardHeaders),
		// WeChat answers a chunked request with 412.
		ContentLength: x.length,
	}).WithContext(x.ctx)
	if x.Target.Path != "" {
		out.URL.Path = x.Target.Path + in.URL.Path
		out.URL.RawPath = x.Target.EscapedPath() + in.URL.EscapedPath()
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
