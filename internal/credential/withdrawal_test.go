package credential

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// granted is a credential that others grant and withdraw.
var granted = &method{"granted", &Policy{
	Lead: 10 * time.Minute, Idle: 2 * time.Hour, LookEvery: time.Second, Zone: beijing,
	Withdrawn: Failure{Errcode: 61003, Message: "withdrawn", Class: Configuration},
}}

func startGranted(t *testing.T, st *memoryStore, endpoint Source) *process {
	t.Helper()
	c := credentialOf(testID, granted, endpoint)
	c.Durability = BeforeUse
	return startProcessOf(t, c, st)
}

func (p *process) wantWithdrawn(t *testing.T, want bool) {
	t.Helper()
	v, err := p.Token(t.Context(), p.account)
	u, ok := errors.AsType[*UnavailableError](err)
	switch {
	case want && (!ok || u.Errcode != 61003 || !u.BackingOff):
		t.Errorf("it was withdrawn: got %v, %v", v, err)
	case !want && err != nil:
		t.Errorf("it is granted: %v", err)
	}
	if got := !p.Standing(p.account).WithdrawnAt.IsZero(); got != want {
		t.Errorf("withdrawn: %t, want %t", got, want)
	}
}

// What was withdrawn is used no more, nor asked for, not even by itself; granted
// again, neither the value nor the secret from before is of any use.
func TestWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{kept: "refresh"}, newMemoryStore()
		p := startGranted(t, st, endpoint)
		other := startGranted(t, st, endpoint)
		p.keepWarm()
		first := p.token(t)
		other.token(t)
		time.Sleep(time.Minute)
		for range 2 { // the news come twice
			if err := p.Withdraw(t.Context(), p.account, time.Now().Truncate(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		p.wantWithdrawn(t, true)
		if _, err := p.Refresh(t.Context(), p.account, first); err == nil {
			t.Error("a value that was withdrawn is replaced")
		}
		p.wantState(t, Empty, true)
		time.Sleep(3 * time.Hour)
		wantCalls(t, endpoint, 1)
		other.wantWithdrawn(t, true) // found in the store
		wantCalls(t, endpoint, 1)
		startGranted(t, st, endpoint).wantWithdrawn(t, true)
		if kept := p.Kept(p.account); kept != "" {
			t.Errorf("kept %s", kept)
		}

		if err := other.Reinstate(t.Context(), other.account, time.Now()); err != nil {
			t.Fatal(err)
		}
		wantToken(t, other.token(t), "token-2")
		time.Sleep(time.Second)
		wantToken(t, p.token(t), "token-2")
		if got := endpoint.keeping; !slices.Equal(got, []string{"", ""}) {
			t.Errorf("the secret from before was used: %q", got)
		}
		p.wantState(t, OK, true)
	})
}

// The source hands out the very value that was withdrawn: it is good again.
func TestWithdrawnAndTheSameValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startGranted(t, newMemoryStore(), endpoint)
		p.token(t)
		for range 2 {
			time.Sleep(time.Minute)
			if err := p.Withdraw(t.Context(), p.account, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if err := p.Reinstate(t.Context(), p.account, time.Now()); err != nil {
				t.Fatal(err)
			}
			wantToken(t, p.token(t), "token-1")
		}
		wantCalls(t, endpoint, 3)
	})
}

// A secret to keep, or an operator's success, ends a withdrawal, even if it is the
// same secret, whatever the clocks say; and it ends a back-off on every node.
func TestWithdrawnIsOver(t *testing.T) {
	for name, grant := range map[string]func(t *testing.T, p *process){
		"put": func(t *testing.T, p *process) {
			if err := p.Put(t.Context(), p.account, Grant{Kept: "refresh-1"}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if kept := p.Kept(p.account); kept != "refresh-1" {
				t.Errorf("kept %s", kept)
			}
		},
		"put with a value": func(t *testing.T, p *process) {
			if err := p.Put(t.Context(), p.account, Grant{Value: "pushed", ExpiresIn: time.Hour, Kept: "another"}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			wantToken(t, p.token(t), "pushed")
		},
		"operator": func(t *testing.T, p *process) {
			if err := p.Renew(t.Context(), p.account, ""); err != nil {
				t.Fatal(err)
			}
			wantToken(t, p.token(t), "token-2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint, st := &fakeEndpoint{kept: "refresh"}, newMemoryStore()
				p, other := startGranted(t, st, endpoint), startGranted(t, st, endpoint)
				p.token(t)
				other.token(t)
				// By a clock that is an hour ahead.
				if err := p.Withdraw(t.Context(), p.account, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				p.wantWithdrawn(t, true)
				grant(t, p)
				p.wantWithdrawn(t, false)
				time.Sleep(time.Second)
				other.Look(t.Context(), other.account, 0)
				other.wantWithdrawn(t, false)
				if a, b := p.token(t), other.token(t); a.secret != b.secret {
					t.Errorf("they have %s and %s", a.secret, b.secret)
				}
				// Older news, late.
				if err := other.Withdraw(t.Context(), other.account, time.Now().Add(-time.Minute)); err != nil {
					t.Fatal(err)
				}
				other.wantWithdrawn(t, false)
			})
		})
	}
}

// A secret to keep, alone, is worth a fetch at once, on every node.
func TestKeptEndsABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{errcode: 40013}, newMemoryStore()
		p, other := startGranted(t, st, endpoint), startGranted(t, st, endpoint)
		for range 5 {
			for _, p := range []*process{p, other} {
				if _, err := p.Token(t.Context(), p.account); err == nil {
					t.Fatal("got a value")
				}
			}
			time.Sleep(5 * time.Minute)
		}
		_, _ = p.Token(t.Context(), p.account)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		if err := p.Put(t.Context(), p.account, Grant{Kept: "refresh"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		wantToken(t, other.token(t), "token-1")
		wantToken(t, p.token(t), "token-1")
		if got := endpoint.keeping[len(endpoint.keeping)-1]; got != "refresh" {
			t.Errorf("fetched with %q", got)
		}
	})
}

// News of a grant end a back-off, also those of the second in which the grant was
// seen and the fetch has failed. Older ones that come again do not.
func TestGrantOfTheSameSecondEndsABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		second := time.Now().Truncate(time.Second)
		endpoint := &fakeEndpoint{errcode: 40013}
		p := startGranted(t, newMemoryStore(), endpoint)
		if err := p.Put(t.Context(), p.account, Grant{Kept: "refresh"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		fail := func() {
			t.Helper()
			if _, err := p.Token(t.Context(), p.account); err == nil {
				t.Fatal("got a value")
			}
		}
		fail()
		for i, at := range []time.Time{second.Add(-time.Second), second} {
			if err := p.Reinstate(t.Context(), p.account, at); err != nil {
				t.Fatal(err)
			}
			fail()
			wantCalls(t, endpoint, i+1)
		}
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		if err := p.Reinstate(t.Context(), p.account, second); err != nil {
			t.Fatal(err)
		}
		wantToken(t, p.token(t), "token-1")
	})
}

// A fetch that was under way when the news came does not undo them.
func TestWithdrawnDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{kept: "refresh", latency: 5 * time.Second}, newMemoryStore()
		p, other := startGranted(t, st, endpoint), startGranted(t, st, endpoint)
		go func() { _, _ = p.Token(t.Context(), p.account) }()
		time.Sleep(time.Second)
		if err := other.Withdraw(t.Context(), other.account, time.Now()); err != nil {
			t.Fatal(err)
		}
		p.Look(t.Context(), p.account, 0)
		time.Sleep(10 * time.Second)
		for _, p := range []*process{p, other} {
			p.Look(t.Context(), p.account, 0)
			p.wantWithdrawn(t, true)
		}
		endpoint.set(func(e *fakeEndpoint) { e.latency = 0 })
		time.Sleep(time.Minute)
		if err := p.Reinstate(t.Context(), p.account, time.Now()); err != nil {
			t.Fatal(err)
		}
		if v := p.token(t); v.secret == "token-1" {
			t.Error("what was withdrawn is used")
		}
	})
}

// In whatever order news arrive, how often, and at which node: the latest counts.
func TestNewsInAnyOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			st := newMemoryStore()
			nodes := []*process{startGranted(t, st, &fakeEndpoint{}), startGranted(t, st, &fakeEndpoint{})}
			nodes[0].token(t)
			start := time.Now().Add(time.Hour).Truncate(time.Second)
			n := 1 + rng.IntN(5)
			withdraws := rng.IntN(2) // which of them do: every other one
			var log []string
			for _, i := range append(rng.Perm(n), rng.Perm(n)...) {
				node, at := rng.IntN(2), start.Add(time.Duration(i)*time.Second)
				p, take := nodes[node], (*Manager).Reinstate
				if i%2 == withdraws {
					take = (*Manager).Withdraw
				}
				log = append(log, fmt.Sprintf("%d at node %d", i, node))
				if err := take(p.Manager, t.Context(), p.account, at); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range nodes {
				p.Look(t.Context(), p.account, 0)
				if got := !p.Standing(p.account).WithdrawnAt.IsZero(); got != ((n-1)%2 == withdraws) {
					t.Errorf("withdrawn: %t after %v, where %d withdraws", got, log, withdraws)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

// Of two pieces of news of one second the one that comes later is the later one,
// and one that comes again is not.
func TestNewsOfOneSecond(t *testing.T) {
	at := recordTime(100)
	type news struct {
		withdraws bool
		at        time.Time
	}
	for name, c := range map[string]struct {
		news      []news
		withdrawn bool
	}{
		"granted, withdrawn":                    {[]news{{false, at}, {true, at}}, true},
		"withdrawn, granted":                    {[]news{{true, at}, {false, at}}, false},
		"withdrawn, granted, withdrawn again":   {[]news{{true, at}, {false, at}, {true, at}}, false},
		"granted later, withdrawn":              {[]news{{false, at.Add(time.Second)}, {true, at}}, false},
		"withdrawn later, granted":              {[]news{{true, at.Add(time.Second)}, {false, at}}, true},
		"granted within the second, withdrawn":  {[]news{{false, at.Add(900 * time.Millisecond)}, {true, at}}, true},
		"withdrawn, and granted a second later": {[]news{{true, at}, {false, at.Add(time.Second)}}, false},
	} {
		var r record
		for _, n := range c.news {
			if n.withdraws {
				r.withdraw(n.at)
			} else {
				r.grant(n.at)
			}
		}
		if r.isWithdrawn() != c.withdrawn {
			t.Errorf("%s: withdrawn is %t", name, r.isWithdrawn())
		}
	}
}

// Records of earlier releases, which knew of no withdrawals, are read, and those
// of this one are read by them.
func TestRecordWithoutWithdrawal(t *testing.T) {
	old := []byte(`{"generation":5,"access_token":"token","fetched_at":"2026-03-01T00:00:00Z","expires_at":"2026-03-01T02:00:00Z","kept":{"version":3,"secret":"refresh"}}`)
	r, err := unmarshalRecord(old)
	if err != nil || r.isWithdrawn() || r.isVoid() || r.keptSecret() != "refresh" {
		t.Fatalf("got %+v, %v", r, err)
	}
	again, err := r.marshal()
	if err != nil || string(again) != string(old) {
		t.Errorf("got %s, %v", again, err)
	}
}

// News that the store does not take change nothing.
func TestNewsAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		p := startGranted(t, st, &fakeEndpoint{})
		p.token(t)
		for _, fail := range []func(*memoryStore){
			func(s *memoryStore) { s.saveErr = errors.New("full") },
			func(s *memoryStore) { s.loadErr = errors.New("down") },
		} {
			st.set(fail)
			if err := p.Withdraw(t.Context(), p.account, time.Now()); !isUnsaved(err) {
				t.Errorf("got %v", err)
			}
			p.wantWithdrawn(t, false)
			st.set(func(s *memoryStore) { s.saveErr, s.loadErr = nil, nil })
		}
	})
}

// A source whose vain fetches have to be apart is asked no earlier, though a value
// has come meanwhile and was refused; and one that is pushed works at once.
func TestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pushed := &method{"pushed", &Policy{Apart: 10 * time.Minute, LookEvery: time.Second, ConfigurationBackoff: Waits{10 * time.Minute, 10 * time.Minute}}}
		endpoint, st := &fakeEndpoint{errcode: 40001}, newMemoryStore()
		a := startProcess(t, pushed, st, endpoint)
		b := startProcess(t, pushed, st, endpoint)
		began := time.Now()
		for i := 0; time.Since(began) < 29*time.Minute; i++ {
			for _, p := range []*process{a, b} {
				if _, err := p.Token(t.Context(), p.account); err == nil {
					t.Fatal("got a value")
				}
			}
			if err := a.Put(t.Context(), a.account, Grant{Value: fmt.Sprint("ticket-", i), ExpiresIn: 12 * time.Hour}, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for _, p := range []*process{a, b} {
				v, err := p.Token(t.Context(), p.account)
				if err != nil {
					t.Fatalf("what was pushed does not work at once: %v", err)
				}
				if _, err := p.Refresh(t.Context(), p.account, v); err == nil {
					t.Fatal("it was replaced")
				}
			}
			time.Sleep(17 * time.Second)
		}
		wantCalls(t, endpoint, 3)
	})
}

// A push during the fetch that has caused it is not followed by a back-off.
func TestPushDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pushed := &method{"pushed", &Policy{Apart: 10 * time.Minute, LookEvery: time.Second}}
		endpoint := &fakeEndpoint{errcode: 40001, latency: 2 * time.Second}
		p := startProcess(t, pushed, newMemoryStore(), endpoint)
		go func() {
			time.Sleep(time.Second)
			if err := p.Put(context.Background(), p.account, Grant{Value: "ticket", ExpiresIn: time.Hour}, time.Now()); err != nil {
				t.Error(err)
			}
		}()
		v, err := p.Token(t.Context(), p.account)
		if err != nil || v.secret != "ticket" {
			t.Errorf("got %v, %v", v, err)
		}
		p.wantState(t, OK, true)
	})
}
