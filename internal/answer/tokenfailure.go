package weixin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// TokenError is why there is no usable access_token for an account.
type TokenError struct {
	Account string

	// Errcode and Message are the cause. The errcode is the token endpoint's,
	// or 0 where it did not answer with one.
	Errcode int
	Message string

	// RetryAt is when the token endpoint will be asked again.
	RetryAt time.Time

	// Timeout reports whether the endpoint did not answer in time.
	Timeout bool

	// BackingOff reports whether the endpoint was not asked this time.
	BackingOff bool
}

// Error returns the account and the cause.
func (e *TokenError) Error() string {
	return fmt.Sprintf("no access_token for account %s: %s", e.Account, e.cause())
}

func (e *TokenError) cause() string {
	if e.Errcode == 0 {
		return e.Message
	}
	return (&wechat.Error{Code: e.Errcode, Msg: e.Message}).Error()
}

// Advice returns what an operator has to do about it, or nothing.
func (e *TokenError) Advice(lang wechat.Language) string {
	return failureAdvice(e.Errcode, e.Message, lang)
}

// proxyError returns the answer to a request that needed the token.
func (e *TokenError) proxyError(now time.Time) *proxyError {
	p := &proxyError{status: http.StatusBadGateway, errcode: e.Errcode, message: e.Error()}
	if advice := e.Advice(wechat.English); advice != "" {
		p.message += ". " + advice
	}
	if e.Timeout {
		p.status = http.StatusGatewayTimeout
	}
	if e.BackingOff {
		p.status = http.StatusServiceUnavailable
		p.retryAfter = max(e.RetryAt.Sub(now), time.Second)
	}
	if tellsOfLoop(e.Message) {
		p.status = http.StatusLoopDetected
	}
	// At an API these would mean the token, and SDKs would fetch another.
	switch e.Errcode {
	case 0, wechat.InvalidAccessToken, wechat.AccessTokenExpired:
		p.errcode = wechat.SystemBusy
	case wechat.InvalidCredential:
		p.errcode = wechat.InvalidAppSecret
	}
	return p
}

// errStillRejected says that a rejected token is not replaced for now, because
// new ones do not help or WeChat gives none.
var errStillRejected = credential.ErrStillRejected

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || ok && netErr.Timeout()
}
