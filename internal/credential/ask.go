package credential

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// ask asks the source, by way of the parent where there is one.
func (t *task) ask(ctx context.Context, force bool) (*Value, error) {
	m, r := t.manager, t.runner
	parent, err := t.parentValue(ctx)
	if err != nil {
		return nil, t.giveUp(t.orphaned(err))
	}
	r.mu.Lock()
	works := r.value.Load() != nil && t.failuresLocked().Failures == 0
	r.mu.Unlock()
	asked, retryAt := m.process.reserve(ctx, t.Policy, works, m.now)
	if !retryAt.IsZero() {
		return nil, t.giveUp(t.spent(retryAt, asked))
	}
	defer m.process.settle(t.Policy.FailureClass)
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r.mu.Lock()
	secret := r.record.keptSecret()
	t.withdrawn = r.record.isWithdrawn()
	generation := r.record.Generation
	r.mu.Unlock()
	t.charge(asked)
	grant, err := t.Source.Fetch(ctx, parent, secret, force)
	if err != nil && parent != nil && failureOf(err).ParentRejected {
		grant, err = t.askAgain(ctx, parent, secret, force, err)
	}
	if err != nil {
		return t.notGranted(err, asked, generation, force)
	}
	m.process.refund(t.Policy.FailureClass, asked)
	v, err := t.granted(ctx, grant, asked, force)
	if err == nil && t.byOperator {
		v = t.confirm(ctx, v)
	}
	return v, err
}

// parentValue returns the parent's value, nil where there is no parent.
func (t *task) parentValue(ctx context.Context) (*Value, error) {
	if t.Parent == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return t.manager.Value(ctx, t.Parent)
}

// confirm finds out whether an operator's new value ends a time in which the
// values were rejected.
func (t *task) confirm(ctx context.Context, v *Value) *Value {
	r := t.runner
	r.mu.Lock()
	rejected := !r.record.Standing.RejectedSince.IsZero()
	r.mu.Unlock()
	if !rejected {
		return v
	}
	if good := t.check(ctx); good != nil {
		return good
	}
	return v
}

// BudgetSpent is the message where FailuresPerHour are used up.
const BudgetSpent = "too many fetches of this kind have failed within an hour"

// spent notes that the budget of failures is used up until a time.
func (t *task) spent(until, now time.Time) error {
	e := &UnavailableError{
		Name: t.Name, RetryAt: until, BackingOff: true,
		Failure: Failure{Message: BudgetSpent},
	}
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	last := t.failuresLocked()
	soon := now.Add(t.Policy.waits(Transient).Most)
	if soon.After(until) {
		soon = until
	}
	r.unreachable = &attempt{
		Generation: r.record.Generation, Failures: last.Failures, Since: last.Since, At: now, RetryAt: soon,
		Errcode: last.Errcode, Class: last.Class, Message: e.Message,
	}
	return e
}

// charge counts the fetch for the one on whose word it is made.
func (t *task) charge(at time.Time) {
	if t.by != "" && t.rejected {
		t.fetch.chargedAt = at
		t.manager.process.charge(t.requester(t.by), at)
	}
}

// notGranted returns the value that has come from elsewhere meanwhile, or notes
// the failure. generation is that of the value there was when the source was
// asked.
func (t *task) notGranted(err error, asked time.Time, generation int64, force bool) (*Value, error) {
	if orphaned, ok := errors.AsType[*orphanedError](err); ok {
		return nil, t.giveUp(t.refusedByParent(orphaned, asked))
	}
	err = t.failed(err, asked, generation, force)
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.usableLocked(t.manager.now()); v != nil && v.generation > generation {
		return v, nil
	}
	return nil, err
}

// orphanedError is that the parent's value was refused and that there is no other.
type orphanedError struct {
	refusal error // of the source
	cause   error // why the parent has no other value
}

func (e *orphanedError) Error() string { return e.cause.Error() }

// orphanPause is how long a value that there is no parent for is not looked for
// by itself.
const orphanPause = 30 * time.Second

// orphaned returns the error where the parent has no value. There is no back-off
// of its own: the parent's next value has to work at once.
func (t *task) orphaned(err error) error {
	r := t.runner
	r.mu.Lock()
	r.orphanedUntil = momentOf(t.manager.now().Add(orphanPause))
	r.mu.Unlock()
	if u, ok := errors.AsType[*UnavailableError](err); ok {
		orphaned := *u
		orphaned.Name = t.Name
		return &orphaned
	}
	return err
}

// refusedByParent is orphaned where the source was asked with the parent's value.
func (t *task) refusedByParent(e *orphanedError, asked time.Time) error {
	t.manager.process.refund(t.Policy.FailureClass, asked)
	r := t.runner
	r.mu.Lock()
	r.countLocked(t.Policy, asked)
	r.mu.Unlock()
	err := t.orphaned(e.cause)
	t.Observer.Failed(&UnavailableError{Name: t.Name, Failure: *failureOf(e.refusal)})
	return err
}

// parentsTried is with how many of the parent's values the source is asked at
// most, where these come from outside.
const parentsTried = 3

// askAgain asks once more with another value of the parent's, after the first was
// rejected; or with several, where the parent's source has no other way to learn
// that they are no good.
func (t *task) askAgain(ctx context.Context, parent *Value, secret string, force bool, cause error) (Grant, error) {
	for range parentsTried {
		other, err := t.manager.Replace(ctx, t.Parent, parent, "")
		if errors.Is(err, ErrStillRejected) {
			return Grant{}, cause // it stays in use, so there has to be a back-off
		}
		if err != nil {
			return Grant{}, &orphanedError{cause, err}
		}
		sleep(ctx, other.Wait)
		grant, err := t.Source.Fetch(ctx, other.Value, secret, force)
		rejected := err != nil && failureOf(err).ParentRejected
		other.Report(!rejected)
		if err == nil {
			other.Accept()
		}
		if !rejected || t.Parent.Policy.Apart == 0 {
			return grant, err
		}
		parent, cause = other.Value, err
	}
	return Grant{}, &orphanedError{cause, cause}
}

// granted saves and publishes a value that the source has handed out.
func (t *task) granted(ctx context.Context, grant Grant, asked time.Time, force bool) (*Value, error) {
	if v := t.stillCurrent(grant, asked); v != nil {
		return v, nil
	}
	if t.isStale() {
		_ = t.manager.pull(ctx, t.Credential)
	}
	r := t.runner
	r.mu.Lock()
	r.stats.fetches++
	r.stats.fetchHistory.add(asked)
	previous, next := r.value.Load(), r.record
	same := grant.Value == next.AccessToken
	diedEarly := t.rejected && !t.doubted && !same && previous != nil && t.diedEarlyLocked(previous, asked)
	if diedEarly {
		next.Deaths = append(slices.Clip(next.Deaths), asked)
	}
	t.succeedLocked(&next, grant, same, asked)
	t.grantLocked(&next, asked)
	if force {
		next.Forced = append(slices.Clip(next.Forced), asked)
	}
	next.Attempt = next.Attempt.another(asked, t.Policy, r.uncountedLocked(t.Policy, asked))
	next.Attempt.Generation = next.Generation
	r.uncounted, r.unreachable = nil, nil
	r.mu.Unlock()

	v, err := t.publish(next)
	if err != nil {
		return nil, t.unsaved(err)
	}
	t.Observer.Fetched(v)
	t.watchQuotas(asked, force)
	if diedEarly {
		t.watchCompetition(asked)
	}
	t.logGranted(v, same, previous == nil, force)
	if same && t.rejected {
		sleep(ctx, ReplayPause)
	}
	return v, nil
}

// isStale reports whether the store may know a newer value, as it was not looked
// into before the source was asked.
func (t *task) isStale() bool {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	return !t.rejected && !t.early && t.manager.now().Before(r.warmAt.time())
}

// stillCurrent returns the value where a recheck has brought the same, of which
// nobody else has to know.
func (t *task) stillCurrent(grant Grant, asked time.Time) *Value {
	r, p := t.runner, t.Policy
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.value.Load()
	if t.rejected || v == nil || r.retired || !p.rechecksQuietly() || grant.Value != v.secret || r.record.failure() != nil {
		return nil
	}
	if moved := asked.Add(grant.ExpiresIn).Sub(v.expiresAt); moved.Abs() > expiryTolerance || !t.manager.now().Before(r.warmAt.time()) {
		return nil
	}
	r.stats.fetches++
	r.stats.fetchHistory.add(asked)
	r.countLocked(p, asked)
	r.checkedAt, r.seenAt = momentOf(asked), momentOf(asked)
	r.unreachable = nil
	r.planLocked(p)
	r.serveLocked(p)
	t.manager.logger.Debug("token is still current", zap.String("account", t.Name), zap.Stringer("token", v))
	return r.value.Load()
}

// expiryTolerance is by how much the end of a value can seem to move, as
// lifetimes are told in seconds and answers take their time.
const expiryTolerance = 15 * time.Second

// succeedLocked has a record's value be succeeded by what was handed out.
func (t *task) succeedLocked(next *record, grant Grant, same bool, asked time.Time) {
	r := t.runner
	lead := time.Duration(0)
	if v := r.value.Load(); v != nil {
		lead = v.lead(t.Policy)
	}
	// Without a rejection, the same value again is the same value.
	switch {
	case !same || t.rejected:
		next.RejectedInARow = 0
		if t.rejected && r.value.Load() != nil {
			next.RejectedInARow = r.rejectedInARowLocked()
		}
		switch {
		case !same:
			next.HandedOutAgain = 0
		case asked.Sub(latest(next.CheckedAt, r.checkedAt.time())) > handedOutAgainApart, t.Policy.Rejected != (Waits{}) && r.isAcceptedLocked():
			next.HandedOutAgain = 1
		default:
			next.HandedOutAgain++
		}
		next.Generation = next.nextGeneration(asked)
	case next.isVoid():
		next.Generation = next.nextGeneration(asked) // it is good again
	}
	next.ExpiresAt = t.Policy.expiry(asked, grant, same, next.ExpiresAt, lead)
	if !same {
		next.AccessToken = grant.Value
		next.FetchedAt = asked
	}
	next.CheckedAt = asked
	next.Kept = next.Kept.keep(grant.Kept, asked)
}

// grantLocked notes what a value that was handed out says of a withdrawal: it is
// over, if it was known before the source was asked. Or else the value may have
// been withdrawn as well.
func (t *task) grantLocked(next *record, asked time.Time) {
	switch {
	case !next.isWithdrawn():
	case t.withdrawn:
		next.grantNow(asked)
	default:
		next.Withdrawal.Generation = max(next.Withdrawal.Generation, next.Generation)
		next.Withdrawal.Kept = max(next.Withdrawal.Kept, next.Kept.Version)
	}
}

func (t *task) logGranted(v *Value, same, first, force bool) {
	logger, fields := t.manager.logger, []zap.Field{
		zap.String("account", t.Name), zap.String("method", t.Method),
		zap.Stringer("token", v), zap.Duration("lifetime", v.expiresAt.Sub(t.manager.now()).Round(time.Second)),
	}
	switch {
	case same && t.rejected:
		logger.Warn("WeChat hands out the rejected token again", fields...)
	case same:
		logger.Debug("token is still current", fields...)
	case first || t.rejected:
		logger.Log(t.Policy.levelOfCourse(), "token fetched", append(fields, zap.Bool("forced", force))...)
	default:
		logger.Log(t.Policy.levelOfCourse(), "token renewed", fields...)
	}
}

// publish saves a record, whose value may be used from then on.
func (t *task) publish(next record) (*Value, error) {
	shared, err := t.manager.push(t.Credential, next)
	if err != nil {
		return nil, err
	}
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.installLocked(t.Policy, merge(r.record, shared), t.manager.now())
	return r.value.Load(), nil
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
