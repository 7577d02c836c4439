package weixin

import "github.com/prometheus/client_golang/prometheus"

// ticketCollector tells how old the accounts' tickets are at the time it is
// asked.
type ticketCollector struct{}

var ticketAgeDesc = prometheus.NewDesc("caddy_weixin_ticket_age_seconds",
	"How long ago WeChat last handed out the account's ticket.", []string{"account", "type"}, nil)

// Describe implements prometheus.Collector.
func (ticketCollector) Describe(ch chan<- *prometheus.Desc) { ch <- ticketAgeDesc }

// Collect implements prometheus.Collector.
func (ticketCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := runningNow()
	if err != nil {
		return
	}
	now := s.tokens.credentials.Now()
	for a := range s.accounts.All() {
		for _, t := range s.tokens.tickets.status(a) {
			if t.Fingerprint != "" {
				ch <- prometheus.MustNewConstMetric(ticketAgeDesc, prometheus.GaugeValue, now.Sub(t.CheckedAt).Seconds(), a.Name, t.Type)
			}
		}
	}
}
