package credential

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// remedy is what to do about a value that is missing, due or rejected.
type remedy uint8

const (
	noRemedy   remedy = iota
	fetchValue        // ask the source for its current value
	forceValue        // ask the source for a new one
	reuseValue        // try the same once more
)

// choose decides, and returns why where there is nothing to be done.
//
// A source that hands out the rejected value again may be right: WeChat's parts
// do not always agree, and it passes. So the value is tried again first, and a
// new one is forced only if that was in vain, or if it goes on. Whatever the
// source does, there is no loop: forcing has its budget, a source that insists is
// asked every few seconds, and values that nobody saw accepted are not replaced
// again and again.
func (t *task) choose() (remedy, error) {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	now := t.manager.now()
	v := r.value.Load()
	if !t.rejected || !v.isLive(now) || r.record.isVoid() {
		return fetchValue, nil
	}
	if r.record.HandedOutAgain > 0 {
		accepted := r.isAcceptedLocked()
		if (!accepted || r.record.HandedOutAgain >= handedOutAgainMax) && r.record.mayForce(t.Policy, now) {
			t.logRejected(v, now)
			return forceValue, nil
		}
		if next := r.seenAt.time().Add(t.insistPause(r.record.HandedOutAgain)); now.Before(next) {
			if accepted {
				return reuseValue, nil
			}
			return t.pauseLocked(next)
		}
	}
	if next := r.seenAt.time().Add(rejectionPause(r.rejectedInARowLocked())); now.Before(next) {
		return t.pauseLocked(next)
	}
	if !r.record.mayReplace(t.Policy, now) {
		return t.pauseLocked(now.Add(time.Minute))
	}
	t.logRejected(v, now)
	return fetchValue, nil
}

// insistPause is how long the source is not asked again after it has handed out
// a rejected value for the nth time.
func (t *task) insistPause(n int) time.Duration {
	if t.Policy.Rejected != (Waits{}) {
		return t.Policy.Rejected.after(n)
	}
	return insistPause
}

// rejectionPause is how long a value that was rejected stays in place before
// another is fetched, after so many in a row that nobody saw accepted. A few are
// replaced at once: values can die in quick succession. After that it is not the
// values.
func rejectionPause(rejectedInARow int) time.Duration {
	const free = 20
	if rejectedInARow < free {
		return 0
	}
	return Waits{time.Second, 30 * time.Second}.after(rejectedInARow - free + 1)
}

// rejectedInARowLocked returns how many values in a row, with the current one,
// were rejected without having been seen accepted.
func (r *Runner) rejectedInARowLocked() int {
	if r.isAcceptedLocked() {
		return 0
	}
	return r.record.RejectedInARow + 1
}

// pauseLocked leaves a rejected value in place until a time.
func (t *task) pauseLocked(until time.Time) (remedy, error) {
	r := t.runner
	if !r.pausedUntil.time().Equal(until) {
		t.manager.logger.Warn("a rejected token is not replaced for now", zap.String("account", t.Name),
			zap.Stringer("token", r.value.Load()), zap.Time("until", until),
			zap.String("advice", "find out whether another system fetches tokens for this account"))
	}
	r.pausedUntil = momentOf(until)
	r.rejectLocked(t.manager.now())
	return noRemedy, ErrStillRejected
}

func (t *task) logRejected(v *Value, now time.Time) {
	t.manager.logger.Warn("token rejected", zap.String("account", t.Name), zap.Stringer("token", v),
		zap.Duration("age", now.Sub(v.fetchedAt)))
}

// replayedInVain notes that a value was rejected that was handed out in place of
// another.
func (r *Runner) replayedInVain(v *Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if current := r.value.Load(); current != nil && current.generation == v.generation && !r.isAcceptedLocked() && r.user != nil {
		r.rejectLocked(r.user.manager.now())
	}
}

// reuse has the rejected value tried again without asking the source, which
// handed it out a moment ago.
func (t *task) reuse(ctx context.Context) (*Value, error) {
	t.runner.mu.Lock()
	next := t.runner.record
	t.runner.mu.Unlock()
	next.Generation = next.nextGeneration(t.manager.now())
	next.RejectedInARow = 0
	v, err := t.publish(next)
	sleep(ctx, ReplayPause)
	return v, err
}
