package credential

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/ristretto/v2"
)

// WorkingSet keeps in memory what is in use of many things that come and go, such
// as the credentials of accounts nobody has configured. It is bounded in number,
// and never the only place of anything: what it has no room for is made again
// from the store. So it may drop, delay or evict what is put into it, and two
// instances of one thing at a time do no harm.
type WorkingSet[T comparable] struct {
	mu    sync.RWMutex // is held for writing while the cache is closed, which it cannot bear to be used in
	cache *ristretto.Cache[string, T]
	end   func(T)
}

// leastCounted is for how many things a set counts how often they are used, at
// least: it may grow.
const leastCounted = 1 << 12

// NewWorkingSet returns one for about that many things. end is called for each
// that has left it, and returns at once; the thing may still be in use.
func NewWorkingSet[T comparable](size int64, end func(T)) (*WorkingSet[T], error) {
	cache, err := ristretto.NewCache(&ristretto.Config[string, T]{
		NumCounters: 10 * max(size, leastCounted),
		MaxCost:     size,
		BufferItems: 64,
		// The cost is the number of things, not bytes.
		IgnoreInternalCost: true,
		// A cache that was made smaller tells of some keys twice, the second time with
		// nothing.
		OnExit: func(thing T) {
			var nothing T
			if thing != nothing {
				end(thing)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("opening the working set: %w", err)
	}
	return &WorkingSet[T]{cache: cache, end: end}, nil
}

// Get returns what is known by an id, if there is anything.
func (s *WorkingSet[T]) Get(id string) (T, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cache.Get(id)
}

// Put has something be known by an id, in place of what there was, as long as
// there is room.
func (s *WorkingSet[T]) Put(id string, fresh T) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.cache.Set(id, fresh, 1) {
		// Of two Sets of a new key that overtake each other, the first may stay.
		s.cache.Wait()
	} else {
		s.end(fresh)
	}
}

// Resize changes for about how many things there is room. What is too much leaves
// when others come.
func (s *WorkingSet[T]) Resize(size int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.cache.UpdateMaxCost(size)
}

// Len returns about how many things there are.
func (s *WorkingSet[T]) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int(s.cache.MaxCost() - s.cache.RemainingCost())
}

// Close ends the set's goroutines. Everything leaves it, and nothing stays that is
// put into it from then on.
func (s *WorkingSet[T]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.Close()
}
