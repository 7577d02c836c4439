package weixin

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestDays(t *testing.T) {
	for _, c := range []struct{ at, day, before, after string }{
		{"2026-11-21T15:59:59Z", "2026-11-21", "2026-11-20T16:00:00Z", "2026-11-21T16:00:00Z"},
		{"2026-11-21T16:00:00Z", "2026-11-22", "2026-11-21T16:00:00Z", "2026-11-22T16:00:00Z"},
		{"2026-12-31T20:00:00Z", "2027-01-01", "2026-12-31T16:00:00Z", "2027-01-01T16:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		day := dayOf(at)
		before, after := midnightBefore(at).UTC().Format(time.RFC3339), midnightAfter(at).UTC().Format(time.RFC3339)
		if day != c.day || before != c.before || after != c.after {
			t.Errorf("%s: %s from %s to %s", c.at, day, before, after)
		}
	}
}

// The day's fetches are those of all processes, failed ones too, and begin anew
// at midnight in Beijing.
func TestQuotaOfFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(midnightAfter(time.Now())) + 10*time.Minute)
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		p := startProcess(t, wechat.Classic{}, st, endpoint)
		other := startProcess(t, wechat.Classic{}, st, endpoint)
		p.token(t)
		p.dies(t, time.Minute)
		other.dies(t, time.Minute)
		endpoint.set(func(e *fakeEndpoint) { e.errcode = wechat.InvalidIP })
		if err := other.Renew(t.Context(), other.account, ""); err == nil {
			t.Fatal("a fetch succeeded")
		}
		want := Quota{Used: 4, Limit: 2_000}
		if q := other.Status(other.account).Quota; q.Fetches != want || q.Forced != nil || q.Day != dayOf(time.Now()) {
			t.Errorf("got %+v", q)
		}
		time.Sleep(24 * time.Hour)
		if q := other.Status(other.account).Quota; q.Fetches.Used != 0 || q.Day != dayOf(time.Now()) {
			t.Errorf("on the next day: %+v", q)
		}
	})
}

func TestQuotaWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(midnightAfter(time.Now())) + 10*time.Minute)
		endpoint := &fakeEndpoint{stable: true, insist: true}
		p := startProcess(t, wechat.Stable{}, newMemoryStore(), endpoint)
		w := new(watched)
		p.account.watcher = w
		p.account.policy.FetchesPerDay = 40
		for i := range 20 {
			// Rejected, handed out again, rejected again: forced.
			token := p.token(t)
			token = p.refresh(t, token)
			time.Sleep(time.Minute)
			p.refresh(t, token)
			q := p.Status(p.account).Quota
			if q.Forced.Used != i+1 || q.Fetches.Used != 2*i+3 && q.Fetches.Used != 2*i+2 {
				t.Fatalf("after %d: %+v, %+v", i+1, q.Fetches, q.Forced)
			}
			time.Sleep(time.Minute)
		}
		if want := []string{quotaForced, quotaFetches}; !slices.Equal(w.quotas, want) && !slices.Equal(w.quotas, []string{quotaFetches, quotaForced}) {
			t.Errorf("warned of %v, want each of %v once", w.quotas, want)
		}
		var codes []string
		for _, warning := range p.Status(p.account).Warnings {
			codes = append(codes, warning.Code)
		}
		if !slices.Equal(codes, []string{"quota_fetches", "quota_forced"}) {
			t.Errorf("the status warns of %v", codes)
		}
	})
}

func TestQuotaNear(t *testing.T) {
	for _, c := range []struct {
		used, limit int
		near        bool
	}{{0, 20, false}, {15, 20, false}, {16, 20, true}, {20, 20, true}, {1_599, 2_000, false}, {1_600, 2_000, true}, {2, 3, false}, {3, 3, true}, {0, 0, false}} {
		if q := (Quota{c.used, c.limit}); q.near() != c.near {
			t.Errorf("%+v: %v", q, q.near())
		}
	}
}
