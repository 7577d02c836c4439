package credential

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/store"
)

func bothSources(t *testing.T, f func(t *testing.T, source *method, isStable bool)) {
	for _, source := range []*method{stable, classic} {
		t.Run(source.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, source, source.name == "stable") })
		})
	}
}

func TestManyRequestsOneFetch(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable, latency: time.Second}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantToken(t, p.token(t), "token-1") })
		}
		wg.Wait()
		wantCalls(t, endpoint, 1)

		old := p.token(t)
		endpoint.revoke()
		for range 100 {
			wg.Go(func() { wantToken(t, p.refresh(t, old), "token-2") })
		}
		wg.Wait()
		wantCalls(t, endpoint, 2)

		// An answer that comes late rejects a token that is gone already.
		wantToken(t, p.refresh(t, old), "token-2")
		wantToken(t, p.token(t), "token-2")
		wantCalls(t, endpoint, 2)
	})
}

func TestManyProcessesOneFetch(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable, latency: time.Second}, newMemoryStore()
		var processes []*process
		for range 5 {
			processes = append(processes, startProcess(t, source, st, endpoint))
		}
		inAll := func(f func(p *process)) {
			var wg sync.WaitGroup
			for _, p := range processes {
				for range 10 {
					wg.Go(func() { f(p) })
				}
			}
			wg.Wait()
		}
		inAll(func(p *process) { wantToken(t, p.token(t), "token-1") })
		wantCalls(t, endpoint, 1)
		for death := 2; death <= 6; death++ {
			endpoint.revoke()
			start := time.Now()
			inAll(func(p *process) { wantToken(t, p.refresh(t, p.token(t)), fmt.Sprintf("token-%d", death)) })
			wantCalls(t, endpoint, death)
			if d := time.Since(start); d > endpoint.latency+300*time.Millisecond {
				t.Errorf("all processes had the new token after %v", d)
			}
		}
	})
}

// A process that has missed two deaths finds a value in the store that is dead as
// well, though nobody has noticed: its request is sent again with neither.
func TestValueFromTheStoreHasDiedToo(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
		good := "token-1"
		endpoint.verdict = func(v *Value) Verdict {
			if v.Secret() == good {
				return Good
			}
			return Rejected
		}
		die := func() {
			endpoint.revoke()
			endpoint.set(func(e *fakeEndpoint) { good = fmt.Sprintf("token-%d", e.issued+1) })
		}
		a, b := startProcess(t, source, st, endpoint), startProcess(t, source, st, endpoint)
		a.token(t)
		old := b.token(t)
		die()
		wantToken(t, a.refresh(t, a.token(t)), "token-2")
		time.Sleep(time.Second)
		die()
		wantToken(t, b.refresh(t, old), "token-3")
		wantToken(t, a.refresh(t, a.token(t)), "token-3")
		wantCalls(t, endpoint, 3)
	})
}

func TestRestartCostsNoFetch(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
		startProcess(t, source, st, endpoint).token(t)
		time.Sleep(30 * time.Minute)
		p := startProcess(t, source, st, endpoint)
		p.keepWarm()
		synctest.Wait()
		wantCalls(t, endpoint, 1)
		wantToken(t, p.token(t), "token-1")
	})
}

func TestChangedSecretIsNotServedTheOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{}, newMemoryStore()
		startProcess(t, classic, st, endpoint).token(t)
		other := testID
		other.Secret = "another-secret"
		p := startProcessAs(t, other, classic, st, endpoint)
		wantToken(t, p.token(t), "token-2")
	})
}

func TestStoreHasTheTokenBeforeAnybodyUsesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		p := startProcess(t, stable, st, &fakeEndpoint{stable: true})
		p.token(t)
		r, err := p.store.load(t.Context(), p.account)
		if err != nil || r.AccessToken != "token-1" {
			t.Fatalf("the store has %q, %v", r.AccessToken, err)
		}
		for _, sealed := range st.values {
			if strings.Contains(string(sealed), "token-1") {
				t.Error("the store shows the token")
			}
		}
	})
}

// managerGoroutines returns the stacks of the goroutines that work for a token
// manager.
func managerGoroutines() []string {
	buf := make([]byte, 1<<20)
	var stacks []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "credential.(*Manager)") || strings.Contains(stack, "credential.(*sharedStore)") || strings.Contains(stack, "credential.(*holder)") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// Nobody uses the account: its token is renewed ahead of its expiry, and
// nothing else happens.
func TestWarmWhileIdle(t *testing.T) {
	for _, c := range []struct {
		source         *method
		earliest, last time.Duration // of the renewal, after the fetch
	}{
		{classic, 110 * time.Minute, 112 * time.Minute},
		{stable, 116 * time.Minute, 117 * time.Minute},
	} {
		t.Run(c.source.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint := &fakeEndpoint{stable: c.source == stable}
				p := startProcess(t, c.source, newMemoryStore(), endpoint)
				p.keepWarm()
				time.Sleep(time.Second)
				synctest.Wait()
				if stacks := managerGoroutines(); len(stacks) > 0 {
					t.Errorf("an idle account costs %d goroutines: %s", len(stacks), stacks[0])
				}
				wantCalls(t, endpoint, 1)
				time.Sleep(c.earliest - 2*time.Second)
				wantCalls(t, endpoint, 1)
				time.Sleep(c.last - c.earliest + 4*time.Second)
				wantCalls(t, endpoint, 2)
				wantToken(t, p.token(t), "token-2")
				time.Sleep(24 * time.Hour)
				if n := endpoint.callCount(); n < 13 || n > 16 {
					t.Errorf("asked %d times in a day", n)
				}
			})
		})
	}
}

func TestStableIsAskedEveryFiveMinutesWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true}
		p := startProcess(t, stable, newMemoryStore(), endpoint)
		for range 3600 {
			p.token(t)
			time.Sleep(time.Second)
		}
		endpoint.set(func(e *fakeEndpoint) {
			for i := 1; i < len(e.calls); i++ {
				if gap := e.calls[i].Sub(e.calls[i-1]); gap > 5*time.Minute+time.Second || gap < 3*time.Minute {
					t.Errorf("asked again after %v", gap)
				}
			}
			if len(e.calls) < 12 || len(e.calls) > 18 {
				t.Errorf("asked %d times in an hour of use", len(e.calls))
			}
		})
	})
}

// While a renewal takes its time, requests go on with the token there is.
func TestRenewalHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.token(t)
		endpoint.set(func(e *fakeEndpoint) { e.latency = 5 * time.Second })
		time.Sleep(113 * time.Minute)
		start := time.Now()
		wantToken(t, p.token(t), "token-1")
		wantToken(t, p.token(t), "token-1")
		if d := time.Since(start); d != 0 {
			t.Errorf("a request waited %v for a renewal", d)
		}
		time.Sleep(6 * time.Second)
		wantToken(t, p.token(t), "token-2")
		wantCalls(t, endpoint, 2)
	})
}

// Only expires_in counts: tokens of a few seconds are renewed in time, and none
// is used beyond its expiry.
func TestShortLifetimes(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable, lifetime: 5 * time.Second}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		p.keepWarm()
		waited := 0
		for range 600 {
			start := time.Now()
			token := p.token(t)
			if time.Since(start) > 0 {
				waited++
			}
			if !time.Now().Before(token.expiresAt) {
				t.Fatal("an expired token is in use")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if waited > 1 {
			t.Errorf("%d requests waited for a token", waited)
		}
		if n := endpoint.callCount(); n > 20 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

func TestExpiredTokenIsNeverUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.token(t)
		endpoint.set(func(e *fakeEndpoint) { e.down = true })
		time.Sleep(7200 * time.Second)
		_, err := p.Token(t.Context(), p.account)
		if _, ok := errors.AsType[*UnavailableError](err); !ok {
			t.Errorf("got %v, want an *UnavailableError", err)
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		name        string
		change      func(*fakeEndpoint)
		wait        time.Duration
		least, most int
		errcode     int
	}{
		{"unreachable", func(e *fakeEndpoint) { e.down = true }, 10 * time.Minute, 20, 30, 0},
		{"system busy", func(e *fakeEndpoint) { e.errcode = -1 }, 10 * time.Minute, 20, 30, -1},
		{"too frequent", func(e *fakeEndpoint) { e.errcode = 45011 }, 10 * time.Minute, 20, 30, 45011},
		{"wrong secret", func(e *fakeEndpoint) { e.errcode = 40125 }, time.Hour, 15, 22, 40125},
		{"wrong secret, other errcode", func(e *fakeEndpoint) { e.errcode = 40001 }, time.Hour, 15, 22, 40001},
		{"no whitelist", func(e *fakeEndpoint) { e.errcode = 40164 }, time.Hour, 15, 22, 40164},
		{"quota", func(e *fakeEndpoint) { e.errcode = 45009 }, 0, 1, 1, 45009},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint := &fakeEndpoint{stable: true}
				c.change(endpoint)
				p := startProcess(t, stable, newMemoryStore(), endpoint)
				p.keepWarm()
				wait := c.wait
				if c.errcode == 45009 {
					wait = time.Until(time.Date(2000, 1, 2, 0, 0, 0, 0, beijing).Add(-time.Minute))
				}
				for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(wait / 3000) {
					_, err := p.Token(t.Context(), p.account)
					tokenErr, ok := errors.AsType[*UnavailableError](err)
					if !ok || tokenErr.Errcode != c.errcode {
						t.Fatalf("got %v, want errcode %d", err, c.errcode)
					}
				}
				if n := endpoint.callCount(); n < c.least || n > c.most {
					t.Errorf("asked %d times, want %d to %d", n, c.least, c.most)
				}
				// The cause is gone: it recovers without a request.
				endpoint.set(func(e *fakeEndpoint) { e.down, e.errcode = false, 0 })
				time.Sleep(6 * time.Minute)
				if token := p.account.runner.value.Load(); token == nil || token.secret != "token-1" {
					t.Errorf("token is %v, want token-1", token)
				}
			})
		})
	}
}

func TestBackoffIsSharedAndEndsWithANewSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true, errcode: 40125}, newMemoryStore()
		for range 5 {
			p := startProcess(t, stable, st, endpoint)
			if _, err := p.Token(t.Context(), p.account); err == nil {
				t.Fatal("got a token")
			}
		}
		wantCalls(t, endpoint, 1)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		corrected := testID
		corrected.Secret = "the-right-secret"
		wantToken(t, startProcessAs(t, corrected, stable, st, endpoint).token(t), "token-1")
	})
}

// A valid token goes on being used while renewals fail.
func TestFailedRenewalCostsNoRequest(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		p.keepWarm()
		p.token(t)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
		for end := time.Now().Add(119 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			wantToken(t, p.token(t), "token-1")
		}
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		time.Sleep(59 * time.Second)
		if n := endpoint.callCount(); n > 40 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A token was rejected and no other is to be had: requests are told why, and
// neither WeChat nor its token endpoint is bothered.
func TestRejectedTokenWithoutSuccessorIsNotUsed(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		token := p.token(t)
		endpoint.revoke()
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
		if _, err := p.Refresh(t.Context(), p.account, token); err == nil {
			t.Fatal("got a token")
		}
		for range 10 {
			_, err := p.Token(t.Context(), p.account)
			if tokenErr, ok := errors.AsType[*UnavailableError](err); !ok || tokenErr.Errcode != 40164 || !tokenErr.BackingOff {
				t.Fatalf("got %v", err)
			}
		}
		wantCalls(t, endpoint, 2)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		time.Sleep(2 * time.Second)
		wantToken(t, p.token(t), "token-2")
	})
}

// WeChat hands out the rejected token again: it is tried once more after a
// moment, then a new one is forced.
func TestStableInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startProcess(t, stable, newMemoryStore(), endpoint)
		first := p.token(t)
		first.Accept()
		start := time.Now()
		again := p.refresh(t, first)
		wantToken(t, again, "token-1")
		if d := time.Since(start); d != ReplayPause {
			t.Errorf("the replay comes after %v", d)
		}
		// Answers to requests that were sent before do not count against it.
		if p.refresh(t, first) != again {
			t.Error("a late rejection had an effect")
		}
		wantCalls(t, endpoint, 2)
		wantToken(t, p.refresh(t, again), "token-2")
		wantCalls(t, endpoint, 3)
		if len(endpoint.forced) != 1 {
			t.Errorf("forced %d times", len(endpoint.forced))
		}
	})
}

// It was a moment's confusion: once the token is accepted again nothing is
// forced.
func TestStableInsistsRightly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startProcess(t, stable, newMemoryStore(), endpoint)
		for range 100 {
			for range 3 {
				token := p.refresh(t, p.token(t))
				token.Accept()
				wantToken(t, token, "token-1")
			}
			time.Sleep(61 * time.Second)
		}
		// Asked for each of the hundred incidents, and while in use.
		if n := endpoint.callCount(); n > 100+30 {
			t.Errorf("asked %d times", n)
		}
		if len(endpoint.forced) != 0 {
			t.Errorf("forced %d times", len(endpoint.forced))
		}
	})
}

// One API refuses the token for good, while others accept it.
func TestStableInsistsForSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startProcess(t, stable, newMemoryStore(), endpoint)
		for range 60 {
			token := p.token(t)
			if token.secret != "token-1" {
				break
			}
			token.Accept()
			if replacement, err := p.Refresh(t.Context(), p.account, token); err == nil {
				replacement.Accept()
			}
			time.Sleep(time.Second)
		}
		wantToken(t, p.token(t), "token-2")
		if n := len(endpoint.forced); n != 1 {
			t.Errorf("forced %d times", n)
		}
	})
}

// Everything is rejected, whatever is tried, for twenty minutes.
func TestNoLoop(t *testing.T) {
	for _, c := range []struct {
		name     string
		endpoint *fakeEndpoint
		source   *method
		accept   bool // a token is accepted once before it is rejected
		calls    int
		forced   int
	}{
		{"stable insists", &fakeEndpoint{stable: true, insist: true}, stable, false, 450, 20},
		{"stable's tokens are all rejected", &fakeEndpoint{lifetime: 7200 * time.Second}, stable, false, 70, 0},
		{"classic tokens are all rejected", &fakeEndpoint{}, classic, false, 70, 0},
		{"another system fetches all the time", &fakeEndpoint{}, classic, true, 525, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startProcess(t, c.source, newMemoryStore(), c.endpoint)
				for range 20 * 60 * 4 {
					token, err := p.Token(t.Context(), p.account)
					if err == nil {
						if c.accept {
							token.Accept()
						}
						_, err = p.Refresh(t.Context(), p.account, token)
					}
					if err != nil && !errors.Is(err, ErrStillRejected) {
						t.Fatal(err)
					}
					time.Sleep(250 * time.Millisecond)
				}
				if n := c.endpoint.callCount(); n > c.calls {
					t.Errorf("asked %d times in twenty minutes", n)
				}
				if n := len(c.endpoint.forced); n > c.forced {
					t.Errorf("forced %d times", n)
				}
				for i := 1; i < len(c.endpoint.forced); i++ {
					if gap := c.endpoint.forced[i].Sub(c.endpoint.forced[i-1]); gap < 30*time.Second {
						t.Errorf("forced again after %v", gap)
					}
				}
			})
		})
	}
}

func TestStoreFails(t *testing.T) {
	for name, fail := range map[string]func(*memoryStore){
		"with errors": func(s *memoryStore) {
			s.loadErr, s.saveErr, s.noLock = errors.New("down"), errors.New("down"), errors.New("down")
		},
		"by hanging":  func(s *memoryStore) { s.hang = true },
		"to be saved": func(s *memoryStore) { s.saveErr = errors.New("full") },
	} {
		t.Run(name, func(t *testing.T) {
			bothSources(t, func(t *testing.T, source *method, isStable bool) {
				endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
				p := startProcess(t, source, st, endpoint)
				p.keepWarm()
				first := p.token(t)
				st.set(fail)
				wantToken(t, p.token(t), "token-1")
				endpoint.revoke()
				start := time.Now()
				wantToken(t, p.refresh(t, first), "token-2")
				if d := time.Since(start); d > storeTimeout {
					t.Errorf("a new token took %v", d)
				}
				time.Sleep(10 * time.Minute)
				wantToken(t, p.token(t), "token-2")

				// The store is back, with what it had.
				st.set(func(s *memoryStore) { s.loadErr, s.saveErr, s.noLock, s.hang = nil, nil, nil, false })
				time.Sleep(time.Minute)
				before := endpoint.callCount()
				wantToken(t, startProcess(t, source, st, endpoint).token(t), "token-2")
				wantCalls(t, endpoint, before)
			})
		})
	}
}

func TestStoreIsEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		p := startProcess(t, stable, st, endpoint)
		p.keepWarm()
		p.token(t)
		st.set(func(s *memoryStore) { clear(s.values) })
		for range 13 { // asks in the background, and looks into the store once an hour
			time.Sleep(5 * time.Minute)
			p.token(t)
		}
		time.Sleep(time.Minute)
		before := endpoint.callCount()
		wantToken(t, startProcess(t, stable, st, endpoint).token(t), "token-1")
		wantCalls(t, endpoint, before)
	})
}

// Another process has stored the same token as its own: it is no successor.
func TestSameTokenIsNoSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		p := startProcess(t, stable, st, endpoint)
		token := p.token(t)
		st.set(func(s *memoryStore) { clear(s.values) })
		time.Sleep(time.Second)
		wantToken(t, startProcess(t, stable, st, endpoint).token(t), "token-1")
		endpoint.revoke()
		wantToken(t, p.refresh(t, token), "token-2")
	})
}

func TestForeignValueInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		p := startProcess(t, stable, st, endpoint)
		st.values[p.account.ID.storeKey()] = []byte("somebody else's")
		wantToken(t, p.token(t), "token-1")
		wantToken(t, startProcess(t, stable, st, endpoint).token(t), "token-1")
		wantCalls(t, endpoint, 1)
	})
}

// A process died with the lock in its hands.
func TestLockIsNeverReleased(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
		p := startProcess(t, source, st, endpoint)
		token := p.token(t)
		endpoint.revoke()
		if _, err := st.Lock(t.Context(), p.account.runner.lockNameLocked(&p.account.ID)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		wantToken(t, p.refresh(t, token), "token-2")
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("a new token took %v", d)
		}
		// Its successor is under another name.
		start = time.Now()
		endpoint.revoke()
		wantToken(t, p.refresh(t, p.token(t)), "token-3")
		if d := time.Since(start); d > time.Second {
			t.Errorf("the next token took %v", d)
		}
	})
}

// Whoever waits for a lock in vain says nothing against the store, which goes on
// answering until then.
func TestLockInVainIsNoFailureOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{}, newMemoryStore()
		slow := &slowStore{memoryStore: st, latency: 60 * time.Millisecond}
		watched := store.Watch(slow, zap.NewNop())
		m := NewManager(Config{Store: watched, Process: NewProcess(), Logger: zap.NewNop()})
		c := m.Bind(credentialOf(testID, classic, endpoint), NewRunner())
		if _, err := st.Lock(t.Context(), c.runner.lockNameLocked(&c.ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Value(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if n := slow.cut.Load(); n != 0 {
			t.Errorf("%d calls were given up by whoever made them", n)
		}
		if s := watched.State(); !s.Up {
			t.Errorf("%v", s.Err)
		}
	})
}

// A process that could not save learns that the store is back, though another has
// saved the same before it.
func TestStoreIsBackWhereAnotherHasSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		st.saveErr = errors.New("the store is full")
		st.noLock = st.saveErr
		var all []*store.Watched
		for range 2 {
			watched := store.Watch(st, zap.NewNop())
			m := NewManager(Config{Store: watched, Process: NewProcess(), Logger: zap.NewNop()})
			c := m.Bind(credentialOf(testID, stable, endpoint), NewRunner())
			m.KeepWarm(c, 0, 0)
			t.Cleanup(func() { m.Release(context.Background(), c) })
			if _, err := m.Value(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			all = append(all, watched)
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // the first one has tried to save once
		st.set(func(s *memoryStore) { s.saveErr, s.noLock = nil, nil })
		time.Sleep(time.Minute)
		for i, watched := range all {
			if s := watched.State(); !s.Up {
				t.Errorf("process %d: %v", i, s.Err)
			}
		}
	})
}

// slowStore takes its time to load.
type slowStore struct {
	*memoryStore
	latency time.Duration
	cut     atomic.Int64 // loads that could not end
}

func (s *slowStore) Load(ctx context.Context, key string) ([]byte, error) {
	if err := pass(ctx, s.latency); err != nil {
		s.cut.Add(1)
		return nil, err
	}
	return s.memoryStore.Load(ctx, key)
}

func TestClientGoesAwayTokenStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{latency: time.Second}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := p.Token(ctx, p.account); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wantToken(t, p.token(t), "token-1")
		wantCalls(t, endpoint, 1)
	})
}

// What WeChat has issued is saved even if the process is about to end.
func TestReleaseWaitsForTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{latency: 3 * time.Second}, newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		p.keepWarm()
		time.Sleep(time.Second)
		p.Release(t.Context(), p.account)
		time.Sleep(24 * time.Hour) // nothing is renewed any more
		wantCalls(t, endpoint, 1)
		if saves, _ := st.counts(); saves == 0 {
			t.Error("the token was lost")
		}
	})
}

// During a reload the new configuration takes over while the old one still has
// requests under way.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		st := newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		p.keepWarm()
		first := p.token(t)
		second := p.again(st)
		second.keepWarm()
		p.Release(t.Context(), p.account)
		wantToken(t, second.token(t), "token-1")
		wantToken(t, p.refresh(t, first), "token-2")
		wantToken(t, second.token(t), "token-2")
		time.Sleep(113 * time.Minute)
		wantToken(t, second.token(t), "token-3")
		wantCalls(t, endpoint, 3)
		second.Release(t.Context(), second.account)
	})
}

// A reload fails: the old configuration goes on as if nothing had happened.
func TestFailedReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		st := newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		p.keepWarm()
		p.token(t)
		second := p.again(st)
		second.keepWarm()
		second.Release(t.Context(), second.account)
		time.Sleep(24 * time.Hour)
		if n := endpoint.callCount(); n < 12 {
			t.Errorf("%d fetches in a day", n)
		}
	})
}

// The store is down during a reload, and gets the token when it is back.
func TestReloadWhileStoreIsDown(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
		st.saveErr = errors.New("full")
		p := startProcess(t, source, st, endpoint)
		p.keepWarm()
		p.token(t)
		second := p.again(st)
		second.keepWarm()
		p.Release(t.Context(), p.account)
		st.set(func(s *memoryStore) { s.saveErr = nil })
		time.Sleep(time.Minute)
		if saves, _ := st.counts(); saves == 0 {
			t.Error("the store did not get the token")
		}
		second.Release(t.Context(), second.account)
	})
}

// Nothing can be had in place of a dead token: the keeper waits.
func TestKeeperDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{}, newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		p.keepWarm()
		token := p.token(t)
		_ = token
		r := p.account.runner
		r.mu.Lock()
		for r.record.mayReplace(classic.policy, p.now()) {
		}
		r.retireLocked()
		p.account.scheduleLocked(p.now())
		r.mu.Unlock()
		st.set(func(s *memoryStore) { s.loads = 0 })
		time.Sleep(50 * time.Second)
		if _, loads := st.counts(); loads > 10 {
			t.Errorf("the store was read %d times in a minute", loads)
		}
	})
}

// A wrong clock was set right: what it had put off is not put off for long.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{errcode: 40164}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
		if _, err := p.Token(t.Context(), p.account); err == nil {
			t.Fatal("got a token")
		}
		p.now = time.Now
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		wantToken(t, p.token(t), "token-1")
	})
}

// A clock that is behind takes a token for one from the future.
func TestClockIsBehind(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint, st := &fakeEndpoint{stable: isStable}, newMemoryStore()
		ahead, behind := startProcess(t, source, st, endpoint), startProcess(t, source, st, endpoint)
		behind.now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
		ahead.token(t)
		endpoint.revoke()
		wantToken(t, behind.refresh(t, behind.token(t)), "token-2")
		wantToken(t, ahead.refresh(t, ahead.token(t)), "token-2")
		wantCalls(t, endpoint, 2)
	})
}

// What one process cannot reach is not held against the others.
func TestUnreachableForOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		p := startProcess(t, stable, st, &fakeEndpoint{down: true})
		if _, err := p.Token(t.Context(), p.account); err == nil {
			t.Fatal("got a token")
		}
		wantToken(t, startProcess(t, stable, st, &fakeEndpoint{stable: true}).token(t), "token-1")
		time.Sleep(time.Second)
		wantToken(t, p.token(t), "token-1")
	})
}

// Methods have quotas of their own.
func TestBackoffIsThatOfTheMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		p := startProcess(t, classic, st, &fakeEndpoint{errcode: 45009})
		if _, err := p.Token(t.Context(), p.account); err == nil {
			t.Fatal("got a token")
		}
		wantToken(t, startProcess(t, stable, st, &fakeEndpoint{stable: true}).token(t), "token-1")
	})
}

// A token that is given away is not about to die.
func TestTokenLasting(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		p.keepWarm()
		for range 24 * 60 {
			token, err := p.TokenLasting(t.Context(), p.account, 300*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(token.expiresAt); left < 300*time.Second {
				t.Errorf("a token that is given away lives for %v", left)
			}
			time.Sleep(time.Minute)
		}
		if n := endpoint.callCount(); !isStable && n > 14 {
			t.Errorf("asked %d times in a day", n)
		}
	})
}

func TestTokenLastingOfShortLife(t *testing.T) {
	bothSources(t, func(t *testing.T, source *method, isStable bool) {
		endpoint := &fakeEndpoint{stable: isStable, lifetime: 10 * time.Second}
		p := startProcess(t, source, newMemoryStore(), endpoint)
		for range 600 {
			token, err := p.TokenLasting(t.Context(), p.account, 300*time.Second)
			if err != nil || !token.isLive(time.Now()) {
				t.Fatalf("got %v, %v", token, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := endpoint.callCount(); n > 25 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}
