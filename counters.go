package weixin

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
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

// ticketFetches counts requests for tickets, across configurations.
var ticketFetches = sync.OnceValue(func() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_weixin_ticket_fetches_total",
		Help: "Requests of the proxy's own for a ticket, by their result, ok or the errcode.",
	}, []string{"account", "type", "result"})
})
