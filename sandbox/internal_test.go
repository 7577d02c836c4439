package sandbox

import (
	"strconv"
	"testing"
	"time"
)

func TestStableDayQuota(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, now := s.accounts[0], time.Now()
	day := a.stable.quotas[1]
	if day.limit != 500_000 {
		t.Fatalf("the day's quota is %d, want 500,000", day.limit)
	}
	day.current, day.used = beijingDay(now), day.limit-1
	if _, err := a.nextStable(now, false); err != nil {
		t.Error(err)
	}
	if _, err := a.nextStable(now, false); !isErrcode(err, quotaExhausted) {
		t.Errorf("beyond the quota: %v", err)
	}
}

func isErrcode(err error, errcode int) bool {
	refused, ok := err.(*apiError)
	return ok && refused.code == errcode
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent[int](3)
	for i := range 100 {
		r.add(strconv.Itoa(i), i)
	}
	if _, ok := r.get("96"); ok || len(r.entries) != 3 || len(r.order) != 3 {
		t.Errorf("%d entries", len(r.entries))
	}
	if v, ok := r.get("97"); !ok || v != 97 {
		t.Error("one of the latest is gone")
	}
}
