package credential

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Nobody gets a token that has expired, even if its renewal is under way.
func TestUseEndsWithTheValue(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable, lifetime: 10 * time.Second}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		wantToken(t, p.token(t), "token-1")
		endpoint.set(func(e *fakeEndpoint) { e.latency = 8 * time.Second })
		for range 99 {
			time.Sleep(100 * time.Millisecond)
			wantToken(t, p.token(t), "token-1")
		}
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if token, err := p.Token(ctx, p.account); err == nil {
			t.Errorf("got %s after its end", token.secret)
		}
	})
}

// While a renewal is under way and after it has failed the token stays in use,
// and the requests that use it see to the next attempt.
func TestUseAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.token(t)
		endpoint.set(func(e *fakeEndpoint) { e.down, e.latency = true, time.Second })
		time.Sleep(113 * time.Minute)
		for range 60 {
			wantToken(t, p.token(t), "token-1")
			time.Sleep(time.Second)
		}
		if n := endpoint.callCount(); n < 5 {
			t.Errorf("asked %d times in a minute", n)
		}
		endpoint.set(func(e *fakeEndpoint) { e.down = false })
		for range 40 {
			p.token(t)
			time.Sleep(time.Second)
		}
		wantToken(t, p.token(t), "token-2")
	})
}

// Every configuration hears of a new token, and of a token's death, whoever
// learned of it.
func TestEveryConfigurationHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{}, newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		other := p.again(st)
		first := p.token(t)
		other.token(t)
		wantToken(t, p.refresh(t, first), "token-2")
		wantToken(t, p.token(t), "token-2")
		wantToken(t, other.token(t), "token-2")

		// No other is to be had: its renewal was refused a moment ago.
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40125 })
		time.Sleep(113 * time.Minute)
		p.token(t)
		synctest.Wait()
		other.token(t)
		if _, err := p.Refresh(t.Context(), p.account, p.token(t)); err == nil {
			t.Fatal("got a token")
		}
		for _, p := range []*process{p, other} {
			if token, err := p.Token(t.Context(), p.account); err == nil {
				t.Errorf("got %s, which is known to be rejected", token.secret)
			}
		}
	})
}

// Another process's token may come through the store at any time.
func TestUseAndAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		p := startProcess(t, classic, st, endpoint)
		st.set(func(s *memoryStore) { s.saveErr = errors.New("full") })
		wantToken(t, p.token(t), "token-1")
		st.set(func(s *memoryStore) { s.saveErr = nil })
		other := startProcess(t, classic, st, endpoint)
		wantToken(t, other.token(t), "token-2")
		time.Sleep(5 * time.Second) // until p tries to save again
		wantToken(t, p.token(t), "token-2")
	})
}
