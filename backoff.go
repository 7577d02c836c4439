package weixin

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Back-off after a failed fetch, doubled with every failure in a row.
const (
	transientBackoffMin     = 200 * time.Millisecond
	transientBackoffMax     = 30 * time.Second
	configurationBackoffMin = time.Second
	configurationBackoffMax = 5 * time.Minute
	quotaJitter             = 10 * time.Second // after midnight
)

// retryTime returns when to ask a token endpoint again after so many failures
// in a row, of which the last was err. Where a token was to be forced, a quota
// that is used up is that of forcing.
func retryTime(now time.Time, err error, failures int, forced bool) time.Time {
	class := wechat.Transient
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		class = wechat.ClassifyFailure(wxErr.Code)
	}
	if forced && class == wechat.DailyQuota {
		class = wechat.Transient
	}
	switch class {
	case wechat.DailyQuota:
		return midnightAfter(now).Add(jitter(quotaJitter))
	case wechat.Configuration:
		return now.Add(backoff(configurationBackoffMin, configurationBackoffMax, failures))
	default:
		return now.Add(backoff(transientBackoffMin, transientBackoffMax, failures))
	}
}

func backoff(least, most time.Duration, failures int) time.Duration {
	d := least
	for range failures - 1 {
		if d *= 2; d >= most {
			d = most
			break
		}
	}
	return min(d+jitter(d/10), most)
}

// longestBackoff is how long a back-off can be after an errcode.
func longestBackoff(errcode int) time.Duration {
	switch wechat.ClassifyFailure(errcode) {
	case wechat.DailyQuota:
		return 24*time.Hour + quotaJitter
	case wechat.Configuration:
		return configurationBackoffMax
	default:
		return transientBackoffMax
	}
}

// rejectionPause is how long a token that was rejected stays in place before
// another is fetched, after so many in a row that nobody saw accepted. A few
// are replaced at once: tokens can die in quick succession. After that it is
// not the tokens.
func rejectionPause(strikes int) time.Duration {
	const free = 20
	if strikes < free {
		return 0
	}
	return backoff(time.Second, 30*time.Second, strikes-free+1)
}

// TokenError says why there is no usable access_token for an account.
type TokenError struct {
	Account string

	// Errcode and Message are the cause. The errcode is the token endpoint's,
	// or 0 where it did not answer with one.
	Errcode int
	Message string

	// RetryAt is when the token endpoint will be asked again.
	RetryAt time.Time

	// Timeout says that the endpoint did not answer in time.
	Timeout bool

	// BackingOff says that the endpoint was not asked this time.
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

// Advice says what an operator has to do about it, or nothing.
func (e *TokenError) Advice(lang wechat.Language) string {
	return wechat.Advice(e.Errcode, e.Message, lang)
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
var errStillRejected = errors.New("the token is not replaced again so soon")
