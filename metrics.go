package weixin

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// allCollectors are what the module's metrics are collected from: what is counted
// as it happens, and what is looked up when it is asked for.
func allCollectors() []prometheus.Collector {
	m := collectors()
	return []prometheus.Collector{
		m.build, m.requests, m.callers, m.replays, m.fetches, m.errcodes, m.deaths, m.upstream, ticketFetches(),
		accountCollector{},
		ticketCollector{},
		platformCollector{},
	}
}

// registerMetrics registers the module's metrics with a configuration's registry.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range allCollectors() {
		if err := registry.Register(c); err != nil {
			if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); !ok {
				return fmt.Errorf("registering metrics: %v", err)
			}
		}
	}
	return nil
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
	is, err := runningNow()
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	up := 0.0
	if is.tokens.store.State().Up {
		up = 1
	}
	gauge(storeUpDesc, up)
	for _, a := range is.all() {
		s := is.tokens.Status(a)
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
		if limit := s.Quota.Fetches.Limit; limit > 0 {
			gauge(quotaLimitDesc, float64(limit), s.Name, credential.QuotaFetches)
		}
		if s.Quota.Forced != nil {
			gauge(quotaUsedDesc, float64(s.Quota.Forced.Used), s.Name, credential.QuotaForced)
			gauge(quotaLimitDesc, float64(s.Quota.Forced.Limit), s.Name, credential.QuotaForced)
		}
	}
}
