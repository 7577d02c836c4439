package credential

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// fetch is one goroutine's work on a credential, for all who wait for it.
type fetch struct {
	done  chan struct{}
	value *Value
	err   error

	good      bool      // the rejected value was found to be good
	by        string    // on whose word the value is rejected
	chargedAt time.Time // when the source was asked on that word
}

// wait waits until the fetch has ended, as long as ctx allows. The error is that
// of ctx.
func (f *fetch) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// result returns what the fetch has brought for one who waited for it, and
// whether that is of use to it.
func (f *fetch) result(c *Credential, rejected *Value, now time.Time) (Replacement, bool) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.usableLocked(now)
	switch {
	case v == nil:
		return Replacement{}, false
	case r.supersedesLocked(rejected):
		return Replacement{Value: v}, true
	case f.good && f.value.generation == v.generation:
		return Replacement{Value: v, Wait: ReplayPause}, true
	default:
		return Replacement{}, false
	}
}

// task is what a fetch is about.
type task struct {
	*Credential

	by         string // on whose word the value is rejected
	rejected   bool   // the value was rejected
	checked    bool   // there is no doubt of that
	early      bool   // the value is replaced before it is due
	byOperator bool
	gently     bool // for somebody who is no operator
	timer      bool // by itself
	doubted    bool // an API says that it was withdrawn

	withdrawn bool // it was, when the source was asked

	replaces *Value // the value to replace; nil if there is none
	fetch    *fetch
}

// startLocked begins a fetch. There must be no other.
func (m *Manager) startLocked(t *task) *fetch {
	r := t.runner
	r.user = t.Credential
	f := &fetch{done: make(chan struct{}), by: t.by}
	t.fetch, t.replaces = f, r.value.Load()
	r.fetch = f
	m.running.begin()
	go func() {
		defer m.running.end()
		// A fetch ends by itself: a client that goes away must not cost the
		// others their value, nor a reload a value that was just issued.
		ctx, cancel := context.WithTimeout(context.Background(), taskTimeout)
		defer cancel()
		f.value, f.err = t.run(ctx)
		r.mu.Lock()
		r.fetch = nil
		t.scheduleLocked(m.now())
		r.mu.Unlock()
		close(f.done)
	}()
	return f
}

// run gets a value from the store or from the source.
func (t *task) run(ctx context.Context) (*Value, error) {
	m := t.manager
	if t.isQuiet() {
		return t.ask(ctx, false)
	}
	storeErr := m.pull(ctx, t.Credential)
	v, err := t.settled()
	if v != nil && !t.isRejectedToo(ctx, v) {
		return v, nil
	}
	if v != nil {
		t.replaces, t.checked = v, true
	}
	if t.rejected && !t.checked {
		if v := t.check(ctx); v != nil {
			return v, nil
		}
	}
	if err != nil {
		return nil, t.giveUp(err)
	}
	if storeErr != nil && t.Durability == BeforeUse {
		return nil, &UnsavedError{t.Name, storeErr}
	}
	// Who has no parent to ask with need not wait for the lock.
	if t.Parent != nil {
		if _, err := m.Value(ctx, t.Parent); err != nil {
			return nil, t.giveUp(t.orphaned(err))
		}
	}
	// A store that fails has no lock to wait for.
	if storeErr == nil {
		unlock := m.lock(ctx, t.Credential, func() bool {
			v, err := t.settled()
			return v != nil || err != nil
		})
		t.setLocked(true)
		defer unlock()
		defer t.setLocked(false)
		_ = m.pull(ctx, t.Credential)
		if v, err := t.settled(); v != nil || err != nil {
			return v, t.giveUp(err)
		}
	}
	if err := t.refuseGently(); err != nil {
		return nil, err
	}
	switch remedy, err := t.choose(); remedy {
	case fetchValue:
		return t.ask(ctx, false)
	case forceValue:
		return t.ask(ctx, true)
	case reuseValue:
		return t.reuse(ctx)
	default:
		return nil, err
	}
}

// setLocked notes whether the fetch holds the lock, or nobody has it.
func (t *task) setLocked(locked bool) {
	t.runner.mu.Lock()
	defer t.runner.mu.Unlock()
	t.runner.locked = locked
}

// lookEvery is how often a recheck looks into the store, which may have lost the
// record.
const lookEvery = time.Hour

// isQuiet reports whether the task is but a recheck of a value in use, of which
// the store need not hear.
func (t *task) isQuiet() bool {
	r, now := t.runner, t.manager.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.Policy.rechecksQuietly() && t.Durability == BestEffort && !t.rejected && !t.early && r.usableLocked(now) != nil &&
		now.Before(r.warmAt.time()) && now.Before(r.lookedAt.time().Add(lookEvery)) && r.failureLocked(t.Policy, now) == nil
}

// settled returns the value the task is out for, if there is one by now, or an
// error if none is to be had.
func (t *task) settled() (*Value, error) {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	now := t.manager.now()
	if v := r.usableLocked(now); v != nil {
		switch {
		case t.replaces == nil:
			return v, nil
		case v.generation > t.replaces.generation && (!t.rejected || r.supersedesLocked(t.replaces)) && !t.gently:
			return v, nil
		case !t.rejected && !t.early && now.Before(r.dueAt.time()):
			return v, nil
		}
	}
	if t.gently || t.byOperator && r.record.isWithdrawn() {
		return nil, nil // there are rules of its own; and an operator may know better
	}
	return nil, t.backingOffLocked(now)
}

// giveUp retires a rejected value for which there is no other.
func (t *task) giveUp(err error) error {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.value.Load(); err != nil && t.rejected && v != nil && t.replaces != nil && v.generation == t.replaces.generation {
		r.retireLocked()
	}
	return err
}

// check finds out whether the value is rejected indeed, before others lose it on
// one client's word. It returns the value where it is good.
func (t *task) check(ctx context.Context) *Value {
	r, m := t.runner, t.manager
	r.mu.Lock()
	v := r.value.Load()
	live := v.isLive(m.now()) && !r.record.isVoid()
	r.mu.Unlock()
	if !live {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if t.Source.Check(ctx, v) != Good {
		return nil
	}
	r.mu.Lock()
	if current := r.value.Load(); current.generation != v.generation {
		r.mu.Unlock()
		return nil
	}
	now := m.now()
	r.goodUntil = momentOf(now.Add(checkMemory))
	r.restoreLocked(t.Policy)
	v = r.value.Load()
	r.mu.Unlock()
	v.Accept()
	t.fetch.good = true
	m.logger.Info("a token is good though a request was refused for it", zap.String("account", t.Name), zap.Stringer("token", v))
	return v
}

// isRejectedToo reports whether a value that the store had in place of the rejected
// one has died since. Nobody in this process has used it, and a request is sent
// again only once.
func (t *task) isRejectedToo(ctx context.Context, v *Value) bool {
	if !t.rejected || t.replaces == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return t.Source.Check(ctx, v) == Rejected
}

// refuseGently returns why a renewal is refused to one who is no operator.
func (t *task) refuseGently() error {
	if !t.gently {
		return nil
	}
	r, now := t.runner, t.manager.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.record.failure(); f != nil && r.failureLocked(t.Policy, now) == f {
		return &RefusedError{Reason: BackingOff, RetryAt: f.RetryAt, Failure: &Failure{Errcode: f.Errcode, Message: f.Message, Class: f.Class}}
	}
	if at := r.record.RenewedAt.Add(RenewGap); now.Before(at) && !at.After(now.Add(RenewGap)) {
		return &RefusedError{Reason: TooSoon, RetryAt: at}
	}
	if r.record.quotas(t.Policy, now, r.uncountedLocked(t.Policy, now)).Fetches.Near() {
		return &RefusedError{Reason: QuotaNear, RetryAt: t.Policy.dayAfter(now)}
	}
	r.record.RenewedAt = now
	return nil
}
