package credential

import (
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
)

// WorkingSet keeps in memory what is in use of many things that come and go, such
// as the credentials of accounts nobody has configured. It is bounded in number,
// and never the only place of anything: what it has no room for is made again
// from the store. So it may drop, delay or evict what is put into it, and two
// instances of one thing at a time do no harm.
type WorkingSet[T any] struct {
	cache *ristretto.Cache[string, T]
	end   func(T)
}

// NewWorkingSet returns one for about that many things. end is called for each
// that has left it, and returns at once; the thing may still be in use.
func NewWorkingSet[T any](size int64, end func(T)) (*WorkingSet[T], error) {
	cache, err := ristretto.NewCache(&ristretto.Config[string, T]{
		NumCounters: 10 * size,
		MaxCost:     size,
		BufferItems: 64,
		// The cost is the number of things, not bytes.
		IgnoreInternalCost: true,
		OnExit:             end,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the working set: %w", err)
	}
	return &WorkingSet[T]{cache: cache, end: end}, nil
}

// Acquire returns what is known by an id. Where there is nothing, or where it is
// not current any more, another is made, from the old one if there is one.
func (s *WorkingSet[T]) Acquire(id string, isCurrent func(T) bool, produce func(old T, ok bool) T) T {
	old, ok := s.cache.Get(id)
	if ok && isCurrent(old) {
		return old
	}
	fresh := produce(old, ok)
	if s.cache.Set(id, fresh, 1) {
		// Of two Sets of a new key that overtake each other, the first may stay.
		s.cache.Wait()
	} else {
		s.end(fresh)
	}
	return fresh
}

// Close ends the set's goroutines. Nothing may use the set any more.
func (s *WorkingSet[T]) Close() { s.cache.Close() }
