package weixin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// accountObserver is an account's observer. It fills the metrics and emits Caddy's
// events.
type accountObserver struct {
	*metrics
	account string
	ctx     caddy.Context
	events  *caddyevents.App

	// What nearly every request counts is looked up once.
	servedOK prometheus.Counter
	latency  prometheus.Observer
}

// observers returns a function that returns an account's observer.
func observers(ctx caddy.Context) (func(account string) *accountObserver, error) {
	m := collectors()
	events, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %v", err)
	}
	return func(account string) *accountObserver {
		// A counter that appears with its first event hides that one from rate.
		m.fetches.WithLabelValues(account, "ok")
		m.deaths.WithLabelValues(account)
		return &accountObserver{
			metrics: m, account: account, ctx: ctx, events: events.(*caddyevents.App),
			servedOK: m.requests.WithLabelValues(account, codeOK),
			latency:  m.upstream.WithLabelValues(account),
		}
	}, nil
}

// Fetched implements credential.Observer.
func (o *accountObserver) Fetched(token *account.Token) {
	o.fetches.WithLabelValues(o.account, "ok").Inc()
	o.events.Emit(o.ctx, "weixin.token_refreshed", map[string]any{
		"account": o.account, "fingerprint": token.Fingerprint(), "expires_at": token.ExpiresAt(),
	})
}

// Failed implements credential.Observer.
func (o *accountObserver) Failed(err *credential.UnavailableError) {
	event := map[string]any{"account": o.account, "errmsg": err.Message, "retry_at": err.RetryAt}
	result := "unreachable"
	if err.Unreachable() {
		event["unreachable"] = true
	} else {
		result = wechat.ErrcodeLabel(err.Errcode)
		event["errcode"] = err.Errcode
	}
	o.fetches.WithLabelValues(o.account, result).Inc()
	o.events.Emit(o.ctx, "weixin.token_failed", event)
}

// DiedEarly implements credential.Observer.
func (o *accountObserver) DiedEarly() {
	o.deaths.WithLabelValues(o.account).Inc()
}

// CompetingFetcher implements credential.Observer.
func (o *accountObserver) CompetingFetcher(deaths int) {
	o.events.Emit(o.ctx, "weixin.thief_suspected", map[string]any{"account": o.account, "deaths": deaths})
}

// QuotaNear implements credential.Observer.
func (o *accountObserver) QuotaNear(quota string, q credential.Quota) {
	o.events.Emit(o.ctx, "weixin.quota_near", map[string]any{
		"account": o.account, "quota": quota, "used": q.Used, "limit": q.Limit,
	})
}

// Answered implements account.Observer.
func (o *accountObserver) Answered(d time.Duration, errcode int) {
	o.latency.Observe(d.Seconds())
	if errcode != 0 {
		o.errcodes.WithLabelValues(o.account, wechat.ErrcodeLabel(errcode)).Inc()
	}
}

// Replayed implements account.Observer.
func (o *accountObserver) Replayed(errcode int, result account.ReplayResult) {
	o.replays.WithLabelValues(o.account, wechat.ErrcodeLabel(errcode), string(result)).Inc()
}

// Served implements account.Observer.
func (o *accountObserver) Served(caller string, status int) {
	if status == http.StatusOK {
		o.servedOK.Inc()
		o.called(caller, o.account, codeOK)
		return
	}
	code := strconv.Itoa(status)
	o.requests.WithLabelValues(o.account, code).Inc()
	o.called(caller, o.account, code)
}

// codeOK is the label of most answers.
var codeOK = strconv.Itoa(http.StatusOK)
