package weixin

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// ticketFetches counts requests for tickets, across configurations.
var ticketFetches = sync.OnceValue(func() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_weixin_ticket_fetches_total",
		Help: "Requests of the proxy's own for a ticket, by their result, ok or the errcode.",
	}, []string{"account", "type", "result"})
})

// ticketCollector tells how old the accounts' tickets are at the time it is
// asked.
type ticketCollector struct{}

var ticketAgeDesc = prometheus.NewDesc("caddy_weixin_ticket_age_seconds",
	"How long ago WeChat last handed out the account's ticket.", []string{"account", "type"}, nil)

// Describe implements prometheus.Collector.
func (ticketCollector) Describe(ch chan<- *prometheus.Desc) { ch <- ticketAgeDesc }

// Collect implements prometheus.Collector.
func (ticketCollector) Collect(ch chan<- prometheus.Metric) {
	app, err := runningApp()
	if err != nil {
		return
	}
	now := app.tokens.credentials.Now()
	for a := range app.accounts.All() {
		for _, t := range app.tokens.tickets.status(a) {
			if t.Fingerprint != "" {
				ch <- prometheus.MustNewConstMetric(ticketAgeDesc, prometheus.GaugeValue, now.Sub(t.CheckedAt).Seconds(), a.Name, t.Type)
			}
		}
	}
}
