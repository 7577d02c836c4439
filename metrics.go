package weixin

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// collectors are the metrics of the process. Each configuration has a registry
// of its own, in which the same collectors are registered, so that no count is
// lost in a reload.
var collectors = sync.OnceValue(func() *metrics {
	const namespace, subsystem = "caddy", "weixin"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	return &metrics{
		requests: counter("requests_total", "Requests of clients, by the status they were answered with.", "account", "code"),
		callers:  counter("caller_requests_total", "Requests of callers, by the status they were answered with.", "caller", "account", "code"),
		replays:  counter("replays_total", "Requests refused for their token, by the errcode and the result: ok or rejected of those sent again, gave_up of the others.", "account", "errcode", "result"),
		fetches:  counter("token_fetches_total", "Requests to token endpoints, by their result, ok or the errcode.", "account", "result"),
		errcodes: counter("errcodes_total", "Answers of WeChat's with an errcode other than 0.", "account", "errcode"),
		deaths:   counter("token_early_deaths_total", "Tokens rejected well before their time because somebody had fetched another.", "account"),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "upstream_seconds",
			Help:    "The time until the header of WeChat's answer came.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"account"}),
		build: buildInfo(),
	}
})

// buildInfo is 1, with the version in its label.
func buildInfo() prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "caddy_weixin_build_info",
		Help:        "The version of the module.",
		ConstLabels: prometheus.Labels{"version": moduleVersion()},
	})
	g.Set(1)
	return g
}

// metrics are the collectors. Labels are account names, which come from the
// configuration, and what WeChat and the proxy answer, never what clients send.
type metrics struct {
	requests, callers, replays, fetches, errcodes, deaths *prometheus.CounterVec

	upstream *prometheus.HistogramVec
	build    prometheus.Gauge
	accounts accountCollector
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.build, m.requests, m.callers, m.replays, m.fetches, m.errcodes, m.deaths, m.upstream, m.accounts, ticketFetches(), ticketCollector{}, platformCollector{}}
}

func (m *metrics) register(registry *prometheus.Registry) error {
	for _, c := range m.collectors() {
		if err := registry.Register(c); err != nil {
			if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); !ok {
				return err
			}
		}
	}
	return nil
}

// countRefusal counts an error of the proxy's own.
func countRefusal(e *answer.Error) {
	if e.Account == nil {
		collectors().unclear(e.Caller, e.Status)
		return
	}
	e.Account.Observer.Served(e.Caller, e.Status)
}

// unclear counts a request whose account could not be told.
func (m *metrics) unclear(caller string, status int) {
	code := strconv.Itoa(status)
	m.requests.WithLabelValues("", code).Inc()
	m.called(caller, "", code)
}

// called counts a caller's request.
func (m *metrics) called(caller, account, code string) {
	if caller != "" {
		m.callers.WithLabelValues(caller, account, code).Inc()
	}
}

// accountCollector tells the accounts' state at the time it is asked, whichever
// process has fetched the token.
type accountCollector struct{}

var (
	expiryDesc = prometheus.NewDesc("caddy_weixin_token_expiry_timestamp_seconds",
		"When the account's token expires.", []string{"account"}, nil)
	stateDesc = prometheus.NewDesc("caddy_weixin_state",
		"1 for the state that the account is in, 0 for the others: empty, ok, renewing, rejected, backoff.", []string{"account", "state"}, nil)
	infoDesc = prometheus.NewDesc("caddy_weixin_account_info",
		"1, with the account's kind, to join it to other metrics.", []string{"account", "kind"}, nil)
	quotaUsedDesc = prometheus.NewDesc("caddy_weixin_quota_used",
		"What is used up of the day's quota at the token endpoint, fetches or forced.", []string{"account", "quota"}, nil)
	quotaLimitDesc = prometheus.NewDesc("caddy_weixin_quota_limit",
		"The day's quota at the token endpoint, fetches or forced.", []string{"account", "quota"}, nil)
)

var storeUpDesc = prometheus.NewDesc("caddy_weixin_store_up",
	"Whether the store works: 1, or 0 while it does not and tokens are kept in memory alone.", nil, nil)

// Describe implements prometheus.Collector.
func (accountCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- storeUpDesc
	ch <- expiryDesc
	ch <- stateDesc
	ch <- infoDesc
	ch <- quotaUsedDesc
	ch <- quotaLimitDesc
}

// Collect implements prometheus.Collector.
func (accountCollector) Collect(ch chan<- prometheus.Metric) {
	app, err := runningApp()
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	up := 0.0
	if app.tokens.store.State().Up {
		up = 1
	}
	gauge(storeUpDesc, up)
	for _, a := range app.allServed() {
		s := app.tokens.Status(a)
		if s.Fingerprint != "" {
			gauge(expiryDesc, float64(s.ExpiresAt.Unix()), s.Name)
		}
		for _, state := range credential.States {
			value := 0.0
			if state == s.State {
				value = 1
			}
			gauge(stateDesc, value, s.Name, string(state))
		}
		gauge(infoDesc, 1, s.Name, s.Kind)
		gauge(quotaUsedDesc, float64(s.Quota.Fetches.Used), s.Name, credential.QuotaFetches)
		gauge(quotaLimitDesc, float64(s.Quota.Fetches.Limit), s.Name, credential.QuotaFetches)
		if s.Quota.Forced != nil {
			gauge(quotaUsedDesc, float64(s.Quota.Forced.Used), s.Name, credential.QuotaForced)
			gauge(quotaLimitDesc, float64(s.Quota.Forced.Limit), s.Name, credential.QuotaForced)
		}
	}
}

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
	if err := m.register(ctx.GetMetricsRegistry()); err != nil {
		return nil, fmt.Errorf("registering metrics: %v", err)
	}
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
