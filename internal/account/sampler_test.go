package account

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Sampler
		want := func(kind string, first bool, skipped int) {
			t.Helper()
			if gotFirst, got := s.First(kind, time.Minute); gotFirst != first || got != skipped {
				t.Errorf("%s: %t, %d; want %t, %d", kind, gotFirst, got, first, skipped)
			}
		}
		want("48001", true, 0)
		want("48001", false, 0)
		want("45009", true, 0)
		time.Sleep(time.Minute - 1)
		want("48001", false, 0)
		time.Sleep(time.Nanosecond)
		want("48001", true, 2)
		want("48001", false, 0)
		want("45009", true, 0)
	})
}
