package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The policies of what comes, with made-up sources: they need no change here.
var (
	// wecom gives the same token while it lives, and none by force.
	wecom = &method{"wecom", &Policy{
		Lead: time.Minute, Extension: 5 * time.Minute, Idempotent: true, Rejected: Waits{time.Second, 30 * time.Second},
		ConfigurationBackoff: Waits{10 * time.Second, 15 * time.Minute}, FailureClass: "wecom", FailuresPerHour: 100, Zone: beijing,
	}}

	// tickets are good for two hours after they were last handed out.
	tickets = &method{"ticket", &Policy{Lead: time.Minute, Recheck: 20 * time.Minute, Idle: time.Hour, Life: 2 * time.Hour, Idempotent: true}}
)

// The same value again lives no longer, and is good for a while at its end.
func TestFirstSightStartsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true, insist: true} // two hours, whenever it is asked
		p := startProcess(t, wecom, newMemoryStore(), endpoint)
		start := time.Now()
		first := p.token(t)
		time.Sleep(time.Hour)
		if err := p.Renew(t.Context(), p.account, ""); err != nil {
			t.Fatal(err)
		}
		if v := p.token(t); !v.ExpiresAt().Equal(first.ExpiresAt()) || v.Generation() != first.Generation() {
			t.Errorf("the life of the same value was extended to %v", v.ExpiresAt().Sub(start))
		}
		p.keepWarm()
		time.Sleep(time.Hour - time.Second)
		for range 60 {
			if v := p.token(t); v.Generation() != first.Generation() || time.Until(v.ExpiresAt()) > 5*time.Minute {
				t.Fatalf("%v is good for %v", v, time.Until(v.ExpiresAt()))
			}
			time.Sleep(time.Minute)
		}
		endpoint.set(func(e *fakeEndpoint) { e.insist, e.expires = false, time.Time{} })
		time.Sleep(5 * time.Minute)
		wantToken(t, p.token(t), "token-2")
	})
}

// A rejected value is tried again after 100 ms, then asked for after 1 s growing
// to 30 s, until there is another or it is accepted.
func TestRejectedAndNoOther(t *testing.T) {
	for _, end := range []string{"another", "accepted"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint := &fakeEndpoint{stable: true, insist: true}
				p := startProcess(t, wecom, newMemoryStore(), endpoint)
				p.keepWarm()
				first := p.token(t)
				start := time.Now()
				again, err := p.Replace(t.Context(), p.account, first, "orders")
				if err != nil || again.Secret() != first.Secret() || time.Since(start) != ReplayPause {
					t.Fatalf("got %v, %v after %v", again.Value, err, time.Since(start))
				}
				again.Report(false)
				if s := p.Status(p.account); s.State != Refused || s.Healthy || !s.Usable || s.Since.IsZero() {
					t.Errorf("got %+v", s)
				}
				if _, err := p.Replace(t.Context(), p.account, again.Value, "orders"); !errors.Is(err, ErrStillRejected) {
					t.Errorf("got %v", err)
				}
				wantToken(t, p.token(t), "token-1") // others go on
				before := endpoint.callCount()
				time.Sleep(10 * time.Minute)
				endpoint.set(func(e *fakeEndpoint) {
					for i, at := range e.calls[before:] {
						if gap := at.Sub(e.calls[before+i-1]); gap < time.Second || gap > 34*time.Second {
							t.Errorf("asked again after %v", gap)
						}
					}
					if n := len(e.calls) - before; n < 20 || n > 28 || len(e.forced) > 0 {
						t.Errorf("asked %d times, %d forced", n, len(e.forced))
					}
				})
				if end == "another" {
					endpoint.set(func(e *fakeEndpoint) { e.insist, e.expires = false, time.Time{} })
					time.Sleep(35 * time.Second)
					wantToken(t, p.token(t), "token-2")
				}
				p.token(t).Accept()
				if s := p.Status(p.account); s.State != OK || !s.Healthy || !s.Since.IsZero() {
					t.Errorf("got %+v", s)
				}
				before = endpoint.callCount()
				time.Sleep(10 * time.Minute)
				wantCalls(t, endpoint, before)
			})
		})
	}
}

// All of a class have one budget of failures, an operator's included, and those
// that work go on.
func TestFailureBudgetOfAClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, st := &fakeEndpoint{errcode: 40001}, newMemoryStore()
		good := startProcess(t, wecom, st, &fakeEndpoint{stable: true})
		good.token(t)
		var processes []*process
		for i := range 30 {
			id := testID
			id.Identity = fmt.Sprintf("corp-%d", i)
			p := startProcessAs(t, id, wecom, st, bad)
			p.process = good.process
			p.keepWarm()
			processes = append(processes, p)
		}
		for range 59 {
			time.Sleep(time.Minute)
			_ = processes[0].Renew(t.Context(), processes[0].account, "")
			if _, err := good.Token(t.Context(), good.account); err != nil {
				t.Fatal(err)
			}
		}
		if n := bad.callCount(); n != 80 {
			t.Errorf("%d failing calls in an hour, want 80, as a fifth of 100 is for those that work", n)
		}
		if err := processes[0].Renew(t.Context(), processes[0].account, ""); err == nil {
			t.Error("an operator's call went out, or succeeded")
		}
		if err := good.Renew(t.Context(), good.account, ""); err != nil {
			t.Errorf("a call that works is not made: %v", err)
		}
		time.Sleep(time.Hour)
		if n := bad.callCount(); n < 120 || n > 161 {
			t.Errorf("%d failing calls in two hours", n)
		}
	})
}

// However many credentials begin at once, none of them goes without because of
// fetches that may yet succeed.
func TestFailureBudgetAndFetchesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, bad := newMemoryStore(), &fakeEndpoint{errcode: 40001, latency: time.Second}
		var shared *Process
		var requests sync.WaitGroup
		for i := range 300 {
			id := testID
			id.Identity = fmt.Sprintf("corp-%d", i)
			endpoint, isGood := bad, i%5 > 0
			if isGood {
				endpoint = &fakeEndpoint{stable: true, latency: time.Second}
			}
			p := startProcessAs(t, id, wecom, st, endpoint)
			if shared == nil {
				shared = p.process
			}
			p.process = shared
			requests.Go(func() {
				if _, err := p.Token(t.Context(), p.account); (err == nil) != isGood {
					t.Errorf("%s: %v", id.Identity, err)
				}
			})
		}
		requests.Wait()
		wantCalls(t, bad, 60)
	})
}

// A ticket is asked for every 20 minutes while it is used, no more when it is
// not, and is served until it was last confirmed two hours ago.
func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, endpoint, st := &fakeEndpoint{stable: true}, &fakeEndpoint{stable: true, insist: true}, newMemoryStore()
		token := startProcess(t, stable, st, tokens)
		c := credentialOf(testID, tickets, endpoint)
		c.Parent = token.account
		p := startProcessOf(t, c, st)
		p.keepWarm()
		time.Sleep(time.Hour)
		wantCalls(t, endpoint, 0) // nobody has used it
		for range 6 * 60 {
			wantToken(t, p.token(t), "token-1")
			time.Sleep(time.Minute)
		}
		endpoint.set(func(e *fakeEndpoint) {
			if n := len(e.calls); n < 18 || n > 24 {
				t.Errorf("asked %d times in six hours", n)
			}
			for i, at := range e.calls[1:] {
				if gap := at.Sub(e.calls[i]); gap > 20*time.Minute+time.Second {
					t.Errorf("asked again after %v", gap)
				}
			}
		})
		last := time.Now()
		time.Sleep(70 * time.Minute)
		asleep := endpoint.callCount()
		time.Sleep(40 * time.Minute)
		wantCalls(t, endpoint, asleep)
		// Used again, while WeChat gives none.
		p.token(t)
		time.Sleep(time.Minute)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
		for confirmed := endpoint.calls[len(endpoint.calls)-1]; time.Since(confirmed) < 2*time.Hour; time.Sleep(time.Minute) {
			wantToken(t, p.token(t), "token-1")
		}
		_, err := p.Token(t.Context(), p.account)
		if u, ok := errors.AsType[*UnavailableError](err); !ok || u.Errcode != 40164 {
			t.Errorf("%v after the last use: %v", time.Since(last), err)
		}
	})
}

// Neither is a value that the store has kept for long handed out before the source
// has confirmed it, and one of a moment ago costs no fetch.
func TestOverdueInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true, insist: true, lifetime: 24 * time.Hour}, newMemoryStore()
		for _, step := range []struct {
			pause time.Duration
			calls int
		}{{0, 1}, {90 * time.Minute, 2}, {10 * time.Minute, 2}} {
			time.Sleep(step.pause)
			p := startProcessOf(t, credentialOf(testID, tickets, endpoint), st)
			wantToken(t, p.token(t), "token-1")
			wantCalls(t, endpoint, step.calls)
		}
	})
}

// childEndpoint refuses every value of the parent's but the current one.
func childEndpoint(parent *fakeEndpoint) *fakeEndpoint {
	return &fakeEndpoint{stable: true, insist: true, parent: func(v *Value) error {
		if v == nil || v.Secret() != fmt.Sprintf("token-%d", parent.issued) {
			return &Failure{Errcode: 40001, Message: "invalid credential", ParentRejected: true}
		}
		return nil
	}}
}

// family is a credential and its parent in one process.
func family(t *testing.T, st *memoryStore, parent, child *fakeEndpoint) (p, c *process) {
	t.Helper()
	p = startProcess(t, stable, st, parent)
	credential := credentialOf(testID, tickets, child)
	credential.Parent = p.account
	m := p.Manager
	m.Bind(credential, NewRunner())
	t.Cleanup(func() { m.Release(context.Background(), credential) })
	return p, &process{m, credential}
}

// A parent's dead value is cured at the parent, once for all, and the child's
// fetch repeated once.
func TestParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parentEndpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		endpoint := childEndpoint(parentEndpoint)
		parent, child := family(t, st, parentEndpoint, endpoint)
		wantToken(t, child.token(t), "token-1")
		wantCalls(t, parentEndpoint, 1)

		// A restart costs no fetch of either.
		_, restarted := family(t, st, parentEndpoint, endpoint)
		wantToken(t, restarted.token(t), "token-1")
		wantCalls(t, parentEndpoint, 1)
		wantCalls(t, endpoint, 1)

		// The parent's value has died.
		parentEndpoint.set(func(e *fakeEndpoint) { e.issued++; e.expires = time.Now().Add(2 * time.Hour) })
		if err := child.Renew(t.Context(), child.account, ""); err != nil {
			t.Fatal(err)
		}
		wantToken(t, parent.token(t), "token-2")
		wantCalls(t, parentEndpoint, 2)
		wantCalls(t, endpoint, 3) // refused, and repeated

		// The other process adopts what the first has cured.
		if err := restarted.Renew(t.Context(), restarted.account, ""); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, parentEndpoint, 2)

		// After a reload as well.
		reloaded := child.again(st)
		reloaded.account.Parent = parent.again(st).account
		if err := reloaded.Renew(t.Context(), reloaded.account, ""); err != nil {
			t.Fatal(err)
		}
		wantCalls(t, parentEndpoint, 2)

		// The parent has none: the child says why, and asks nobody.
		parentEndpoint.set(func(e *fakeEndpoint) { e.errcode = 40164; e.issued++ })
		before := endpoint.callCount()
		for range 2 {
			err := child.Renew(t.Context(), child.account, "")
			if u, ok := errors.AsType[*UnavailableError](err); !ok || u.Errcode != 40164 || u.Name != child.account.Name {
				t.Errorf("got %v", err)
			}
			wantCalls(t, endpoint, before+1)
		}
	})
}

// What must be saved before it is used is neither used nor acknowledged while the
// store fails.
func TestBeforeUse(t *testing.T) {
	for name, fail := range map[string]func(*memoryStore){
		"nothing is saved": func(s *memoryStore) { s.saveErr = errors.New("full") },
		"nothing is read":  func(s *memoryStore) { s.loadErr = errors.New("down") },
		"all fails": func(s *memoryStore) {
			s.loadErr, s.saveErr, s.noLock = errors.New("down"), errors.New("down"), errors.New("down")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint, st := &fakeEndpoint{kept: "kept"}, newMemoryStore()
				c := credentialOf(testID, classic, endpoint)
				c.Durability = BeforeUse
				p := startProcessOf(t, c, st)
				first := p.token(t)
				if kept := p.Kept(c); kept != "kept-1" {
					t.Errorf("kept %s", kept)
				}
				st.set(fail)
				issued := time.Now().Add(time.Second)
				if err := p.Put(t.Context(), c, Grant{Value: "pushed", ExpiresIn: time.Hour}, issued); !isUnsaved(err) {
					t.Errorf("Put returned %v", err)
				}
				if err := p.Put(t.Context(), c, Grant{Kept: "another"}, issued); !isUnsaved(err) {
					t.Errorf("Put returned %v", err)
				}
				if err := p.Renew(t.Context(), c, ""); !isUnsaved(err) {
					t.Errorf("Renew returned %v", err)
				}
				if v := p.token(t); v.Secret() != first.Secret() || p.Kept(c) != "kept-1" {
					t.Errorf("%s is used, %s kept", v.Secret(), p.Kept(c))
				}
				st.set(func(s *memoryStore) { s.loadErr, s.saveErr, s.noLock = nil, nil, nil })
				time.Sleep(time.Minute)
				if err := p.Put(t.Context(), c, Grant{Value: "pushed", ExpiresIn: time.Hour, Kept: "another"}, issued); err != nil {
					t.Fatal(err)
				}
				wantToken(t, p.token(t), "pushed")
				other := startProcessOf(t, c.copyFor(endpoint), st)
				wantToken(t, other.token(t), "pushed")
				if kept := other.Kept(other.account); kept != "another" {
					t.Errorf("kept %s", kept)
				}
			})
		})
	}
}

func isUnsaved(err error) bool {
	_, ok := errors.AsType[*UnsavedError](err)
	return ok
}

// copyFor returns the credential as another process has it.
func (c *Credential) copyFor(source Source) *Credential {
	other := *c
	other.Source, other.runner, other.manager = source, nil, nil
	return &other
}

// Of what is pushed the newest counts, whichever process takes it, and what comes
// again changes nothing.
func TestPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		c := credentialOf(testID, classic, &fakeEndpoint{down: true})
		c.Durability = BeforeUse
		a := startProcessOf(t, c, st)
		b := startProcessOf(t, c.copyFor(c.Source), st)
		put := func(p *process, value string, issued time.Duration) {
			t.Helper()
			at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(issued)
			if err := p.Put(t.Context(), p.account, Grant{Value: value, ExpiresIn: 12 * time.Hour}, at); err != nil {
				t.Fatal(err)
			}
		}
		put(a, "ticket-1", 0)
		put(b, "ticket-2", 10*time.Minute)
		put(a, "ticket-1", 0) // it comes late
		wantToken(t, a.token(t), "ticket-2")
		put(a, "ticket-3", 10*time.Minute) // of the same time, but later
		saves, _ := st.counts()
		put(a, "ticket-3", 10*time.Minute)
		if again, _ := st.counts(); again != saves {
			t.Error("what came again was saved again")
		}
		put(b, "ticket-2", 5*time.Minute)
		wantToken(t, a.token(t), "ticket-3")
		wantToken(t, b.token(t), "ticket-3")
		if err := a.Put(t.Context(), a.account, Grant{}, time.Now()); err == nil {
			t.Error("nothing was pushed, and taken")
		}
	})
}

// The secret that is kept goes into each fetch, sealed in between.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{kept: "refresh"}, newMemoryStore()
		p := startProcess(t, classic, st, endpoint)
		p.token(t)
		restarted := startProcess(t, classic, st, endpoint)
		restarted.token(t)
		if err := restarted.Renew(t.Context(), restarted.account, ""); err != nil {
			t.Fatal(err)
		}
		endpoint.set(func(e *fakeEndpoint) {
			if got := fmt.Sprint(e.keeping); got != "[ refresh-1]" {
				t.Errorf("fetched with %s", got)
			}
		})
	})
}
