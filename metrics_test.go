package weixin

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
)

// BenchmarkMetrics is what the metrics add to a request.
func BenchmarkMetrics(b *testing.B) {
	m := collectors()
	r := &accountObserver{
		metrics: m, account: "shop",
		servedOK: m.requests.WithLabelValues("shop", "200"),
		latency:  m.upstream.WithLabelValues("shop"),
	}
	for name, w := range map[string]account.Observer{"on": r, "off": account.Unobserved{}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w.Answered(30*time.Millisecond, 0)
					w.Served("", http.StatusOK)
				}
			})
		})
	}
}
