package credential

import (
	"context"
	"time"
)

// confirmOverdue has the source be asked for a value that has not been confirmed for
// longer than it is while it is in use, since nobody has used it. It waits for that,
// and reports whether it did: nothing tells that such a value has died. Where the
// source gives none, the value stays in use.
func (m *Manager) confirmOverdue(ctx context.Context, c *Credential) bool {
	if !c.Policy.isPolled() {
		return false
	}
	r := c.runner
	r.mu.Lock()
	now := m.now()
	if !c.isOverdueLocked(now) {
		r.mu.Unlock()
		return false
	}
	r.usedAt = momentOf(now)
	f := r.fetch
	if f == nil {
		f = m.startLocked(&task{Credential: c})
	}
	r.mu.Unlock()
	_ = f.wait(ctx) // what there is then is as good as it gets
	return true
}

// isOverdueLocked reports whether there is a value which the source should have
// confirmed by now, and has not refused to.
func (c *Credential) isOverdueLocked(now time.Time) bool {
	r := c.runner
	if r.usableLocked(now) == nil || now.Before(r.checkedAt.time().Add(c.Policy.Recheck+fetchTimeout)) {
		return false
	}
	failed := (&task{Credential: c}).failuresLocked().Failures > 0
	return !failed && !now.Before(r.orphanedUntil.time())
}
