package credential

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The day's fetches are those of all processes, failed ones too, and begin anew
// at midnight in Beijing.
func TestQuotaOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(classic.policy.dayAfter(time.Now())) + 10*time.Minute)
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		p := startProcess(t, classic, st, endpoint)
		other := startProcess(t, classic, st, endpoint)
		p.token(t)
		p.dies(t, time.Minute)
		other.dies(t, time.Minute)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = 40164 })
		if err := other.Renew(t.Context(), other.account, ""); err == nil {
			t.Fatal("a fetch succeeded")
		}
		want := Quota{Used: 4, Limit: 2_000}
		if q := other.Status(other.account).Quotas; q.Fetches != want || q.Forced != nil || q.Day != classic.policy.dayOf(time.Now()) {
			t.Errorf("got %+v", q)
		}
		time.Sleep(24 * time.Hour)
		if q := other.Status(other.account).Quotas; q.Fetches.Used != 0 || q.Day != classic.policy.dayOf(time.Now()) {
			t.Errorf("on the next day: %+v", q)
		}
	})
}

func TestQuotaWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(classic.policy.dayAfter(time.Now())) + 10*time.Minute)
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startProcess(t, stable, newMemoryStore(), endpoint)
		w := new(watched)
		p.account.Observer = w
		policy := *stable.policy
		policy.FetchesPerDay = 120
		p.account.Policy = &policy
		p.account.runner.record.Attempt = attempt{Number: 60, Day: policy.dayOf(p.now()), OfDay: 60}
		for i := range 20 {
			// Rejected, handed out again, rejected again: forced.
			token := p.token(t)
			token = p.refresh(t, token)
			time.Sleep(time.Minute)
			p.refresh(t, token)
			q := p.Status(p.account).Quotas
			if q.Forced.Used != i+1 || q.Fetches.Used != 60+2*i+3 && q.Fetches.Used != 60+2*i+2 {
				t.Fatalf("after %d: %+v, %+v", i+1, q.Fetches, q.Forced)
			}
			time.Sleep(time.Minute)
		}
		if want := []string{QuotaForced, QuotaFetches}; !slices.Equal(w.quotas, want) && !slices.Equal(w.quotas, []string{QuotaFetches, QuotaForced}) {
			t.Errorf("warned of %v, want each of %v once", w.quotas, want)
		}
		if q := p.Status(p.account).Quotas; !q.Fetches.Near() || !q.Forced.Near() {
			t.Errorf("got %+v", q)
		}
	})
}

func TestQuotaNear(t *testing.T) {
	for _, c := range []struct {
		used, limit int
		near        bool
	}{{0, 20, false}, {15, 20, false}, {16, 20, true}, {20, 20, true}, {1_599, 2_000, false}, {1_600, 2_000, true}, {2, 3, false}, {3, 3, true}, {0, 0, false}} {
		if q := (Quota{c.used, c.limit}); q.Near() != c.near {
			t.Errorf("%+v: %v", q, q.Near())
		}
	}
}
