package credential

import (
	"math"
	"testing"
	"time"
)

// wantPause checks a pause that has jitter: up to a tenth of it is added.
func wantPause(t *testing.T, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/10 {
		t.Errorf("pause %v, want %v and up to a tenth more", got, want)
	}
}

func TestRetryTime(t *testing.T) {
	const ms, s, m = time.Millisecond, time.Second, time.Minute
	transient := []time.Duration{200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30 * s, 30 * s}
	configuration := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 5 * m, 5 * m}
	slow := &Policy{ConfigurationBackoff: Waits{10 * s, 15 * m}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		policy *Policy
		class  FailureClass
		forced bool
		want   []time.Duration
	}{
		{"transient", &Policy{}, Transient, false, transient},
		{"configuration", &Policy{}, Configuration, false, configuration},
		{"configuration, forced", &Policy{}, Configuration, true, configuration},
		// The quota of forcing says nothing about normal fetches.
		{"quota, forced", &Policy{}, DailyQuota, true, transient},
		{"of another policy", slow, Configuration, false, []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 640 * s, 15 * m}},
		{"of another policy, transient", slow, Transient, false, transient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after := func(failures int) time.Duration {
				return tc.policy.retryTime(now, tc.class, failures, tc.forced).Sub(now)
			}
			for i, want := range tc.want {
				wantPause(t, after(i+1), want)
			}
			most := tc.want[len(tc.want)-1]
			for _, failures := range []int{len(tc.want), 1_000, math.MaxInt} {
				if got := after(failures); got != most {
					t.Errorf("pause %v after %d failures, want %v", got, failures, most)
				}
				if class := tc.class; class != DailyQuota && after(failures) > tc.policy.longestBackoff(class) {
					t.Errorf("longer than the longest: %v", after(failures))
				}
			}
			wantPause(t, after(0), tc.want[0])
		})
	}
}

// The quota is counted by the source's day, wherever the process runs.
func TestRetryTimeQuota(t *testing.T) {
	p := &Policy{Zone: beijing}
	newYork := time.FixedZone("UTC-5", -5*60*60)
	for _, tc := range []struct {
		name      string
		now, want time.Time
	}{
		{"at noon", time.Date(2026, 3, 1, 12, 0, 0, 0, beijing), time.Date(2026, 3, 2, 0, 0, 0, 0, beijing)},
		{"just before midnight", time.Date(2026, 3, 1, 23, 59, 59, 999_999_999, beijing), time.Date(2026, 3, 2, 0, 0, 0, 0, beijing)},
		{"at midnight", time.Date(2026, 3, 2, 0, 0, 0, 0, beijing), time.Date(2026, 3, 3, 0, 0, 0, 0, beijing)},
		{"just after midnight", time.Date(2026, 3, 2, 0, 0, 0, 1, beijing), time.Date(2026, 3, 3, 0, 0, 0, 0, beijing)},
		{"the day before in UTC", time.Date(2026, 3, 1, 15, 59, 59, 0, time.UTC), time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC)},
		{"the same day in UTC", time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC), time.Date(2026, 3, 2, 16, 0, 0, 0, time.UTC)},
		{"in another zone", time.Date(2026, 3, 1, 10, 59, 0, 0, newYork), time.Date(2026, 3, 1, 11, 0, 0, 0, newYork)},
		{"at the end of a month", time.Date(2026, 2, 28, 18, 0, 0, 0, beijing), time.Date(2026, 3, 1, 0, 0, 0, 0, beijing)},
		{"at the end of a year", time.Date(2026, 12, 31, 18, 0, 0, 0, beijing), time.Date(2027, 1, 1, 0, 0, 0, 0, beijing)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, failures := range []int{1, 50} {
				got := p.retryTime(tc.now, DailyQuota, failures, false)
				if got.Before(tc.want) || got.After(tc.want.Add(10*time.Second)) {
					t.Errorf("retry at %v, want %v and up to 10 s more", got, tc.want)
				}
				if got.Sub(tc.now) > p.longestBackoff(DailyQuota) {
					t.Errorf("longer than the longest: %v", got.Sub(tc.now))
				}
			}
		})
	}
}

func TestDays(t *testing.T) {
	p := &Policy{Zone: beijing}
	for _, c := range []struct{ at, day, before, after string }{
		{"2026-11-21T15:59:59Z", "2026-11-21", "2026-11-20T16:00:00Z", "2026-11-21T16:00:00Z"},
		{"2026-11-21T16:00:00Z", "2026-11-22", "2026-11-21T16:00:00Z", "2026-11-22T16:00:00Z"},
		{"2026-12-31T20:00:00Z", "2027-01-01", "2026-12-31T16:00:00Z", "2027-01-01T16:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		day := p.dayOf(at)
		before, after := p.dayBefore(at).UTC().Format(time.RFC3339), p.dayAfter(at).UTC().Format(time.RFC3339)
		if day != c.day || before != c.before || after != c.after {
			t.Errorf("%s: %s from %s to %s", c.at, day, before, after)
		}
	}
}

// The first few of a row are replaced at once, however many that are.
func TestRejectionPause(t *testing.T) {
	free := 0
	for rejectionPause(free) == 0 {
		if free++; free > 100 {
			t.Fatal("never a pause")
		}
	}
	if free < 2 {
		t.Errorf("a pause after %d rejected tokens already", free)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		wantPause(t, rejectionPause(free+i), want*time.Second)
	}
	wantPause(t, rejectionPause(math.MaxInt), 30*time.Second)
}
