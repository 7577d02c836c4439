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

// contested is a classic endpoint with a competing fetcher: every value dies at
// once, a second after it was first used.
type contested struct {
	fakeEndpoint
	born map[string]time.Time
}

func (c *contested) accepts(v *Value) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.born[v.Secret()]
	if !ok {
		c.born[v.Secret()] = time.Now()
		return true
	}
	return time.Since(at) < time.Second
}

// A competing fetcher kills every value, all day long. However many processes
// there are and however often they restart, they use no more of the quota than
// they may together.
func TestBudgetOfTheDay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		processes int
		restart   time.Duration
	}{{10, 0}, {1, 0}, {2, 0}, {3, 0}, {1, 3 * time.Hour}, {3, 3 * time.Hour}} {
		t.Run(fmt.Sprintf("%d processes, restart every %v", c.processes, c.restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(classic.policy.dayAfter(time.Now())))
				midnight := time.Now()
				endpoint, st := &contested{born: make(map[string]time.Time)}, newMemoryStore()
				endpoint.latency = 50 * time.Millisecond
				endpoint.verdict = func(v *Value) Verdict {
					if at, ok := endpoint.born[v.Secret()]; ok && time.Since(at) >= time.Second {
						return Rejected
					}
					return Good
				}
				var wg sync.WaitGroup
				for i := range c.processes {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 1237 * time.Millisecond)
						for time.Since(midnight) < 24*time.Hour {
							end := midnight.Add(24 * time.Hour)
							if c.restart > 0 {
								end = time.Now().Add(c.restart)
							}
							endpoint.serve(t, st, end)
						}
					})
				}
				wg.Wait()
				if n := endpoint.callCount(); n > 1_940 || n < 1_500 {
					t.Errorf("%d fetches in a day, where 1,940 are the most", n)
				}
			})
		})
	}
}

// serve is a process in steady use until a time.
func (c *contested) serve(t *testing.T, st *memoryStore, end time.Time) {
	m := newManager(st)
	p := &process{m, m.Bind(credentialOf(testID, classic, c), NewRunner())}
	p.keepWarm()
	for ; time.Now().Before(end); time.Sleep(5 * time.Second) {
		v, err := p.Token(t.Context(), p.account)
		if err != nil {
			continue
		}
		if c.accepts(v) {
			v.Accept()
			continue
		}
		other, err := p.Replace(t.Context(), p.account, v, "")
		if err != nil {
			continue
		}
		sleep(t.Context(), other.Wait)
		accepted := c.accepts(other.Value)
		if accepted {
			other.Accept()
		}
		other.Report(accepted)
	}
	p.Release(context.Background(), p.account)
}

// A budget that a wrong clock has spent is not spent for long: the day's count
// decides.
func TestBudgetAndAWrongClock(t *testing.T) {
	now := recordTime(0)
	r := record{Replacements: now.Add(1000 * time.Hour)}
	r.Attempt = attempt{Number: 1, Day: classic.policy.dayOf(now), OfDay: 1_899}
	if !r.mayReplace(classic.policy, now) {
		t.Error("there is nothing left")
	}
	r.Attempt.OfDay++
	if r.mayReplace(classic.policy, now) {
		t.Error("the day's count does not decide")
	}
}

// A token in steady use costs the store next to nothing.
func TestStoreUseInADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true}, newMemoryStore()
		p := startProcess(t, stable, st, endpoint)
		p.keepWarm()
		for range 24 * 60 * 6 {
			p.token(t).Accept()
			time.Sleep(10 * time.Second)
		}
		saves, loads := st.counts()
		t.Logf("%d loads, %d saves, %d fetches", loads, saves, endpoint.callCount())
		if loads > 95 || saves > 31 {
			t.Errorf("%d loads and %d saves in a day; 95 and 31 are the most", loads, saves)
		}
		endpoint.set(func(e *fakeEndpoint) {
			for i := 1; i < len(e.calls); i++ {
				if gap := e.calls[i].Sub(e.calls[i-1]); gap > 5*time.Minute+10*time.Second {
					t.Errorf("asked again after %v", gap)
				}
			}
		})
		if q := p.Status(p.account).Quotas; q.Fetches.Used < 100 {
			t.Errorf("%d fetches are counted", q.Fetches.Used)
		}
	})
}

// One who has values fetched in vain is not listened to for a while; others are.
func TestVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint := &fakeEndpoint{}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.token(t)
		report := func(by string, helped bool) error {
			r, err := p.Replace(t.Context(), p.account, p.token(t), by)
			if err == nil {
				if helped {
					r.Accept()
				}
				r.Report(helped)
			}
			time.Sleep(time.Minute)
			return err
		}
		for range 12 { // a competing fetcher kills its tokens: that is not in vain
			if err := report("orders", true); err != nil {
				t.Fatal(err)
			}
		}
		for range vainPerHour {
			if err := report("10.0.0.1", false); err != nil {
				t.Fatal(err)
			}
		}
		before := endpoint.callCount()
		for range 10 {
			if err := report("10.0.0.1", false); !errors.Is(err, ErrStillRejected) {
				t.Errorf("got %v", err)
			}
		}
		wantCalls(t, endpoint, before)
		if err := report("10.0.0.2", true); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if err := report("10.0.0.1", false); err != nil {
			t.Error(err)
		}
	})
}

// That the values of many credentials die at once, or that some are refused for
// good, leaves no other without a cure.
func TestVainIsCountedByCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		first := startProcess(t, classic, st, &fakeEndpoint{})
		var all []*process
		for i := range 3 * vainPerHour {
			id := testID
			id.Identity += fmt.Sprint(i)
			c := credentialOf(id, classic, &fakeEndpoint{latency: time.Second})
			all = append(all, &process{first.Manager, first.Bind(c, NewRunner())})
		}
		for _, inVain := range []bool{false, true, false} {
			var requests sync.WaitGroup
			for _, p := range all {
				old := p.token(t)
				requests.Go(func() {
					r, err := p.Replace(t.Context(), p.account, old, "orders")
					if err != nil {
						t.Errorf("%v", err)
						return
					}
					if !inVain {
						r.Accept()
					}
					r.Report(!inVain)
				})
			}
			requests.Wait()
			time.Sleep(time.Minute)
		}
	})
}

// Neither another process nor a restart forgets who had values fetched in vain.
func TestVainInTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{}, newMemoryStore()
		report := func(p *process, leave bool) error {
			r, err := p.Replace(t.Context(), p.account, p.token(t), "orders")
			if err == nil && leave {
				r.Forfeit()
			} else if err == nil {
				r.Report(false)
			}
			time.Sleep(time.Minute)
			return err
		}
		for i := range vainPerHour {
			// Each is a process that has just begun.
			if err := report(startProcess(t, classic, st, endpoint), i%2 == 0); err != nil {
				t.Fatal(err)
			}
		}
		before := endpoint.callCount()
		for range 3 {
			if err := report(startProcess(t, classic, st, endpoint), false); !errors.Is(err, ErrStillRejected) {
				t.Errorf("got %v", err)
			}
		}
		wantCalls(t, endpoint, before)
		time.Sleep(time.Hour)
		if err := report(startProcess(t, classic, st, endpoint), false); err != nil {
			t.Error(err)
		}
	})
}

// However many there are, no more are remembered than fit.
func TestRequestersAreBounded(t *testing.T) {
	p, now := NewProcess(), recordTime(0)
	for i := range 3 * requestersMax {
		p.charge(fmt.Sprint(i), now)
	}
	if len(p.vain) != requestersMax || p.recent.Len() != requestersMax {
		t.Errorf("%d are remembered", len(p.vain))
	}
	for range vainPerHour {
		p.charge("x", now)
	}
	if !p.isVain("x", now) || p.isVain("0", now) || p.isVain("", now) || p.isVain("x", now.Add(time.Hour)) {
		t.Error("the wrong ones are remembered")
	}
}

// A refusal that leaves the budget alone may come as often as it likes.
func TestFailureBudgetUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &fakeEndpoint{parent: func(*Value) error { return &Failure{Errcode: 40001, Uncounted: true} }}
		behind := startProcess(t, wecom, newMemoryStore(), hub)
		for range 150 {
			_ = behind.Renew(t.Context(), behind.account, "")
			time.Sleep(time.Second)
		}
		if n := hub.callCount(); n < 150 {
			t.Errorf("%d calls of 150 went out", n)
		}
		other, bad := testID, &fakeEndpoint{errcode: 40001}
		other.Identity = "another"
		p := startProcessAs(t, other, wecom, newMemoryStore(), bad)
		p.process = behind.process
		if _, err := p.Token(t.Context(), p.account); err == nil || bad.callCount() != 1 {
			t.Errorf("%v: another account was asked for %d times", err, bad.callCount())
		}
	})
}
