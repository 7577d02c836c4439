package weixin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// platformCollector tells of the platforms at the time it is asked. Its labels are
// the platforms' names, never the accounts that have authorised them.
type platformCollector struct{}

var (
	verifyTicketDesc = prometheus.NewDesc("caddy_weixin_platform_ticket_timestamp_seconds",
		"When WeChat issued the platform's newest component_verify_ticket, or 0 where none was pushed.", []string{"account"}, nil)
	authorizersDesc = prometheus.NewDesc("caddy_weixin_platform_authorizers",
		"The accounts that have authorised the platform: known to all processes, or in_memory of this one.", []string{"account", "place"}, nil)
)

// Describe implements prometheus.Collector.
func (platformCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- verifyTicketDesc
	ch <- authorizersDesc
}

// Collect implements prometheus.Collector. A ticket may have been pushed to another
// process, so the store is asked, for a second at most.
func (platformCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := runningNow()
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	s.platforms.look(ctx)
	for _, p := range s.platforms.all {
		details, name := detailsOf(ctx, p), p.Component.Name
		received := 0.0
		if at := details.Ticket.ReceivedAt; !at.IsZero() {
			received = float64(at.Unix())
		}
		gauge(verifyTicketDesc, received, name)
		gauge(authorizersDesc, float64(details.Authorizers.InMemory), name, "in_memory")
		if known := details.Authorizers.Known; known != nil {
			gauge(authorizersDesc, float64(*known), name, "known")
		}
	}
}
