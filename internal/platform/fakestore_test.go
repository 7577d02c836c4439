package platform

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// sharedMemory is a store that several processes of a test share.
type sharedMemory struct {
	mu     sync.Mutex
	values map[string][]byte
	locks  map[string]chan struct{}
	loads  int
	saves  int
	bytes  int // that were loaded and saved
}

func newSharedMemory() *sharedMemory {
	return &sharedMemory{values: make(map[string][]byte), locks: make(map[string]chan struct{})}
}

// Load implements store.Store.
func (s *sharedMemory) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	value, ok := s.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	s.bytes += len(value)
	return value, nil
}

// Save implements store.Store.
func (s *sharedMemory) Save(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saves++
	s.bytes += len(value)
	s.values[key] = value
	return nil
}

// Lock implements store.Store.
func (s *sharedMemory) Lock(ctx context.Context, name string) (func(), error) {
	for {
		s.mu.Lock()
		held, ok := s.locks[name]
		if !ok {
			released := make(chan struct{})
			s.locks[name] = released
			s.mu.Unlock()
			return sync.OnceFunc(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.locks, name)
				close(released)
			}), nil
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reset counts from nothing.
func (s *sharedMemory) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads, s.saves, s.bytes = 0, 0, 0
}

func (s *sharedMemory) counts() (loads, saves, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads, s.saves, s.bytes
}

var errStore = errors.New("the store fails")

// failing is a store as one process has it, some of whose calls fail.
type failing struct {
	*sharedMemory

	mu     sync.Mutex
	calls  int
	fails  func(call int) bool // counted from 1
	noLock error
}

// crashAt fails with a call and all that come after, as for a process that is
// killed.
func crashAt(st *sharedMemory, n int) *failing {
	return &failing{sharedMemory: st, fails: func(call int) bool { return call >= n }}
}

func (f *failing) call() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fails != nil && f.fails(f.calls) {
		return errStore
	}
	return nil
}

// Load implements store.Store.
func (f *failing) Load(ctx context.Context, key string) ([]byte, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.sharedMemory.Load(ctx, key)
}

// Save implements store.Store.
func (f *failing) Save(ctx context.Context, key string, value []byte) error {
	if err := f.call(); err != nil {
		return err
	}
	return f.sharedMemory.Save(ctx, key, value)
}

// Lock implements store.Store.
func (f *failing) Lock(ctx context.Context, name string) (func(), error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	err := f.noLock
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.sharedMemory.Lock(ctx, name)
}

func (f *failing) set(change func(*failing)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

var testComponent = credential.ID{Identity: "wxc0000000000000c1", Upstream: "https://api.example", Secret: "a-secret-of-some-length"}

type testStore interface {
	Load(ctx context.Context, key string) ([]byte, error)
	Save(ctx context.Context, key string, value []byte) error
	Lock(ctx context.Context, name string) (func(), error)
}

// indexOver returns the index as a process has it.
func indexOver(t *testing.T, st testStore) *index {
	t.Helper()
	x := newIndex(st, testComponent, zap.NewNop(), func() time.Time { return time.Now().Round(0) })
	t.Cleanup(func() { x.close(context.Background()) })
	return x
}

// all returns what is in the index, page by page as it is listed.
func all(t *testing.T, x *index, limit int) []string {
	t.Helper()
	var appIDs []string
	for after := ""; ; {
		some, next, err := x.list(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		appIDs = append(appIDs, some...)
		if after = next; after == "" {
			return appIDs
		}
	}
}
