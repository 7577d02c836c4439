package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// The table in the comment of derive, line by line, and that every combination is
// in it.
func TestDerive(t *testing.T) {
	for i := range 1 << 6 {
		f := facts{live: i&1 > 0, retired: i&2 > 0, rejected: i&4 > 0, fetching: i&8 > 0, backingOff: i&16 > 0, withdrawn: i&32 > 0}
		served := f.live && !f.retired
		want := situation{Empty, false, !f.retired}
		switch {
		case f.withdrawn:
			want = situation{Empty, false, true}
		case served && f.backingOff:
			want = situation{BackOff, true, !f.rejected}
		case f.backingOff:
			want = situation{BackOff, false, false}
		case f.rejected:
			want = situation{Refused, served, false}
		case f.fetching:
			want = situation{Renewing, served, served}
		case served:
			want = situation{OK, true, true}
		}
		if got := derive(f); got != want {
			t.Errorf("%+v: got %+v, want %+v", f, got, want)
		}
	}
}

func (p *process) wantState(t *testing.T, want State, healthy bool) Status {
	t.Helper()
	s := p.Status(p.account)
	if s.State != want || s.Healthy != healthy || (want == Refused || want == BackOff) == s.Since.IsZero() {
		t.Errorf("got %+v, want %s, healthy: %t", s, want, healthy)
	}
	return s
}

// request is what the proxy does with a value.
func (p *process) request(t *testing.T, accepts func(*Value) bool) {
	t.Helper()
	v, err := p.Token(t.Context(), p.account)
	if err != nil {
		return
	}
	if accepts(v) {
		v.Accept()
		return
	}
	r, err := p.Replace(t.Context(), p.account, v, "orders")
	if err != nil {
		return
	}
	sleep(t.Context(), r.Wait)
	accepted := accepts(r.Value)
	if accepted {
		r.Accept()
	}
	r.Report(accepted)
}

// For an hour WeChat rejects every token: the state says so, on every node and
// after a restart, and since when; and it is over when one is accepted.
func TestStateWhileEverythingIsRejected(t *testing.T) {
	for _, c := range []struct {
		source  *method
		insist  bool
		checked bool
	}{{stable, false, true}, {stable, true, true}, {classic, false, true}, {classic, false, false}, {stable, true, false}} {
		t.Run(fmt.Sprintf("%s, insists %t, checked %t", c.source.name, c.insist, c.checked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rejecting := false
				accepts := func(*Value) bool { return !rejecting }
				endpoint, st := &fakeEndpoint{stable: c.source == stable, insist: c.insist}, newMemoryStore()
				if c.checked {
					endpoint.verdict = func(*Value) Verdict {
						if rejecting {
							return Rejected
						}
						return Good
					}
				}
				p := startProcess(t, c.source, st, endpoint)
				p.wantState(t, Empty, true)
				p.keepWarm()
				p.request(t, accepts)
				p.wantState(t, OK, true)
				rejecting = true
				p.request(t, accepts)
				start := time.Now()
				var since time.Time
				for range 360 {
					p.request(t, accepts)
					s := p.wantState(t, Refused, false)
					if since.IsZero() {
						since = s.Since
					}
					if !s.Since.Equal(since) || since.After(start) {
						t.Fatalf("since %v, which was %v", s.Since, since)
					}
					time.Sleep(10 * time.Second)
				}
				other := startProcess(t, c.source, st, endpoint)
				other.token(t)
				other.wantState(t, Refused, false)
				if n := endpoint.callCount(); n > 60 {
					t.Errorf("%d fetches in an hour", n)
				}
				rejecting = false
				p.request(t, accepts)
				time.Sleep(time.Second) // the request may have found a renewal due
				p.wantState(t, OK, true)
				time.Sleep(5 * time.Second) // until that is saved
				other.Look(t.Context(), other.account, 0)
				other.wantState(t, OK, true)
			})
		})
	}
}

// A store that takes longer than the back-off does not make an account look as if
// nobody had needed a token yet: the last fetch has failed, or another is under way.
func TestFailureCountsUntilTheNextFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{latency: 5 * time.Millisecond, errcode: 40125}, newMemoryStore()
		st.saving = 1500 * time.Millisecond
		p := startProcess(t, classic, st, endpoint)
		p.keepWarm()
		if _, err := p.Token(t.Context(), p.account); err == nil {
			t.Fatal("a token of nobody's")
		}
		for range 5000 {
			s := p.Status(p.account)
			if s.State != BackOff && s.State != Renewing || s.Healthy || (s.State == BackOff) == (s.Since.IsZero() || s.RetryAt.IsZero()) {
				t.Fatalf("after %d fetches: %+v", endpoint.callCount(), s)
			}
			time.Sleep(time.Millisecond)
		}
		if endpoint.callCount() < 2 {
			t.Error("it was not tried again")
		}
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		time.Sleep(time.Minute)
		p.wantState(t, OK, true)
	})
}

// Where nobody is going to fetch by itself, a failure is over with its back-off.
func TestFailureIsOverWithItsBackOff(t *testing.T) {
	for name, end := range map[string]func(*process){
		"the configuration is gone": func(p *process) { p.Close() },
		"nobody keeps it warm":      func(p *process) { p.account.End() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoint, st := &fakeEndpoint{errcode: 40125}, newMemoryStore()
				p := startProcess(t, classic, st, endpoint)
				p.keepWarm()
				if _, err := p.Token(t.Context(), p.account); err == nil {
					t.Fatal("a token of nobody's")
				}
				p.wantState(t, BackOff, false)
				end(p)
				time.Sleep(classic.policy.longestBackoff(Configuration))
				p.again(st).wantState(t, Empty, true)
			})
		})
	}
}

// One node sees a value rejected, another goes on seeing it accepted: what was
// seen last counts, on all.
func TestStandingOfTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true, insist: true}, newMemoryStore()
		a, b := startProcess(t, stable, st, endpoint), startProcess(t, stable, st, endpoint)
		a.request(t, func(*Value) bool { return true })
		b.account.runner.replayedInVain(b.token(t)) // of the same generation
		b.wantState(t, Refused, false)
		time.Sleep(5 * time.Second)
		a.Look(t.Context(), a.account, 0)
		a.wantState(t, Refused, false)
		a.request(t, func(*Value) bool { return true })
		a.wantState(t, OK, true)
		time.Sleep(5 * time.Second)
		b.Look(t.Context(), b.account, 0)
		b.wantState(t, OK, true)
	})
}

// A caller whose word is not listened to any more, and who is the only one, is
// cured by and by all the same.
func TestRecoveryByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := make(map[string]bool)
		rejecting := false
		accepts := func(v *Value) bool {
			if rejecting {
				dead[v.Secret()] = true
			}
			return !dead[v.Secret()]
		}
		endpoint := &fakeEndpoint{verdict: func(v *Value) Verdict {
			if accepts(v) {
				return Good
			}
			return Rejected
		}}
		p := startProcess(t, classic, newMemoryStore(), endpoint)
		p.keepWarm()
		p.request(t, accepts)
		rejecting = true
		for range 600 {
			p.request(t, accepts)
			time.Sleep(time.Second)
		}
		rejecting = false
		p.wantState(t, Refused, false)
		for range 25 {
			p.request(t, accepts)
			time.Sleep(time.Minute)
		}
		p.wantState(t, OK, true)
	})
}

// A good token is not given up on one client's word: nothing is fetched, nobody
// loses it, and a flood of words costs no flood of checks.
func TestCheckedBeforeItIsGivenUp(t *testing.T) {
	for _, during := range []string{"ok", "backoff"} {
		t.Run(during, func(t *testing.T) {
			bothSources(t, func(t *testing.T, source *method, isStable bool) {
				endpoint, st := &fakeEndpoint{stable: isStable, verdict: func(*Value) Verdict { return Good }}, newMemoryStore()
				p := startProcess(t, source, st, endpoint)
				first := p.token(t)
				if during == "backoff" {
					endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
					_ = p.Renew(t.Context(), p.account, "")
				}
				before := endpoint.callCount()
				var wg sync.WaitGroup
				start := time.Now()
				for i := range 1000 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * time.Millisecond)
						begin := time.Now()
						r, err := p.Replace(t.Context(), p.account, first, "evil")
						if err != nil || r.Secret() != first.Secret() || r.Wait != ReplayPause || time.Since(begin) > time.Second {
							t.Errorf("got %v, wait %v, %v", r.Value, r.Wait, err)
						}
						r.Report(false)
						if v, err := p.Token(t.Context(), p.account); err != nil || v.Secret() != first.Secret() {
							t.Errorf("others get %v, %v", v, err)
						}
					})
				}
				wg.Wait()
				wantCalls(t, endpoint, before)
				if n := len(endpoint.checks); n > 3 {
					t.Errorf("%d checks in %v", n, time.Since(start))
				}
				if s := p.Status(p.account); s.State == Refused || !s.Healthy {
					t.Errorf("got %+v", s)
				}
			})
		})
	}
}

// The check says the same, or nothing: then it is as without.
func TestCheckedAndRejected(t *testing.T) {
	for _, verdict := range []Verdict{Rejected, Unknown} {
		bothSources(t, func(t *testing.T, source *method, isStable bool) {
			endpoint := &fakeEndpoint{stable: isStable, verdict: func(*Value) Verdict { return verdict }}
			p := startProcess(t, source, newMemoryStore(), endpoint)
			first := p.token(t)
			endpoint.revoke()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { wantToken(t, p.refresh(t, first), "token-2") })
			}
			wg.Wait()
			wantCalls(t, endpoint, 2)
			if n := len(endpoint.checks); n != 1 {
				t.Errorf("%d checks", n)
			}
		})
	}
}

// The cause is in the record: it survives a restart, is known to others, and
// stays with its time.
func TestLastErrorSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoint, st := &fakeEndpoint{stable: true, errcode: 40164}, newMemoryStore()
		p := startProcess(t, stable, st, endpoint)
		_, _ = p.Token(t.Context(), p.account)
		at := time.Now()
		check := func(p *process) {
			t.Helper()
			p.Look(t.Context(), p.account, 0)
			if e := p.Status(p.account).LastError; e == nil || e.Errcode != 40164 || e.Unreachable || !e.At.Equal(at) || e.Message == "" {
				t.Errorf("got %+v", e)
			}
		}
		check(p)
		check(startProcess(t, stable, st, endpoint))
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		time.Sleep(time.Minute)
		p.token(t)
		check(p)
		check(startProcess(t, stable, st, endpoint))
	})
}

// Nobody else backs off because one cannot reach WeChat, but all know of it; and
// the store is not written for each failure.
func TestUnreachableIsKnownToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newMemoryStore()
		p := startProcess(t, stable, st, &fakeEndpoint{down: true})
		p.keepWarm()
		time.Sleep(10 * time.Minute)
		p.wantState(t, BackOff, false)
		if saves, _ := st.counts(); saves > 15 {
			t.Errorf("%d saves in ten minutes", saves)
		}
		other := startProcess(t, stable, st, &fakeEndpoint{stable: true})
		wantToken(t, other.token(t), "token-1")
		s := other.wantState(t, OK, true)
		if e := s.LastError; e == nil || !e.Unreachable || e.Errcode != 0 || time.Since(e.At) > 2*time.Minute {
			t.Errorf("got %+v", e)
		}
	})
}

// Who is no operator has a renewal at most every ten seconds, on all nodes
// together, none during a back-off, and none when the quota is nearly used up.
func TestRenewGently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(classic.policy.dayAfter(time.Now())))
		endpoint, st := &fakeEndpoint{latency: 100 * time.Millisecond}, newMemoryStore()
		nodes := []*process{startProcess(t, classic, st, endpoint), startProcess(t, classic, st, endpoint)}
		for _, p := range nodes {
			p.token(t)
		}
		refused := func(err error, reason RefusalReason) bool {
			e, ok := errors.AsType[*RefusedError](err)
			return ok && e.Reason == reason && e.RetryAt.After(time.Now())
		}
		for range 6 {
			before := endpoint.callCount()
			var mu sync.Mutex
			var wg sync.WaitGroup
			granted := 0
			for i := range 20 {
				wg.Go(func() {
					switch err := nodes[i%2].RenewGently(t.Context(), nodes[i%2].account); {
					case err == nil:
						mu.Lock()
						granted++
						mu.Unlock()
					case !refused(err, TooSoon):
						t.Errorf("got %v", err)
					}
				})
			}
			wg.Wait()
			if granted != 1 {
				t.Errorf("%d were granted", granted)
			}
			wantCalls(t, endpoint, before+1)
			time.Sleep(RenewGap + time.Second)
		}
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
		if err := nodes[0].RenewGently(t.Context(), nodes[0].account); err == nil {
			t.Error("WeChat's refusal is lost")
		}
		before := endpoint.callCount()
		for _, p := range nodes {
			if err := p.RenewGently(t.Context(), p.account); !refused(err, BackingOff) {
				t.Errorf("got %v", err)
			}
		}
		wantCalls(t, endpoint, before)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 0 })
		if err := nodes[0].Renew(t.Context(), nodes[0].account, ""); err != nil {
			t.Errorf("an operator gets %v", err)
		}
		time.Sleep(time.Minute)
		r := nodes[0].account.runner
		r.mu.Lock()
		r.record.Attempt.OfDay = 1600
		r.mu.Unlock()
		if err := nodes[0].RenewGently(t.Context(), nodes[0].account); !refused(err, QuotaNear) {
			t.Errorf("got %v", err)
		}
		if err := nodes[0].Renew(t.Context(), nodes[0].account, ""); err != nil {
			t.Errorf("an operator gets %v", err)
		}
	})
}

// The record of an earlier release, as it was written by one, is taken over once,
// for one upstream, and never again.
func TestFormerRecord(t *testing.T) {
	encoded, err := os.ReadFile("testdata/record-v1.b64")
	if err != nil {
		t.Fatal(err)
	}
	former, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(encoded)))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 26, 8, 12, 0, 0, time.UTC)))
		const key = "weixin/tokens/wx0000000000000001-stable"
		st, endpoint := newMemoryStore(), &fakeEndpoint{stable: true}
		st.values[key] = former
		start := func(upstream string) *process {
			id := testID
			id.Upstream = upstream
			c := credentialOf(id, stable, endpoint)
			c.Former = func(*Credential) Former { return Former{Key: key, AppID: "wx0000000000000001"} }
			return startProcessOf(t, c, st)
		}
		p := start("https://api.example")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { wantToken(t, p.token(t), "token-of-the-former-form") })
		}
		wg.Wait()
		wantCalls(t, endpoint, 0)
		if s := p.Status(p.account); s.Quotas.Fetches.Used != 7 || s.Quotas.Forced.Used != 1 || s.EarlyDeaths != 1 {
			t.Errorf("got %+v", s)
		}
		if string(st.values[key]) != string(movedAway) || len(st.values) != 2 {
			t.Errorf("the store holds %q under the former key, and %d values", st.values[key], len(st.values))
		}
		wantToken(t, start("https://api.example").token(t), "token-of-the-former-form")
		wantCalls(t, endpoint, 0)
		wantToken(t, start("https://other.example").token(t), "token-1")

		// An earlier release that runs still has written it again: what is under
		// the new key counts.
		st.values[key] = former
		wantToken(t, start("https://api.example").token(t), "token-of-the-former-form")
		wantToken(t, start("https://other.example").token(t), "token-1")
		wantCalls(t, endpoint, 1)
	})
}

// Two upstreams at the same moment: one gets the former record.
func TestFormerRecordAndTwoUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const key = "weixin/tokens/wx0000000000000001-stable"
		st, endpoint := newMemoryStore(), &fakeEndpoint{stable: true, latency: time.Second}
		r := record{Generation: 1, AccessToken: "former", FetchedAt: time.Now(), CheckedAt: time.Now(), ExpiresAt: time.Now().Add(2 * time.Hour)}
		plain, _ := r.marshal()
		st.values[key], _ = formerSealer("wx0000000000000001", testID.Secret).seal(plain)
		var mu sync.Mutex
		adopted := 0
		var wg sync.WaitGroup
		for i := range 5 {
			id := testID
			id.Upstream = fmt.Sprintf("https://%d.example", i)
			c := credentialOf(id, stable, endpoint)
			c.Former = func(*Credential) Former { return Former{Key: key, AppID: "wx0000000000000001"} }
			p := startProcessOf(t, c, st)
			wg.Go(func() {
				if p.token(t).Secret() == "former" {
					mu.Lock()
					adopted++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if adopted != 1 {
			t.Errorf("%d upstreams got the token", adopted)
		}
	})
}

// A value of one upstream is no other's.
func TestUpstreamsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		startProcess(t, classic, st, endpoint).token(t)
		id := testID
		id.Upstream = "https://evil.example"
		wantToken(t, startProcessAs(t, id, classic, st, endpoint).token(t), "token-2")
		// Nor if it is moved in the store.
		a, b := credentialOf(testID, classic, endpoint), credentialOf(id, classic, endpoint)
		st.values[b.ID.storeKey()] = st.values[a.ID.storeKey()]
		wantToken(t, startProcessAs(t, id, classic, st, endpoint).token(t), "token-3")
	})
}

// Nothing prints a secret, whatever it is in.
func TestNothingPrintsASecret(t *testing.T) {
	const secret = "VERY-SECRET"
	v := newValue(&record{Generation: 1, AccessToken: secret}, NewRunner())
	id := ID{Identity: "wx1", Upstream: "u", Secret: secret}
	c := &Credential{ID: id, Name: "shop", runner: NewRunner()}
	c.runner.value.Store(v)
	c.runner.record = record{AccessToken: secret}
	grant := Grant{Value: secret, Kept: secret}
	for _, x := range []any{v, *v, id, &id, c, *c, grant, &grant, Replacement{Value: v}, []any{v, grant}} {
		for _, format := range []string{"%s", "%v", "%+v", "%#v", "%d", "%x", "%q"} {
			if text := fmt.Sprintf(format, x); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%T with %s: %s", x, format, text)
			}
		}
	}
	for _, x := range []any{v, map[string]any{"v": v}} {
		if data, err := json.Marshal(x); err != nil || strings.Contains(string(data), secret) || !strings.Contains(string(data), v.Fingerprint()) {
			t.Errorf("%s, %v", data, err)
		}
	}
	core, logs := observer.New(zap.DebugLevel)
	zap.New(core).Info("x", zap.Any("v", v), zap.Any("id", id), zap.Any("grant", grant))
	if text := fmt.Sprint(logs.All()); strings.Contains(text, secret) {
		t.Error(text)
	}
}
