package answer

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// TokenFailure returns the answer to a request that got no token.
func TokenFailure(err error, a *account.Account, now time.Time) error {
	if tokenErr, ok := errors.AsType[*account.TokenError](err); ok {
		return ofToken(tokenErr, now)
	}
	if errors.Is(err, upstream.ErrNestedFetch) {
		return Of(LoopDetected(err), a, "")
	}
	if unsaved, ok := errors.AsType[*credential.UnsavedError](err); ok {
		return Unavailable(http.StatusServiceUnavailable, unsaved.Error())
	}
	if errors.Is(err, account.ErrStillRejected) {
		return Unavailable(http.StatusServiceUnavailable, "WeChat refuses every token of account "+a.Name)
	}
	return ClientGone()
}

// ofToken returns the answer where a token endpoint gave no token.
func ofToken(e *account.TokenError, now time.Time) *Error {
	p := &Error{Status: http.StatusBadGateway, Errcode: e.Errcode, Message: e.Error()}
	isLoop := upstream.TellsOfLoop(e.UnavailableError.Message)
	if advice := e.Advice(wechat.English); advice != "" && !isLoop { // which has its cure in the message
		p.Message += ". " + advice
	}
	if e.Timeout {
		p.Status = http.StatusGatewayTimeout
	}
	if e.BackingOff {
		p.Status = http.StatusServiceUnavailable
		p.RetryAfter = max(e.RetryAt.Sub(now), time.Second)
	}
	if isLoop {
		p.Status = http.StatusLoopDetected
	}
	p.Errcode = OwnErrcode(e.Errcode)
	if own := e.Account.Kind.OwnErrcode; own != wechat.OK {
		p.Errcode = own
	}
	return p
}

// OwnErrcode returns the errcode with which the proxy tells of a failure of its own
// call, 0 where that got no answer. At an API some of WeChat's would mean the token
// of the request, and SDKs would fetch another.
func OwnErrcode(errcode int) int {
	switch errcode {
	case wechat.OK, wechat.InvalidAccessToken, wechat.AccessTokenExpired:
		return wechat.SystemBusy
	case wechat.InvalidCredential:
		return wechat.InvalidAppSecret
	default:
		return errcode
	}
}
