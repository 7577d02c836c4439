package weixin

import (
	"net/http"
	"testing"
	"time"
)

// BenchmarkMetrics is what the metrics add to a request.
func BenchmarkMetrics(b *testing.B) {
	m := collectors()
	r := &reporter{
		metrics: m, account: "shop",
		servedOK: m.requests.WithLabelValues("shop", "200"),
		latency:  m.upstream.WithLabelValues("shop"),
	}
	for name, w := range map[string]accountObserver{"on": r, "off": nobody{}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w.answered(30*time.Millisecond, 0)
					w.served("", http.StatusOK)
				}
			})
		})
	}
}
