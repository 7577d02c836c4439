package credential

import "time"

// doubtPause is how often it is found out whether values were withdrawn.
const doubtPause = time.Minute

// Doubt has it found out whether the values are withdrawn, as an API says: in the
// store, and at the source, which is asked for another value. It does so in the
// background, and not more than once a minute.
func (m *Manager) Doubt(c *Credential) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	now := m.now()
	if r.fetch != nil || r.usableLocked(now) == nil || now.Before(r.doubtedAt.time().Add(doubtPause)) {
		return
	}
	r.doubtedAt = momentOf(now)
	m.startLocked(&task{Credential: c, rejected: true, checked: true, doubted: true})
}
