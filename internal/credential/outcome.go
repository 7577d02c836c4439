package credential

import (
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// sayUnreachableEvery is how often other processes are told at most that this
// one has no answer.
const sayUnreachableEvery = time.Minute

// failed notes that the source gave no value, and when to ask again. generation is
// that of the value there was when it was asked: another one that has come since
// ends the back-off before it begins.
func (t *task) failed(err error, asked time.Time, generation int64, force bool) error {
	m, r, f := t.manager, t.runner, failureOf(err)
	if f.Unreachable() || f.Uncounted {
		m.process.refund(t.Policy.FailureClass, asked)
	}
	r.mu.Lock()
	now, next := m.now(), r.record
	last := t.failuresLocked()
	unavailable := &UnavailableError{Name: t.Name, Failure: *f, RetryAt: t.Policy.retryTime(now, f.Class, last.Failures+1, force)}
	if f.Wait > 0 {
		unavailable.RetryAt = now.Add(f.Wait)
	}
	failed := next.Attempt.another(now, t.Policy, r.uncountedLocked(t.Policy, now))
	failed.Generation, failed.Failures, failed.Since = generation, last.Failures+1, last.Since
	failed.RetryAt, failed.Errcode, failed.Message, failed.Class = unavailable.RetryAt, f.Errcode, f.Message, f.Class
	if last.Failures == 0 {
		failed.Since = now
	}
	next.LastError = lastError{At: now, Errcode: f.Errcode, Message: f.Message}
	if force {
		next.Forced = append(slices.Clip(next.Forced), asked)
	}
	tell := force || !f.Unreachable() || now.Sub(r.saidUnreachable.time()) >= sayUnreachableEvery
	if f.Unreachable() {
		r.unreachable = &failed
		if tell {
			r.saidUnreachable = momentOf(now)
		}
	} else {
		next.Attempt = failed
		r.uncounted = nil
	}
	r.record = merge(r.record, next)
	r.mu.Unlock()

	if tell {
		_, _ = t.publish(next) // what is not saved is known here
	}
	_ = t.giveUp(unavailable)
	t.Observer.Failed(unavailable)
	if !f.Unreachable() {
		t.watchQuotas(now, force)
	}
	t.logFailed(unavailable, failed.Failures)
	return unavailable
}

// failuresLocked returns the last failure of those in a row, since the last
// value.
func (t *task) failuresLocked() attempt {
	r := t.runner
	var last attempt
	if f := r.record.failure(); f != nil {
		last = *f
	}
	if f := r.unreachable; f != nil && f.Generation == r.record.Generation && f.Failures > last.Failures {
		last = *f
	}
	return last
}

func (t *task) logFailed(e *UnavailableError, failures int) {
	r, m := t.runner, t.manager
	r.mu.Lock()
	usable := r.usableLocked(m.now()) != nil
	r.mu.Unlock()
	level := zapcore.ErrorLevel
	if usable || t.Policy.IsOthers != nil && t.Policy.IsOthers(e.Errcode) {
		level = zapcore.WarnLevel
	}
	fields := []zap.Field{
		zap.String("account", t.Name), zap.String("method", t.Method),
		zap.String("cause", e.Message), zap.Int("failures", failures), zap.Time("next_try", e.RetryAt),
	}
	if e.Unreachable() {
		fields = append(fields, zap.Bool("unreachable", true))
	} else {
		fields = append(fields, zap.Int("errcode", e.Errcode))
	}
	fields = append(fields, t.advice(func(a Advisor) string { return a.OnFailure(&e.Failure) }))
	m.logger.Log(level, "token fetch failed", fields...)
}

// unsaved notes that the store did not take a value that must be there before it
// is used. The value is lost.
func (t *task) unsaved(err error) error {
	r, m := t.runner, t.manager
	m.logger.Error("a new value is not used, because the store does not take it", zap.String("account", t.Name),
		zap.String("method", t.Method), zap.Error(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	now := m.now()
	last := t.failuresLocked()
	failed := attempt{Generation: r.record.Generation, Failures: last.Failures + 1, At: now, Since: last.Since, Message: "the store does not take it"}
	failed.RetryAt = t.Policy.retryTime(now, Transient, failed.Failures, false)
	if last.Failures == 0 {
		failed.Since = now
	}
	r.unreachable = &failed
	return &UnsavedError{t.Name, err}
}

// diedEarlyLocked reports whether a rejected value would have lived on if nobody
// had fetched another. A value that follows one which nobody saw accepted tells
// nothing: there are APIs that reject every value.
func (t *task) diedEarlyLocked(v *Value, now time.Time) bool {
	return !t.Policy.Idempotent && (t.runner.isAcceptedLocked() || t.runner.record.RejectedInARow == 0) &&
		now.Before(v.expiresAt.Add(-v.lead(t.Policy)))
}

// watchCompetition warns, at most once in competingWindow, of somebody else who
// fetches.
func (t *task) watchCompetition(now time.Time) {
	t.Observer.DiedEarly()
	r := t.runner
	r.mu.Lock()
	deaths := r.record.earlyDeaths(now)
	suspected := deaths >= competingDeaths && now.After(r.warnedAt.time().Add(competingWindow))
	if suspected {
		r.warnedAt = momentOf(now)
	}
	r.mu.Unlock()
	if !suspected {
		return
	}
	t.manager.logger.Warn("the account's tokens die before their time: another system seems to fetch tokens with the same AppSecret",
		zap.String("account", t.Name), zap.Int("deaths", deaths), zap.Duration("within", competingWindow), t.advice(Advisor.OnCompetition))
	t.Observer.CompetingFetcher(deaths)
}

// watchQuotas warns when a fetch has brought a quota near its end.
func (t *task) watchQuotas(now time.Time, forced bool) {
	t.runner.mu.Lock()
	q := t.runner.record.quotas(t.Policy, now, t.runner.uncountedLocked(t.Policy, now))
	t.runner.mu.Unlock()
	if q.Fetches.Limit > 0 && q.Fetches.Used == q.Fetches.warnAt() {
		t.warnOfQuota(QuotaFetches, q.Fetches)
	}
	if forced && q.Forced != nil && q.Forced.Used == q.Forced.warnAt() {
		t.warnOfQuota(QuotaForced, *q.Forced)
	}
}

func (t *task) warnOfQuota(name string, q Quota) {
	t.manager.logger.Warn("the day's quota of the token endpoint is nearly used up", zap.String("account", t.Name),
		zap.String("quota", name), zap.Int("used", q.Used), zap.Int("limit", q.Limit),
		t.advice(func(a Advisor) string { return a.OnQuota(name) }))
	t.Observer.QuotaNear(name, q)
}
