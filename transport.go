package weixin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

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

	bodyBuffer int64 // bytes of a request body kept in memory
	bodyLimit  int64 // bytes of a request body at most
}

// roundTrip sends req to the target on behalf of an account. The context is the
// request's or one made from it. virtual says that the client knows virtual
// tokens only. Errors are of type *proxyError, except
// for those of the connection to WeChat.
func (t *transport) roundTrip(ctx context.Context, a *Account, target *url.URL, req *http.Request, virtual bool) (*http.Response, error) {
	if err := wechat.CheckPath(req.URL); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, badRequest(err.Error())
	}
	body, length, err := newReplayBody(req, t.bodyBuffer, t.bodyLimit)
	if err != nil {
		return nil, t.bodyError(a, req, err)
	}
	defer body.release()
	ctx = upstream.WithResolver(ctx, a.Resolver)
	x := &exchange{transport: t, ctx: ctx, account: a, in: req, target: target, body: body, length: length, virtual: virtual}
	res, err := x.do()
	if err == nil {
		x.concealHeader(res.Header)
		return res, nil
	}
	if _, ok := errors.AsType[*proxyError](err); !ok && body.sourceErr() != nil {
		err = t.bodyError(a, req, body.sourceErr())
	}
	if text := x.conceal(err.Error()); text != err.Error() {
		err = errors.New(text)
	}
	return nil, err
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
	ctx     context.Context // the request's, or one made from it
	account *Account
	in      *http.Request
	target  *url.URL
	body    *replayBody
	length  int64
	token   *Token // in use; nil where the path takes none
	virtual bool
}

func (x *exchange) do() (*http.Response, error) {
	place := &x.account.Place
	if !place.Takes(x.in.URL.Path) {
		return x.base.RoundTrip(x.outgoing())
	}
	var err error
	if x.token, err = x.tokens.Token(x.ctx, x.account); err != nil {
		return nil, tokenFailure(err, x.account, x.tokens.now())
	}
	res, v, err := x.try()
	if err != nil {
		return nil, err
	}
	if !v.rejected {
		return res, nil
	}
	return x.replay(res, v.errcode)
}

// replay gets another token and sends the request again. first is the answer
// that rejected the token: it is the client's where there is nothing better.
func (x *exchange) replay(first *http.Response, errcode int) (*http.Response, error) {
	logger := x.logger.With(zap.String("account", x.account.Name), zap.Int("errcode", errcode),
		zap.String("method", x.in.Method), zap.String("path", x.in.URL.Path), zap.Stringer("rejected", x.token))
	fresh, err := x.tokens.Refresh(x.ctx, x.account, x.token)
	if errors.Is(err, errStillRejected) {
		logger.Warn("request not replayed: WeChat refuses it with every token")
		return x.refused(first, errcode, "WeChat refuses this request with every token of account "+x.account.Name)
	}
	if err != nil {
		first.Body.Close()
		return nil, tokenFailure(err, x.account, x.tokens.now())
	}
	if err := x.body.replayable(); err != nil {
		logger.Error("request not replayed: its body could not be kept", zap.Error(err))
		return x.refused(first, errcode, "the request body could not be kept for another attempt")
	}
	first.Body.Close()
	x.account.state.replays.Add(1)
	x.account.state.replayHistory.add(x.tokens.now())
	x.token = fresh
	res, v, err := x.try()
	if err != nil {
		return nil, err
	}
	x.account.watcher.replayed(errcode, !v.rejected)
	res.Header.Set(replayedHeader, strconv.Itoa(errcode))
	if v.rejected {
		logger.Warn("request replayed in vain", zap.Stringer("token", fresh), zap.Int("replay_errcode", v.errcode))
		answer, err := x.refused(res, v.errcode, "WeChat refuses this request with every token of account "+x.account.Name)
		if refusal, ok := errors.AsType[*proxyError](err); ok {
			refusal.replayed = errcode
		}
		return answer, err
	}
	logger.Info("request replayed", zap.Stringer("token", fresh))
	return res, nil
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
	start := time.Now()
	res, err := x.base.RoundTrip(x.outgoing())
	if err != nil {
		return nil, verdict{}, err
	}
	if res.StatusCode < http.StatusOK {
		res.Body.Close()
		return nil, verdict{}, fmt.Errorf("an answer with status %d", res.StatusCode)
	}
	d := time.Since(start)
	v := inspect(res, &x.account.Place)
	x.account.watcher.answered(d, v.errcode)
	if v.accepted {
		x.token.accept()
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
		Header: outgoingHeader(in.Header),
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
	if x.token != nil {
		out.URL.RawQuery = wechat.SetQueryParam(in.URL.RawQuery, x.account.Place.Parameter, x.token.escaped)
	}
	if x.body != nil {
		out.Body = x.body.open()
		out.GetBody = func() (io.ReadCloser, error) { return x.body.open(), nil }
	}
	return out
}

// outgoingHeader returns a request's header without what concerns the way from
// the client to the proxy alone.
func outgoingHeader(in http.Header) http.Header {
	out := make(http.Header, len(in)+1)
	for name, values := range in {
		if !isHopHeader(name) {
			out[name] = values
		}
	}
	dropConnectionFields(out, in["Connection"])
	out["Accept-Encoding"] = identityEncoding
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = nil // or else it would be Go's
	}
	return out
}

// dropConnectionFields removes from a header what a Connection header names.
func dropConnectionFields(h http.Header, connection []string) {
	for _, field := range connection {
		for name := range strings.SplitSeq(field, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
}

var identityEncoding = []string{"identity"}

func isHopHeader(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect", "Content-Length",
		"Accept-Encoding", "Forwarded", "Via",
		"Authorization": // it is for the proxy: a caller's key, say
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// conceal removes the account's secrets from a text, even if it repeats what
// WeChat has sent.
func (x *exchange) conceal(text string) string {
	if x.token != nil {
		text = x.token.redact(text)
	}
	return wechat.Redact(text, x.account.Credentials.AppSecret)
}

// concealHeader removes the account's secrets from where an answer may repeat
// the request's URL.
func (x *exchange) concealHeader(h http.Header) {
	for _, name := range [...]string{"Location", "Content-Location", "Refresh"} {
		for i, value := range h[name] {
			h[name][i] = x.conceal(value)
		}
	}
}
