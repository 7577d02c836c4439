package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
)

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

// replay gets another token and sends the request again. first is the answer
// that rejected the token: it is the client's where there is nothing better.
func (x *exchange) replay(first *http.Response, errcode int) (*http.Response, error) {
	logger := x.Logger.With(zap.String("account", x.Account.Name), zap.Int("errcode", errcode),
		zap.String("method", x.Method), zap.String("path", x.URL.Path), zap.Stringer("rejected", x.token))
	fresh, err := x.Account.Replace(x.ctx, x.token, x.by())
	if errors.Is(err, account.ErrStillRejected) {
		x.gaveUp(errcode, zapcore.WarnLevel, "request not replayed: WeChat refuses it with every token", nil)
		return x.refused(first, errcode, "WeChat refuses this request with every token of account "+x.Account.Name)
	}
	if err != nil {
		first.Body.Close()
		if x.ctx.Err() == nil {
			x.Account.Observer.Replayed(errcode, account.ReplayGaveUp)
		}
		return nil, answer.TokenFailure(err, x.Account, x.Account.Now())
	}
	if err := x.body.replayable(); err != nil {
		x.gaveUp(errcode, zapcore.ErrorLevel, "request not replayed: its body could not be kept", err)
		return x.refused(first, errcode, "the request body could not be kept for another attempt")
	}
	first.Body.Close()
	x.Account.CountReplay()
	x.token = fresh.Value
	res, v, err := x.try()
	if err != nil && x.endedByClient() {
		fresh.Forfeit()
	} else {
		// Where WeChat gives no answer, nothing is known against whoever asked.
		fresh.Report(err != nil || !v.rejected)
	}
	if err != nil {
		return nil, err
	}
	res.Header.Set(answer.ReplayedHeader, strconv.Itoa(errcode))
	x.Outcome.Replayed = errcode
	if v.rejected {
		x.Account.Observer.Replayed(errcode, account.ReplayRejected)
		x.logGivenUp(zapcore.WarnLevel, "request replayed in vain", errcode, zap.Stringer("token", fresh), zap.Int("replay_errcode", v.errcode))
		given, err := x.refused(res, v.errcode, "WeChat refuses this request with every token of account "+x.Account.Name)
		if refusal, ok := errors.AsType[*answer.Error](err); ok {
			refusal.Replayed = errcode
		}
		return given, err
	}
	x.Account.Observer.Replayed(errcode, account.ReplayOK)
	logger.Info("request replayed", zap.Stringer("token", fresh))
	return res, nil
}

// endedByClient reports whether the client has left or its body has failed. Who
// does so before the answer could have fetches go unaccounted for.
func (x *exchange) endedByClient() bool {
	return x.Context().Err() != nil || x.body.sourceErr() != nil
}

// refused returns the answer to a request whose token WeChat refuses for good.
// A client that knows virtual tokens only would take WeChat's answer for one
// about its own token, which is valid, and fetch another, again and again.
func (x *exchange) refused(res *http.Response, errcode int, cause string) (*http.Response, error) {
	if !x.Virtual {
		return res, nil
	}
	res.Body.Close()
	return nil, answer.Unavailable(http.StatusServiceUnavailable, fmt.Sprintf("%s (errcode %d)", cause, errcode))
}

// gaveUp notes that a request is not sent again.
func (x *exchange) gaveUp(errcode int, level zapcore.Level, message string, cause error) {
	x.Account.Observer.Replayed(errcode, account.ReplayGaveUp)
	x.logGivenUp(level, message, errcode, zap.Error(cause))
}

// logGivenUp logs that WeChat's refusal stays.
func (x *exchange) logGivenUp(level zapcore.Level, message string, errcode int, fields ...zap.Field) {
	x.Log.Log(level, answer.Cause{Message: message, Account: x.Account.Name, Errcode: errcode},
		append(fields, zap.String("account", x.Account.Name), zap.Int("errcode", errcode),
			zap.String("caller", x.Caller),
			zap.String("method", x.Method), zap.String("path", x.URL.Path))...)
}
