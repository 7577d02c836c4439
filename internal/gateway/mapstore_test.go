package gateway_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
)

// mapStore is a store in memory.
type mapStore struct {
	mu     sync.Mutex
	values map[string][]byte
	broken bool
	locked sync.Map
}

// Load returns a value.
func (s *mapStore) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	switch {
	case s.broken:
		return nil, errBroken
	case !ok:
		return nil, fs.ErrNotExist
	}
	return value, nil
}

// Save keeps a value.
func (s *mapStore) Save(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errBroken
	}
	s.values[key] = slices.Clone(value)
	return nil
}

// Lock locks a name.
func (s *mapStore) Lock(_ context.Context, name string) (func(), error) {
	mu, _ := s.locked.LoadOrStore(name, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()
	return mu.(*sync.Mutex).Unlock, nil
}

func (s *mapStore) setBroken(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

var errBroken = errors.New("the store is broken")
