package weixin

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// beijing is the time zone of WeChat's days. It has no daylight saving time.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// midnightBefore returns when the day of t began.
func midnightBefore(t time.Time) time.Time {
	y, m, d := t.In(beijing).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, beijing)
}

// midnightAfter returns when the next of WeChat's days begins.
func midnightAfter(t time.Time) time.Time { return midnightBefore(t).AddDate(0, 0, 1) }

// dayOf returns a day of WeChat's as text, such as 2026-11-21.
func dayOf(t time.Time) string { return t.In(beijing).Format(time.DateOnly) }

// Names of quotas, in the status and in metrics.
const (
	quotaFetches = "fetches"
	quotaForced  = "forced"
)

// Quota is how much of a day's quota is used up.
type Quota struct {
	Used  int `json:"used"`
	Limit int `json:"limit"`
}

// near says whether a quota is at 80 % or above.
func (q Quota) near() bool { return q.Used >= q.warnAt() && q.Limit > 0 }

// warnAt is the least use that is near the limit.
func (q Quota) warnAt() int { return (4*q.Limit + 4) / 5 }

// Quotas are an account's at its token endpoint, on one of WeChat's days, which
// begin at midnight in Beijing. All processes that share the store are counted.
type Quotas struct {
	Day     string `json:"day"`
	Fetches Quota  `json:"fetches"`
	Forced  *Quota `json:"forced,omitempty"` // where the method can force a new token
}

// quotas returns what the record tells of the day of now.
func (r *record) quotas(policy wechat.Policy, now time.Time) Quotas {
	q := Quotas{Day: dayOf(now), Fetches: Quota{Limit: policy.FetchesPerDay}}
	if r.Attempt.Day == q.Day {
		q.Fetches.Used = r.Attempt.OfDay
	}
	if policy.ForcesPerDay > 0 {
		used, _ := r.forcedSince(midnightBefore(now).Add(-1))
		q.Forced = &Quota{Used: used, Limit: policy.ForcesPerDay}
	}
	return q
}

// another returns an attempt that follows a, with nothing but its number, its
// time, and its place in the day.
func (a *attempt) another(at time.Time) attempt {
	next := attempt{Number: a.Number + 1, At: at, Day: dayOf(at), OfDay: 1}
	if a.Day == next.Day {
		next.OfDay = a.OfDay + 1
	}
	return next
}

// watchQuotas warns when a fetch has brought a quota near its end.
func (t *task) watchQuotas(now time.Time, forced bool) {
	t.state.mu.Lock()
	q := t.state.record.quotas(t.policy, now)
	t.state.mu.Unlock()
	if q.Fetches.Used == q.Fetches.warnAt() {
		t.warnOfQuota(quotaFetches, q.Fetches)
	}
	if forced && q.Forced != nil && q.Forced.Used == q.Forced.warnAt() {
		t.warnOfQuota(quotaForced, *q.Forced)
	}
}

func (t *task) warnOfQuota(name string, q Quota) {
	t.m.logger.Warn("the day's quota of the token endpoint is nearly used up", zap.String("account", t.Name),
		zap.String("quota", name), zap.Int("used", q.Used), zap.Int("limit", q.Limit), zap.String("advice", quotaAdvice(name, wechat.English)))
	t.watcher.quotaNear(name, q)
}

func quotaAdvice(quota string, lang wechat.Language) string {
	advice := [...]string{
		"Most of the day's token fetches are used up, they begin anew at midnight in Beijing: find out who or what kills this account's tokens.",
		"今日获取 token 的次数已用去大半，北京时间零点重新计算：请查找是谁或什么原因使该账号的 token 失效。",
	}
	if quota == quotaForced {
		advice = [...]string{
			"Most of the day's forced refreshes are used up, they begin anew at midnight in Beijing: WeChat goes on handing out tokens that its APIs reject.",
			"今日强制刷新的次数已用去大半，北京时间零点重新计算：微信反复发放会被其接口拒绝的 token。",
		}
	}
	return advice[lang]
}
