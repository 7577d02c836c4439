package credential

import (
	"math"
	"time"
)

// historySlot and historySlots make an hour.
const (
	historySlot  = 2 * time.Minute
	historySlots = 30
)

// history counts what happened lately, in slots of time. There are many of
// them, so it is small. Its owner locks it.
type history struct {
	newest int64 // the number of the newest slot since the epoch
	slots  [historySlots]uint16
}

// add counts one more.
func (h *history) add(now time.Time) {
	h.advance(now)
	if slot := &h.slots[h.newest%historySlots]; *slot < math.MaxUint16 {
		*slot++
	}
}

// counts returns the slots' counts, the newest last.
func (h *history) counts(now time.Time) []int {
	h.advance(now)
	counts := make([]int, historySlots)
	for i := range counts {
		counts[i] = int(h.slots[(h.newest+1+int64(i))%historySlots])
	}
	return counts
}

// advance empties the slots between the newest and that of now. A clock that
// goes back counts into the newest.
func (h *history) advance(now time.Time) {
	number := now.UnixNano() / int64(historySlot)
	for n := max(h.newest+1, number-historySlots+1); n <= number; n++ {
		h.slots[n%historySlots] = 0
	}
	h.newest = max(h.newest, number)
}
