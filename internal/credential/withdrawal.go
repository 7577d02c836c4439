package credential

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// withdrawal is the last news that whoever granted a credential's values has
// taken that back. What there was by then is void, also when they are granted
// again.
type withdrawal struct {
	At         time.Time `json:"at,omitzero"`
	Generation int64     `json:"generation,omitempty"` // of the last value that is void
	Kept       int64     `json:"kept,omitempty"`       // the version of the last secret that is void
}

func compareWithdrawals(a, b *withdrawal) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Generation, b.Generation), cmp.Compare(a.Kept, b.Kept))
}

// tick is the time by which one piece of news is later than another of the same
// second. Those who tell them count in seconds.
const tick = time.Millisecond

// isWithdrawn reports whether the last news is a withdrawal.
func (r *record) isWithdrawn() bool { return r.Withdrawal.At.After(r.GrantedAt) }

// isVoid reports whether the value must not be used, because of a withdrawal.
func (r *record) isVoid() bool {
	return r.isWithdrawn() || r.Generation > 0 && r.Generation <= r.Withdrawal.Generation
}

// keptSecret returns the secret for the next fetch, if there is one that is not
// void.
func (r *record) keptSecret() string {
	if r.isWithdrawn() || r.Kept.Version <= r.Withdrawal.Kept {
		return ""
	}
	return r.Kept.Secret
}

// withdraw notes a withdrawal, unless it is older than the last grant, or known.
// Of two of one second the one that is heard of later is the later one.
func (r *record) withdraw(at time.Time) {
	if at.Before(r.GrantedAt.Truncate(time.Second)) || !at.After(r.Withdrawal.At) {
		return
	}
	if known := r.Withdrawal.At; !known.IsZero() && at.Equal(known.Truncate(time.Second)) {
		return
	}
	r.Withdrawal = withdrawal{At: at, Generation: r.Generation, Kept: r.Kept.Version}
	if !at.After(r.GrantedAt) {
		r.Withdrawal.At = r.GrantedAt.Add(tick)
	}
}

// grant notes that values are granted as of a time, unless they were withdrawn
// since.
func (r *record) grant(at time.Time) {
	if at.Before(r.Withdrawal.At.Truncate(time.Second)) || !at.After(r.GrantedAt) && !r.isWithdrawn() {
		return
	}
	r.GrantedAt = latest(r.GrantedAt, at)
	if r.isWithdrawn() {
		r.GrantedAt = r.Withdrawal.At.Add(tick)
	}
}

// grantNow notes that values are granted, as somebody has seen.
func (r *record) grantNow(now time.Time) {
	if at := r.Withdrawal.At; at.After(now) {
		now = at
	}
	r.grant(now)
}

// Withdraw takes the news that whoever granted the credential's values has taken
// that back: neither they nor the secret that is kept are used any more. News
// older than the last grant change nothing. The error is as that of Put.
func (m *Manager) Withdraw(ctx context.Context, c *Credential, at time.Time) error {
	return m.learn(ctx, c, func(next *record) { next.withdraw(at.Round(0)) })
}

// Reinstate takes the news that the credential's values are granted, for the
// first time or again. It ends a back-off. News older than the last withdrawal
// change nothing. The error is as that of Put.
func (m *Manager) Reinstate(ctx context.Context, c *Credential, at time.Time) error {
	return m.learn(ctx, c, func(next *record) {
		before := next.GrantedAt
		next.grant(at.Round(0))
		f := next.failure()
		if f == nil || next.isWithdrawn() {
			return
		}
		// What was known to be granted before may have failed since, in the same second.
		if !next.GrantedAt.Equal(before) || !at.Before(f.At.Truncate(time.Second)) {
			next.Attempt = next.endedBackoff(m.now())
		}
	})
}

// learn saves what is news to a credential's record.
func (m *Manager) learn(ctx context.Context, c *Credential, change func(next *record)) error {
	unlock, err := m.openForNews(ctx, c)
	if err != nil {
		return err
	}
	defer unlock()
	r := c.runner
	r.mu.Lock()
	next := r.record
	change(&next)
	changed := !next.equal(&r.record) || r.saving.by != nil
	r.mu.Unlock()
	if !changed {
		return nil
	}
	if _, err := (&task{Credential: c}).publish(next); err != nil {
		m.logger.Error("news are not taken, because the store does not take them", zap.String("account", c.Name), zap.Error(err))
		return &UnsavedError{c.Name, err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreachable = nil
	c.scheduleLocked(m.now())
	return nil
}

// newsPatience is how long news wait for another process that fetches. Who brings
// them does not wait for long, and a fetch may be what they come of. They do not
// wait for this process's fetch, which loses none of what others add.
const newsPatience = time.Second

// openForNews looks into the store and takes the credential's lock, as far as
// there is time.
func (m *Manager) openForNews(ctx context.Context, c *Credential) (unlock func(), err error) {
	if err := m.pull(ctx, c); err != nil {
		return func() {}, c.unread(err)
	}
	patience, cancel := context.WithTimeout(ctx, newsPatience)
	release := func() {}
	if !c.runner.isLocked() {
		release = m.lock(patience, c, c.runner.isLocked)
	}
	unlock = func() { release(); cancel() }
	// The store may have heard of others while the lock was waited for.
	if err := m.pull(ctx, c); err != nil && c.unread(err) != nil {
		unlock()
		return nil, c.unread(err)
	}
	return unlock, nil
}

// unread returns the error where the store cannot be read, if that matters.
func (c *Credential) unread(err error) error {
	if c.Durability == BeforeUse {
		return &UnsavedError{c.Name, err}
	}
	return nil
}

// isLocked reports whether this process's fetch holds the lock.
func (r *Runner) isLocked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.locked
}

// withdrawnLocked returns the error while a credential's values are withdrawn.
func (c *Credential) withdrawnLocked() error {
	r := c.runner
	if !r.record.isWithdrawn() {
		return nil
	}
	failure := c.Policy.Withdrawn
	if failure.Message == "" {
		failure = Failure{Message: "it was withdrawn", Class: Configuration}
	}
	return &UnavailableError{Name: c.Name, Failure: failure, BackingOff: true}
}

// Standing is what the processes know together of a credential that others grant
// and withdraw.
type Standing struct {
	// Known reports whether there was ever a value, a secret to keep, or news of
	// a grant.
	Known bool

	// GrantedAt is when values were last said to be granted, and WithdrawnAt when
	// they were withdrawn, or zero where they are not.
	GrantedAt, WithdrawnAt time.Time
}

// Standing returns what this process knows of it.
func (m *Manager) Standing(c *Credential) Standing {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Standing{GrantedAt: r.record.GrantedAt, Known: r.record.Generation > 0 || r.record.Kept.Version > 0 || !r.record.GrantedAt.IsZero()}
	if r.record.isWithdrawn() {
		s.WithdrawnAt = r.record.Withdrawal.At
	}
	return s
}

var errNothingPushed = errors.New("nothing was pushed: neither a value nor a secret to keep")
