package credential

import (
	"context"
	"sync"
)

// running counts the fetches of a manager that are under way.
type running struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // is closed when there is none; nil where nobody waits
}

func (r *running) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
}

func (r *running) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// Settle waits until no fetch is under way, so that no value that a source has
// issued is lost. It is for who has too many credentials to release each.
func (m *Manager) Settle(ctx context.Context) {
	r := &m.running
	r.mu.Lock()
	if r.n == 0 {
		r.mu.Unlock()
		return
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
