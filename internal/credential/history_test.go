package credential

import (
	"slices"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	var h history
	now := time.Unix(1_800_000_000, 0).Truncate(historySlot)
	h.add(now)
	h.add(now.Add(historySlot - 1))
	h.add(now.Add(2 * historySlot))
	h.add(now) // a clock that went back
	want := make([]int, historySlots)
	want[historySlots-3], want[historySlots-1] = 2, 2
	if got := h.counts(now.Add(2 * historySlot)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Time goes on.
	want = append(want[1:], 0)
	if got := h.counts(now.Add(3 * historySlot)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := h.counts(now.Add(historySlots * historySlot)); got[0] != 0 || got[1] != 2 {
		t.Errorf("got %v", got)
	}
	if got := h.counts(now.Add(10 * time.Hour)); slices.Max(got) != 0 {
		t.Errorf("got %v", got)
	}
	for range 70_000 {
		h.add(now.Add(10 * time.Hour))
	}
	if got := h.counts(now.Add(10 * time.Hour)); slices.Max(got) != 65_535 {
		t.Errorf("got %v", got)
	}
}
