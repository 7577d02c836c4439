package credential

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Runner is what a process knows of a credential, and what runs by itself for
// it. The old and the new configuration share it during a reload.
type Runner struct {
	// value is the record's, nil if it has none, and useUntil until when requests
	// use it without a look at anything else, in nanoseconds since the epoch. They
	// stand side by side: what has to be looked at in memory is what takes time
	// where there are many credentials. Who reads useUntil first may get a newer
	// value than it was said of, but no older one, as useUntil is set to nothing
	// before a value is retired.
	value    atomic.Pointer[Value]
	useUntil atomic.Int64

	accepted atomic.Int64 // the generation that was last seen to be accepted

	mu      sync.Mutex
	record  record
	retired bool        // the value was rejected, and no other could be had
	locked  bool        // the fetch holds the lock in the store
	moved   atomic.Bool // whether nothing is left where earlier releases kept the record

	// dueAt is when the value is renewed if it is in use, warmAt when it is
	// renewed even if it is not. renewAt is when the next use starts its renewal,
	// in nanoseconds since the epoch: dueAt, but later while a renewal is under
	// way or has to wait.
	dueAt, warmAt moment
	renewAt       int64

	// seenAt is when this process learned of the value, and checkedAt when the
	// source last said that it is current. Others' times may be by other clocks.
	seenAt, checkedAt moment

	usedAt   moment // when somebody last needed the value
	lookedAt moment // when the store last answered

	// pausedUntil is when a rejected value may be replaced at the earliest, and
	// goodUntil until when it is not checked again, as it was found to be good.
	pausedUntil, goodUntil moment

	// orphanedUntil is when a value that the parent could not be used for is
	// looked for again by itself.
	orphanedUntil moment

	// doubtedAt is when somebody last said that the values may be withdrawn.
	doubtedAt moment

	// unreachable is the last attempt if it had no answer, which is this
	// process's trouble and none of the others'. saidUnreachable is when the
	// others were last told.
	unreachable     *attempt
	saidUnreachable moment

	// uncounted are the fetches that the record does not count yet, nil if it counts
	// all.
	uncounted *uncounted

	// adding is held while the record is saved: what one goroutine adds must not
	// get lost in what another saves.
	adding sync.Mutex

	fetch   *fetch      // in progress
	holders []*holder   // the configurations that keep the value warm, the newest last
	user    *Credential // of the configuration that did something last
	saving  saving

	stats    stats
	warnedAt moment // of a competing fetcher
}

// uncounted are fetches of a day.
type uncounted struct {
	day     string
	fetches int
}

// stats is what a process has done, for the status.
type stats struct {
	fetches       int64
	replays       int64
	fetchHistory  history
	replayHistory *history // nil as long as there was none, as with most
}

// moment is a time of this process's in nanoseconds since the epoch; 0 is none.
// There are many in a runner, of which there are many, so they are small.
type moment int64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

// NewRunner returns the runner of a credential nothing is known about.
func NewRunner() *Runner { return new(Runner) }

// Format prints nothing of what the runner knows, whatever the verb.
func (*Runner) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "runner") }

// Destruct does nothing: a runner holds no more than memory.
func (*Runner) Destruct() error { return nil }

// installLocked makes a record the runner's.
func (r *Runner) installLocked(p *Policy, next record, now time.Time) {
	changed := compareValues(&r.record, &next) != 0
	previous := r.value.Load()
	if r.record.Standing.RejectedSince.IsZero() && !next.Standing.RejectedSince.IsZero() {
		r.accepted.Store(0) // another process has seen values rejected: it counts what is seen from now on
	}
	wasVoid := r.record.isVoid()
	r.record = next
	if !changed {
		if wasVoid != next.isVoid() {
			r.serveLocked(p)
		}
		return
	}
	v := newValue(&r.record, r)
	if v == nil {
		return
	}
	sameCheck := previous != nil && previous.secret == v.secret && !r.record.CheckedAt.After(r.checkedAt.time())
	if !sameCheck {
		r.seenAt = momentOf(now)
	}
	if previous == nil || previous.generation != v.generation {
		r.retired = false
		r.goodUntil = 0
	}
	r.checkedAt = max(momentOf(r.record.CheckedAt), r.checkedAt)
	if previous == nil || previous.secret != v.secret {
		r.checkedAt = momentOf(r.record.CheckedAt)
	}
	r.pausedUntil = 0
	r.useUntil.Store(0)
	r.value.Store(v)
	r.planLocked(p)
	r.serveLocked(p)
}

// planLocked decides when the value is renewed. The jitter keeps processes and
// credentials apart.
func (r *Runner) planLocked(p *Policy) {
	v := r.value.Load()
	lead := v.lead(p)
	r.warmAt = momentOf(v.expiresAt.Add(-lead + jitter(lead/5)))
	if r.warmAt <= r.checkedAt {
		// The source was asked in that time already and gave the same value.
		checkedAt := r.checkedAt.time()
		r.warmAt = momentOf(checkedAt.Add(max(v.expiresAt.Sub(checkedAt)/4, time.Second)))
	}
	r.dueAt = r.warmAt
	if p.Recheck > 0 {
		if recheck := r.checkedAt.time().Add(p.Recheck - jitter(p.Recheck/5)); recheck.Before(r.dueAt.time()) {
			r.dueAt = momentOf(recheck)
		}
	}
	r.renewAt = int64(r.dueAt)
}

// lead is how long before its end a value is renewed: the policy's, but within
// the last fifth of its life, whatever that is.
func (v *Value) lead(p *Policy) time.Duration {
	return min(p.Lead, v.expiresAt.Sub(v.fetchedAt)/5)
}

// serveLocked lets requests use the value until there is something to be done
// about it: it has to be renewed, has expired, or its use has to be noticed.
func (r *Runner) serveLocked(p *Policy) {
	v := r.value.Load()
	if v == nil || r.retired || r.record.isVoid() {
		r.useUntil.Store(0)
		return
	}
	until := min(r.renewAt, v.expiresAt.UnixNano())
	if p.Idle > 0 {
		until = min(until, int64(r.usedAt)+int64(p.Idle/10))
	}
	r.useUntil.Store(until)
}

// holder keeps a credential's value warm on behalf of a configuration: it is
// renewed before it expires even if nobody uses it, and fetched again when a
// back-off ends. It costs one timer.
type holder struct {
	credential *Credential
	timer      *time.Timer
}

// KeepWarm starts to keep a credential's value warm, beginning with what the
// store has, after some time and then at some time within another: who has many
// credentials does not want to begin with all of them at once. A request that needs the value does
// not wait for that. KeepWarm does not wait for anything.
//
// During a reload the old and the new configuration both keep the value warm.
// The newest does the work. When it is released, because the reload failed, the
// one before goes on.
func (m *Manager) KeepWarm(c *Credential, after, within time.Duration) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user = c
	h := &holder{credential: c}
	h.timer = time.AfterFunc(math.MaxInt64, h.renew)
	if old := r.holderLocked(); old != nil {
		old.timer.Stop()
	}
	r.holders = append(r.holders, h)
	r.saving.handOver(c)
	h.beginLocked(after + jitter(within))
}

// Release ends KeepWarm, and waits for what is under way, so that no value that
// a source has issued is lost.
func (m *Manager) Release(ctx context.Context, c *Credential) {
	f, unsaved := c.unhold()
	if f != nil {
		_ = f.wait(ctx) // there is no more time
	}
	if unsaved {
		m.save(ctx, c)
	}
}

// End ends KeepWarm without waiting: a fetch that is under way ends by itself,
// and its value is in the store.
func (c *Credential) End() {
	c.unhold()
}

// unhold ends KeepWarm, and returns what is left to wait for and to save.
func (c *Credential) unhold() (f *fetch, unsaved bool) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holders = slices.DeleteFunc(r.holders, func(h *holder) bool {
		if h.credential != c {
			return false
		}
		h.timer.Stop()
		return true
	})
	heir := r.holderLocked()
	if heir == nil {
		return r.fetch, r.saving.stop()
	}
	r.user = heir.credential
	r.saving.handOver(heir.credential)
	heir.beginLocked(0)
	return r.fetch, false
}

// holderLocked returns the newest one, or nil.
func (r *Runner) holderLocked() *holder {
	if len(r.holders) == 0 {
		return nil
	}
	return r.holders[len(r.holders)-1]
}

// beginLocked sets the timer for the first time, and has a value that is not
// known yet be looked for after that time.
func (h *holder) beginLocked(after time.Duration) {
	r := h.credential.runner
	switch {
	case r.fetch != nil: // its end sets the timer
	case r.value.Load() == nil && h.credential.Policy.Idle == 0:
		h.timer.Reset(after)
	default:
		h.credential.scheduleLocked(h.credential.manager.now())
	}
}

// renew runs when the timer fires.
func (h *holder) renew() {
	c := h.credential
	r, m := c.runner, c.manager
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holderLocked() != h || r.fetch != nil || m.closed.Load() {
		return // the fetch's end sets the timer again
	}
	now := m.now()
	if c.isAsleepLocked(now) || r.record.isWithdrawn() {
		return
	}
	t := &task{Credential: c, rejected: r.isRejectedLocked(nil), timer: true}
	if at, ok := c.recoveryLocked(); ok && !now.Before(at) {
		t.rejected = true
	}
	m.startLocked(t)
}

// isAsleepLocked reports whether nobody has used the credential for so long that
// it is not renewed by itself.
func (c *Credential) isAsleepLocked(now time.Time) bool {
	return c.Policy.Idle > 0 && now.Sub(c.runner.usedAt.time()) > c.Policy.Idle
}

// recoveryPause is how often it is found out by itself whether values are
// accepted again.
const recoveryPause = 10 * time.Minute

// recoveryLocked returns when it is found out by itself whether the values that
// APIs reject are accepted again, or replaced.
func (c *Credential) recoveryLocked() (at time.Time, ok bool) {
	r := c.runner
	if r.record.Standing.RejectedSince.IsZero() || r.retired || r.value.Load() == nil || r.record.isVoid() {
		return time.Time{}, false
	}
	pause := recoveryPause
	if w := c.Policy.Rejected; w != (Waits{}) {
		pause = w.after(r.record.HandedOutAgain)
	}
	return latest(r.pausedUntil.time(), r.seenAt.time().Add(pause)), true
}

// scheduleLocked sets when the value is renewed next, by a request that uses it
// or by the runner itself.
func (c *Credential) scheduleLocked(now time.Time) {
	r := c.runner
	warmAt, dueAt := latest(latest(now, r.pausedUntil.time()), r.orphanedUntil.time()), now
	if r.usableLocked(now) != nil {
		warmAt, dueAt = latest(r.warmAt.time(), r.orphanedUntil.time()), latest(r.dueAt.time(), r.orphanedUntil.time())
		if c.Policy.isPolled() {
			warmAt = dueAt
		}
	}
	if at, ok := c.recoveryLocked(); ok && at.Before(warmAt) {
		warmAt = at
	}
	if f := r.failureLocked(c.Policy, now); f != nil {
		warmAt, dueAt = latest(warmAt, f.RetryAt), latest(dueAt, f.RetryAt)
	}
	r.renewAt = dueAt.UnixNano()
	r.serveLocked(c.Policy)
	h := r.holderLocked()
	if h == nil || h.credential.manager.closed.Load() {
		return
	}
	if h.credential.isAsleepLocked(now) || r.record.isWithdrawn() {
		h.timer.Stop()
		return
	}
	h.timer.Reset(max(warmAt.Sub(now), timerPause))
}

// timerPause keeps a timer from spinning, whatever a source answers.
const timerPause = 100 * time.Millisecond

// uncountedLocked returns how many fetches of the day of now the record does not
// count yet.
func (r *Runner) uncountedLocked(p *Policy, now time.Time) int {
	if r.uncounted == nil || r.uncounted.day != p.dayOf(now) {
		return 0
	}
	return r.uncounted.fetches
}

// countLocked counts a fetch that the record is not told of.
func (r *Runner) countLocked(p *Policy, now time.Time) {
	if day := p.dayOf(now); r.uncounted == nil || r.uncounted.day != day {
		r.uncounted = &uncounted{day: day}
	}
	r.uncounted.fetches++
}
