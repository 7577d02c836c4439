package credential

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSealedStore(t *testing.T) {
	st := newMemoryStore()
	s, id, other := NewSealedStore(st), testID, testID
	other.Identity += "-other"
	if got, err := s.Load(t.Context(), "key", &id); got != nil || err != nil {
		t.Errorf("where nothing was saved: %q, %v", got, err)
	}
	if err := s.Save(t.Context(), "key", &id, []byte("wx0000000000000001")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(t.Context(), "key", &id); string(got) != "wx0000000000000001" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if bytes.Contains(st.values["key"], []byte("wx0000000000000001")) {
		t.Error("it is stored as it is")
	}
	for name, wrong := range map[string]ID{"another's": other, "another secret's": {id.Identity, id.Upstream, "another-secret"}} {
		if got, err := s.Load(t.Context(), "key", &wrong); got != nil || !errors.Is(err, ErrUnsealable) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// A store that heeds no context holds nobody up.
func TestSealedStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		unlock, err := st.Lock(t.Context(), "name")
		if err != nil {
			t.Fatal(err)
		}
		s, ctx := NewSealedStore(deaf{st}), t.Context()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := s.Lock(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the lock of another: %v", err)
		}
		unlock()
		synctest.Wait()
		again, err := s.Lock(t.Context(), "name")
		if err != nil {
			t.Fatal("the lock was not given back:", err)
		}
		again()
	})
}

// deaf is a store that heeds no context.
type deaf struct{ *memoryStore }

// Lock waits for as long as it takes.
func (d deaf) Lock(_ context.Context, name string) (func(), error) {
	return d.memoryStore.Lock(context.Background(), name)
}
