package account

import (
	"sync"
	"time"
)

// Sampler lets the first of a kind through in a while. The zero value can be used.
type Sampler struct {
	mu    sync.Mutex
	kinds map[string]*sample
}

type sample struct {
	since   time.Time
	skipped int
}

// First reports whether this is the first of its kind within the interval, and
// how many were not since the last that was. Kinds have to be finite.
func (s *Sampler) First(kind string, interval time.Duration) (first bool, skipped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	k, ok := s.kinds[kind]
	if ok && now.Sub(k.since) < interval {
		k.skipped++
		return false, 0
	}
	if !ok {
		if s.kinds == nil {
			s.kinds = make(map[string]*sample)
		}
		k = new(sample)
		s.kinds[kind] = k
	}
	skipped = k.skipped
	k.since, k.skipped = now, 0
	return true, skipped
}
