package credential

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Put takes a value, or a secret to keep, that has come from outside, such as a
// pushed ticket. issuedAt is when it was issued: an older one than the current
// changes nothing, and of two that were issued at the same time the later counts.
// Where it is zero, what is put was issued just now, whatever other clocks say. A
// secret to keep ends a withdrawal and a back-off: who has it was granted it.
//
// Where Put returns an error of a credential with durability BeforeUse, nothing
// has changed, and who has pushed it has to do so again.
func (m *Manager) Put(ctx context.Context, c *Credential, g Grant, issuedAt time.Time) error {
	if g.Value == "" && g.Kept == "" {
		return errNothingPushed
	}
	unlock, err := m.openForNews(ctx, c)
	if err != nil {
		return err
	}
	defer unlock()
	t := &task{Credential: c}
	next, changed := c.pushed(g, issuedAt.Round(0), m.now())
	if !changed {
		return nil
	}
	v, err := t.publish(next)
	if err != nil {
		m.logger.Error("a pushed value is not used, because the store does not take it", zap.String("account", c.Name), zap.Error(err))
		return &UnsavedError{c.Name, err}
	}
	r := c.runner
	r.mu.Lock()
	r.unreachable = nil
	c.scheduleLocked(m.now())
	r.mu.Unlock()
	if g.Value != "" {
		c.Observer.Fetched(v)
	}
	return nil
}

// pushed returns the record with what was pushed, and whether that changes it.
func (c *Credential) pushed(g Grant, issuedAt, now time.Time) (next record, changed bool) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	next = r.record
	if issuedAt.IsZero() {
		issuedAt = latest(now, latest(next.FetchedAt, time.UnixMilli(next.Kept.Version)))
	}
	if g.Kept != "" && !time.UnixMilli(next.Kept.Version).After(issuedAt) {
		next.putKept(g.Kept, issuedAt, now)
	}
	if g.Value == "" || issuedAt.Before(next.FetchedAt) || issuedAt.Equal(next.FetchedAt) && g.Value == next.AccessToken {
		return next, !next.equal(&r.record) || r.saving.by != nil
	}
	next.Generation = max(next.Generation+1, issuedAt.UnixMilli())
	next.AccessToken, next.FetchedAt, next.CheckedAt = g.Value, issuedAt, now
	next.ExpiresAt = c.Policy.expiry(issuedAt, g, false, time.Time{}, 0)
	next.RejectedInARow, next.HandedOutAgain = 0, 0
	next.Standing = standing{At: now}
	return next, true
}

// putKept notes a secret to keep that was handed out just now.
func (r *record) putKept(secret string, issuedAt, now time.Time) {
	r.Kept = r.Kept.keep(secret, issuedAt)
	if r.Kept.Version <= r.Withdrawal.Kept {
		r.Kept.Version = max(r.Withdrawal.Kept+1, issuedAt.UnixMilli()) // the same as before is good again
	}
	r.grantNow(now)
	if r.failure() != nil {
		r.Attempt = r.endedBackoff(now)
	}
}

// Kept returns the secret that is kept for the next fetch, as far as this
// process knows.
func (m *Manager) Kept(c *Credential) string {
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	return c.runner.record.keptSecret()
}
