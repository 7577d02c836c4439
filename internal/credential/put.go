package credential

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Put takes a value, or a secret to keep, that has come from outside, such as a
// pushed ticket. issuedAt is when it was issued: an older one than the current
// changes nothing, and of two that were issued at the same time the later counts.
//
// Where Put returns an error of a credential with durability BeforeUse, nothing
// has changed, and who has pushed it has to do so again.
func (m *Manager) Put(ctx context.Context, c *Credential, g Grant, issuedAt time.Time) error {
	if g.Value == "" && g.Kept == "" {
		return errors.New("nothing was pushed: neither a value nor a secret to keep")
	}
	if err := m.pull(ctx, c); err == nil {
		defer m.lock(ctx, c, func() bool { return false })()
		_ = m.pull(ctx, c)
	} else if c.Durability == BeforeUse {
		return &UnsavedError{c.Name, err}
	}
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
	if g.Kept != "" && !time.UnixMilli(next.Kept.Version).After(issuedAt) {
		next.Kept = next.Kept.keep(g.Kept, issuedAt)
	}
	if g.Value == "" || issuedAt.Before(next.FetchedAt) || issuedAt.Equal(next.FetchedAt) && g.Value == next.AccessToken {
		return next, !next.equal(&r.record)
	}
	next.Generation = max(next.Generation+1, issuedAt.UnixMilli())
	next.AccessToken, next.FetchedAt, next.CheckedAt = g.Value, issuedAt, now
	next.ExpiresAt = c.Policy.expiry(issuedAt, g, false, time.Time{}, 0)
	next.RejectedInARow, next.HandedOutAgain = 0, 0
	next.Standing = standing{At: now}
	return next, true
}

// Kept returns the secret that is kept for the next fetch, as far as this
// process knows.
func (m *Manager) Kept(c *Credential) string {
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	return c.runner.record.Kept.Secret
}
