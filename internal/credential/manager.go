package credential

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/store"
)

const (
	// fetchTimeout bounds one request to a source.
	fetchTimeout = 10 * time.Second

	// checkTimeout bounds one check of a value, for which a request waits.
	checkTimeout = 3 * time.Second

	// taskTimeout bounds all that is done for one new value: reading the store,
	// waiting for the lock, fetching.
	taskTimeout = 30 * time.Second

	// ReplayPause is the wait before a request is replayed with the value that
	// was rejected.
	ReplayPause = 100 * time.Millisecond

	// insistPause is how often a source is asked while it insists on a rejected
	// value.
	insistPause = 3 * time.Second

	// A value that was handed out again so often in a row, with no longer than
	// that in between, is replaced even if some requests get through with it.
	handedOutAgainMax   = 5
	handedOutAgainApart = time.Minute

	// checkMemory is how long a value that was found to be good is not checked
	// again, however many say that it is rejected.
	checkMemory = time.Second

	// RenewGap is the time between renewals that anybody may ask for.
	RenewGap = 10 * time.Second
)

// Manager keeps credentials supplied with valid values, on behalf of one
// configuration.
//
// A value is looked for in the runner, in the store, and at the source, in that
// order. It is saved in the store before anybody uses it. At any time one
// goroutine of the process works on a credential, and holds its lock in the
// store while it asks the source; everybody else waits for its result, or goes
// on with the value there is.
type Manager struct {
	store   *sharedStore
	process *Process
	logger  *zap.Logger
	now     func() time.Time // without a monotonic reading, as times are shared
	closed  atomic.Bool
	running running
}

// Config is what a Manager works with.
type Config struct {
	Store   store.Store
	Process *Process
	Logger  *zap.Logger
}

// NewManager returns a manager of a configuration.
func NewManager(c Config) *Manager {
	return &Manager{
		store:   &sharedStore{store: c.Store, logger: c.Logger},
		process: c.Process,
		logger:  c.Logger,
		now:     func() time.Time { return time.Now().Round(0) },
	}
}

// Now returns the time by which the manager goes.
func (m *Manager) Now() time.Time { return m.now() }

// Close ends what runs by itself for credentials that nobody has released.
func (m *Manager) Close() { m.closed.Store(true) }

// Bind completes a credential with what the process knows of it.
func (m *Manager) Bind(c *Credential, r *Runner) *Credential {
	c.manager, c.runner = m, r
	if c.Observer == nil {
		c.Observer = Unobserved{}
	}
	return c
}

// Value returns the credential's value. Where there is none it waits for one, as
// long as ctx allows. The error is an *UnavailableError or *UnsavedError,
// ErrStillRejected, or that of ctx.
func (m *Manager) Value(ctx context.Context, c *Credential) (*Value, error) {
	if v := c.Current(m.now()); v != nil {
		return v, nil
	}
	m.confirmOverdue(ctx, c)
	got, err := m.await(ctx, c, nil, "")
	if err == nil && m.confirmOverdue(ctx, c) { // it came from the store
		got, err = m.await(ctx, c, nil, "")
	}
	return got.Value, err
}

// Replacement is what to use in place of a rejected value.
type Replacement struct {
	*Value

	// Wait is how long to wait before: the value is the rejected one, which was
	// found to be good.
	Wait time.Duration

	// for whom it was fetched, if it was
	process   *Process
	by        string
	requester string // by what the process counts it
	chargedAt time.Time
}

// Report tells what came of it: helped reports whether the value was not
// rejected again.
func (p *Replacement) Report(helped bool) {
	if !helped {
		p.Forfeit()
		if r := p.runner; r != nil {
			r.replayedInVain(p.Value)
		}
	} else if p.process != nil {
		p.process.discharge(p.requester, p.chargedAt)
	}
	p.process = nil
}

// Forfeit tells that nobody will know what came of it, because of whoever asked.
// It counts as a fetch that brought nothing.
func (p *Replacement) Forfeit() {
	if p.process != nil && p.runner != nil {
		p.runner.noteVain(p.by, p.chargedAt)
	}
	p.process = nil
}

// Replace returns a value to use in place of one that an API has rejected. It is
// compare-and-swap: where another has taken the rejected one's place already, it
// returns that. by names who says so; who had values fetched in vain too often
// is not listened to for a while.
//
// The error is ErrStillRejected where the value is not replaced for now,
// otherwise as that of Value.
func (m *Manager) Replace(ctx context.Context, c *Credential, rejected *Value, by string) (Replacement, error) {
	return m.await(ctx, c, rejected, by)
}

// leastLeft is the lifetime below which SDKs refuse a token.
const leastLeft = time.Minute

// ValueLasting returns a value that lives for that long at least, if the source
// gives one. Where every fetch kills the value before, half of its life is
// enough. It is for values that leave the process.
func (m *Manager) ValueLasting(ctx context.Context, c *Credential, left time.Duration) (*Value, error) {
	v, err := m.Value(ctx, c)
	if err != nil {
		return nil, err
	}
	now := m.now()
	if !c.Policy.Idempotent {
		left = min(left, v.expiresAt.Sub(v.fetchedAt)/2)
	}
	r := c.runner
	r.mu.Lock()
	if v.expiresAt.Sub(now) >= left || now.Before(r.seenAt.time().Add(insistPause)) {
		r.mu.Unlock()
		return v, nil
	}
	f, failure := r.fetch, c.backingOffLocked(now)
	if f == nil && failure == nil {
		f = m.startLocked(&task{early: true, Credential: c})
	}
	r.mu.Unlock()
	if failure != nil && v.expiresAt.Sub(now) < leastLeft {
		return nil, failure
	}
	if f != nil {
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
	return m.Value(ctx, c)
}

// await returns a usable value other than the rejected one, if one is given.
func (m *Manager) await(ctx context.Context, c *Credential, rejected *Value, by string) (Replacement, error) {
	// A fetch that began before the value was rejected may bring it back; the
	// next one knows.
	for range 3 {
		got, f, err := m.takeOrStart(c, rejected, by)
		if f == nil {
			return got, err
		}
		if err := f.wait(ctx); err != nil {
			return Replacement{}, err
		}
		if f.err != nil {
			return Replacement{}, f.err
		}
		if got, ok := f.result(c, rejected, m.now()); ok {
			if !f.chargedAt.IsZero() && f.by == by {
				got.process, got.by, got.requester, got.chargedAt = m.process, by, c.requester(by), f.chargedAt
			}
			return got, nil
		}
	}
	return Replacement{}, ErrStillRejected
}

// takeOrStart returns what there is, or the fetch to wait for.
func (m *Manager) takeOrStart(c *Credential, rejected *Value, by string) (Replacement, *fetch, error) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	now := m.now()
	if v := r.usableLocked(now); v != nil && r.supersedesLocked(rejected) {
		if rejected == nil {
			m.useLocked(c, now)
		}
		return Replacement{Value: r.value.Load()}, nil, nil
	}
	if v := r.usableLocked(now); v != nil && now.Before(r.goodUntil.time()) {
		return Replacement{Value: v, Wait: ReplayPause}, nil, nil
	}
	if r.fetch != nil {
		return Replacement{}, r.fetch, nil
	}
	backingOff := c.backingOffLocked(now)
	if backingOff != nil && c.mayHaveComeLocked(now) {
		r.lookedAt = momentOf(now) // also if the store does not answer
		return Replacement{}, m.startLocked(&task{Credential: c, rejected: r.isRejectedLocked(rejected), by: by}), nil
	}
	switch {
	case backingOff != nil && (rejected == nil || r.retired || r.usableLocked(now) == nil):
		return Replacement{}, nil, backingOff
	case rejected != nil && (m.process.isVain(c.requester(by), now) || r.record.isVain(by, now)):
		return Replacement{}, nil, ErrStillRejected
	case backingOff == nil && now.Before(r.pausedUntil.time()):
		return Replacement{}, nil, ErrStillRejected
	}
	r.usedAt = momentOf(now)
	return Replacement{}, m.startLocked(&task{Credential: c, rejected: r.isRejectedLocked(rejected), by: by}), nil
}

// isRejectedLocked reports whether the current value is a rejected one: it is
// retired, or no other than that one.
func (r *Runner) isRejectedLocked(rejected *Value) bool {
	return r.value.Load() != nil && (r.retired || !r.supersedesLocked(rejected))
}

// useLocked has the current value be used, and starts the renewal of one that is
// due, which stays in use meanwhile.
func (m *Manager) useLocked(c *Credential, now time.Time) {
	r := c.runner
	wasAsleep := c.isAsleepLocked(now)
	r.usedAt = momentOf(now)
	if wasAsleep {
		c.scheduleLocked(now)
	}
	if now.UnixNano() >= r.renewAt {
		r.renewAt = math.MaxInt64
		if r.fetch == nil {
			m.startLocked(&task{Credential: c})
		}
	}
	r.serveLocked(c.Policy)
}

// Renew gets another value at once, whatever went before: it ends a back-off. If
// the fingerprint of a rejected value is given, it does so only if that is the
// current one still. It is for operators, and for systems that have found a
// value rejected themselves.
func (m *Manager) Renew(ctx context.Context, c *Credential, rejected string) error {
	return m.renew(ctx, c, func(r *Runner) *task {
		v := r.value.Load()
		if rejected != "" && r.usableLocked(m.now()) != nil && v.fingerprint != rejected {
			return nil
		}
		r.endBackoffLocked(m.now())
		if rejected != "" && v != nil && v.fingerprint == rejected {
			return &task{Credential: c, rejected: true, checked: true}
		}
		return &task{Credential: c, early: true, byOperator: true}
	})
}

// RenewGently is Renew for those who are no operators: not within RenewGap of
// another such renewal by whichever process, not during a back-off, and not when
// most of the day's quota is used up. A refusal is a *RefusedError.
func (m *Manager) RenewGently(ctx context.Context, c *Credential) error {
	return m.renew(ctx, c, func(*Runner) *task { return &task{Credential: c, early: true, gently: true} })
}

// renew waits for a fetch of its own.
func (m *Manager) renew(ctx context.Context, c *Credential, begin func(*Runner) *task) error {
	r := c.runner
	r.mu.Lock()
	for r.fetch != nil {
		f := r.fetch
		r.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			return err
		}
		r.mu.Lock()
	}
	t := begin(r)
	if t == nil {
		r.mu.Unlock()
		return nil
	}
	f := m.startLocked(t)
	r.mu.Unlock()
	if err := f.wait(ctx); err != nil {
		return err
	}
	return f.err
}

// EndBackoff has the source be asked again at the next need, as what it waited
// for has come.
func (m *Manager) EndBackoff(c *Credential) {
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	c.runner.endBackoffLocked(m.now())
	c.runner.user = c
	c.runner.saveSoonLocked()
	c.scheduleLocked(m.now())
}

// endBackoffLocked notes a success that never was, so that other processes give
// up their back-off as well.
func (r *Runner) endBackoffLocked(now time.Time) {
	r.record.Attempt = r.record.endedBackoff(now)
	r.unreachable, r.pausedUntil = nil, 0
}

// backingOffLocked returns an error while the source must not be asked because
// of an earlier failure.
func (c *Credential) backingOffLocked(now time.Time) error {
	if err := c.withdrawnLocked(); err != nil {
		return err
	}
	f := c.runner.failureLocked(c.Policy, now)
	if f == nil {
		f = c.runner.apartLocked(c.Policy, now)
	}
	if f == nil {
		return nil
	}
	return &UnavailableError{
		Name: c.Name, Failure: Failure{Errcode: f.Errcode, Message: f.Message, Class: f.Class}, RetryAt: f.RetryAt, BackingOff: true,
	}
}

// mayHaveComeLocked reports whether what the source waits for, or a value, may have
// come to another process since the store was last looked into.
func (c *Credential) mayHaveComeLocked(now time.Time) bool {
	every := c.Policy.LookEvery
	return every > 0 && !now.Before(c.runner.lookedAt.time().Add(every))
}

// apartLocked returns the last attempt while it is too early for another, though
// a value has come since: what the attempt failed for is no longer the cause.
func (r *Runner) apartLocked(p *Policy, now time.Time) *attempt {
	last := r.record.Attempt
	last.RetryAt = last.At.Add(p.Apart)
	if p.Apart == 0 || last.Failures == 0 || !now.Before(last.RetryAt) || last.RetryAt.Sub(now) > p.Apart {
		return nil
	}
	if why := p.Refused; why.Message != "" {
		last.Errcode, last.Message, last.Class = why.Errcode, why.Message, why.Class
	}
	return &last
}

// backedOffLocked returns the attempt for which the source is not asked at the
// moment, or nil. Where nothing is to be had, a failure counts until the next fetch
// begins: that is the timer's, and it may be late.
func (r *Runner) backedOffLocked(p *Policy, now time.Time) *attempt {
	if f := r.failureLocked(p, now); f != nil {
		return f
	}
	if r.usableLocked(now) != nil {
		return nil
	}
	if f := r.apartLocked(p, now); f != nil {
		return f
	}
	h := r.holderLocked()
	if h == nil || h.credential.manager.closed.Load() || h.credential.isAsleepLocked(now) || r.fetch != nil || r.record.isWithdrawn() {
		return nil
	}
	f := r.failureLocked(p, now.Add(-mostLate))
	if f == nil {
		return nil
	}
	due := *f
	due.RetryAt = now
	return &due
}

// mostLate is how late the fetch after a back-off may begin. The one before ends
// once its failure is stored, which may be after the back-off.
const mostLate = 10 * time.Second

// failureLocked returns the last attempt if the source must not be asked yet
// because of it. A time that no back-off can have led to is that of a clock that
// was wrong.
func (r *Runner) failureLocked(p *Policy, now time.Time) *attempt {
	for _, f := range []*attempt{r.record.failure(), r.unreachable} {
		if f == nil || f.Generation != r.record.Generation || !now.Before(f.RetryAt) {
			continue
		}
		if f.RetryAt.Sub(now) <= p.longestBackoff(f.Class) {
			return f
		}
	}
	return nil
}
