package credential

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// vainFetch is a fetch on somebody's word that brought nothing. It is in the
// record, so that neither another process nor a restart forgets it.
type vainFetch struct {
	At time.Time `json:"at"`
	By string    `json:"by"` // a digest of who it was
}

// maxVainKept is enough to know those who do it again and again.
const maxVainKept = 128

// digestOf returns by what a requester is known in the record.
func digestOf(by string) string {
	sum := sha256.Sum256([]byte(by))
	return hex.EncodeToString(sum[:8])
}

// requester returns by what the process counts fetches on somebody's word. Each
// credential has a count of its own: that some die at once, or that one is
// withdrawn, must not have all others of an application go without a cure.
func (c *Credential) requester(by string) string {
	if by == "" {
		return ""
	}
	return c.ID.storeKey() + " " + by
}

// isVain reports whether a requester has used up its fetches of this credential
// that bring nothing.
func (r *record) isVain(by string, now time.Time) bool {
	if by == "" || len(r.Vain) < vainPerHour {
		return false
	}
	n, digest := 0, digestOf(by)
	for _, f := range r.Vain {
		if f.By == digest && f.At.After(now.Add(-time.Hour)) {
			n++
		}
	}
	return n >= vainPerHour
}

// noteVain counts a fetch that brought nothing.
func (r *Runner) noteVain(by string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := at.Add(-time.Hour)
	recent := slices.DeleteFunc(slices.Clone(r.record.Vain), func(f vainFetch) bool { return f.At.Before(old) })
	r.record.Vain = mergeVain(recent, []vainFetch{{At: at, By: digestOf(by)}})
	if r.user != nil {
		r.saveSoonLocked()
	}
}

// mergeVain returns the newest of two lists, as many as are kept.
func mergeVain(a, b []vainFetch) []vainFetch {
	merged := slices.Concat(a, b)
	slices.SortFunc(merged, compareVain)
	merged = slices.CompactFunc(merged, sameVain)
	if len(merged) == 0 {
		return nil
	}
	return slices.Clone(merged[max(0, len(merged)-maxVainKept):])
}

func compareVain(a, b vainFetch) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.By, b.By)) }

func sameVain(a, b vainFetch) bool { return compareVain(a, b) == 0 }
