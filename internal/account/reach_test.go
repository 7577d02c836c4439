package account

import (
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name     string
		failures []int // when, in seconds; -1 is an answer
		now      int
		lost     bool
	}{
		{"nothing known", nil, 0, false},
		{"a few at once", []int{0, 0, 0, 0, 0, 0, 0}, 1, false},
		{"four in long", []int{0, 10, 20, 30}, 30, false},
		{"five in ten seconds", []int{0, 2, 4, 8, 10}, 11, true},
		{"an answer meanwhile", []int{0, 2, 4, -1, 8, 10, 12, 14}, 15, false},
		{"an answer afterwards", []int{0, 2, 4, 8, 10, -1}, 11, false},
		{"again after an answer", []int{0, 2, 4, 8, 10, -1, 20, 22, 24, 26, 30}, 31, true},
		{"none any more", []int{0, 2, 4, 8, 10}, 71, false},
		{"one after long", []int{0, 2, 4, 8, 10, 90}, 91, false},
	} {
		var r reach
		for _, s := range c.failures {
			if s < 0 {
				r.answered()
				continue
			}
			r.failed(at(s))
		}
		if lost := r.lost(at(c.now)); lost != c.lost {
			t.Errorf("%s: %v", c.name, lost)
		}
	}
}
