package weixin

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Nobody gets a token that has expired, even if its renewal is under way.
func TestLeaseEndsWithTheToken(t *testing.T) {
	bothSources(t, func(t *testing.T, source wechat.Source, stable bool) {
		endpoint := &fakeEndpoint{stable: stable, lifetime: 10 * time.Second}
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
			t.Errorf("got %s after its end", token.accessToken)
		}
	})
}

// While a renewal is under way and after it has failed the token stays in use,
// and the requests that use it see to the next attempt.
func TestLeaseAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, wechat.Classic{}, newMemoryStore(), endpoint)
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
func TestLeasesAreRecalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, wechat.Classic{}, newMemoryStore(), endpoint)
		other := &process{p.TokenManager, sameAccount(p.account)}
		first := p.token(t)
		other.token(t)
		wantToken(t, p.refresh(t, first), "token-2")
		wantToken(t, p.token(t), "token-2")
		wantToken(t, other.token(t), "token-2")

		// No other is to be had: its renewal was refused a moment ago.
		endpoint.set(func(e *fakeEndpoint) { e.errcode = wechat.InvalidAppSecret })
		time.Sleep(113 * time.Minute)
		p.token(t)
		synctest.Wait()
		other.token(t)
		if _, err := p.Refresh(t.Context(), p.account, p.token(t)); err == nil {
			t.Fatal("got a token")
		}
		for _, p := range []*process{p, other} {
			if token, err := p.Token(t.Context(), p.account); err == nil {
				t.Errorf("got %s, which is known to be rejected", token.accessToken)
			}
		}
	})
}

// The cache may be behind, and a token may die at any moment.
func TestNoLeaseOfWhatIsNotToBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(t, wechat.Classic{}, newMemoryStore(), &fakeEndpoint{})
		first := p.token(t)
		second := p.refresh(t, first)
		s := p.account.state
		s.mu.Lock()
		s.recallLeases()
		s.mu.Unlock()
		p.cache.cache.Del(p.account.key)
		p.cache.set(p.account, first)
		p.token(t)
		if token := p.account.lease.take(p.now()); token == first {
			t.Errorf("got %s in place of %s", token.accessToken, second.accessToken)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kill(second)
		p.account.grantLease()
		if token := p.account.lease.take(p.now()); token != nil {
			t.Errorf("got %s, which is dead", token.accessToken)
		}
	})
}

// Another process's token may come through the store at any time.
func TestLeaseAndAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		p := startProcess(t, wechat.Classic{}, st, endpoint)
		st.set(func(s *memoryStore) { s.saveErr = errors.New("full") })
		wantToken(t, p.token(t), "token-1")
		st.set(func(s *memoryStore) { s.saveErr = nil })
		other := startProcess(t, wechat.Classic{}, st, endpoint)
		wantToken(t, other.token(t), "token-2")
		time.Sleep(5 * time.Second) // until p tries to save again
		wantToken(t, p.token(t), "token-2")
	})
}

// Accounts that the cache has no room for are renewed like all others.
func TestMoreAccountsThanTheCacheHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, err := newTokenCache(16)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.close()
		endpoint := &fakeEndpoint{stable: true}
		m := newTokenManager(cache, newMemoryStore(), endpoint, zap.NewNop())
		const n = 100
		accounts := manyAccounts(t, m, n, wechat.Stable{})
		for range 60 {
			for _, a := range accounts {
				if _, err := m.Token(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		if asked := endpoint.callCount(); asked < n*10 {
			t.Errorf("the endpoint was asked %d times in an hour, for %d accounts", asked, n)
		}
	})
}

// A state that many configurations have shared holds on to none of them.
func TestLeasesOfEndedConfigurations(t *testing.T) {
	p := startProcess(t, wechat.Classic{}, newMemoryStore(), &fakeEndpoint{})
	for range 100 {
		sameAccount(p.account)
	}
	runtime.GC()
	p.token(t)
	if n := len(p.account.state.accounts); n > 10 {
		t.Errorf("%d accounts are remembered", n)
	}
	runtime.KeepAlive(p)
}
