package platform

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// A page of the index holds the appids of a range, in order: those from Low on and
// before High, where "" is the end. It may hold more than its range by the root,
// which counts: what is beyond has moved to another page.
type page struct {
	Low    string   `json:"low"`
	High   string   `json:"high"`
	AppIDs []string `json:"appids"`
}

// unmarshalPage reads a page, and reports whether it is one.
func unmarshalPage(data []byte) (p page, ok bool) {
	if data == nil || json.Unmarshal(data, &p) != nil || !slices.IsSorted(p.AppIDs) {
		return page{}, false
	}
	return p, true
}

// pageRef is what the root knows of a page.
type pageRef struct {
	low    string // of the range; "" for the first page
	number int    // names its value in the store
	count  int
	day    int // on which it was saved, since the epoch
}

// indexRoot is the value from which all of the index is found. Whoever changes the
// index saves it last, so that a change has happened or not.
type indexRoot struct {
	version int64 // one more with every change
	next    int   // the number of a page that never was
	free    []int // numbers of pages that are none any more
	pages   []pageRef
}

// storedRoot is a root as it is saved. Members are added, never given another
// meaning.
type storedRoot struct {
	Version int64 `json:"version"`
	Next    int   `json:"next"`
	Free    []int `json:"free,omitempty"`

	// Of every page, in order.
	Lows    []string `json:"lows"`
	Numbers []int    `json:"numbers"`
	Counts  []int    `json:"counts"`
	Days    []int    `json:"days"`
}

func (r *indexRoot) marshal() ([]byte, error) {
	n := len(r.pages)
	s := storedRoot{
		Version: r.version, Next: r.next, Free: r.free,
		Lows: make([]string, n), Numbers: make([]int, n), Counts: make([]int, n), Days: make([]int, n),
	}
	for i, p := range r.pages {
		s.Lows[i], s.Numbers[i], s.Counts[i], s.Days[i] = p.low, p.number, p.count, p.day
	}
	return json.Marshal(s)
}

func unmarshalRoot(data []byte) (*indexRoot, error) {
	var s storedRoot
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	n := len(s.Lows)
	if len(s.Numbers) != n || len(s.Counts) != n || len(s.Days) != n ||
		n > 0 && s.Lows[0] != "" || !slices.IsSorted(s.Lows) {
		return nil, errors.New("the index of authorizers is inconsistent")
	}
	r := &indexRoot{version: s.Version, next: s.Next, free: s.Free, pages: make([]pageRef, n)}
	for i := range r.pages {
		r.pages[i] = pageRef{s.Lows[i], s.Numbers[i], s.Counts[i], s.Days[i]}
	}
	return r, nil
}

// count returns how many appids there are.
func (r *indexRoot) count() int {
	n := 0
	for _, p := range r.pages {
		n += p.count
	}
	return n
}

// find returns which page's range an appid is in.
func (r *indexRoot) find(appID string) int {
	i, found := slices.BinarySearchFunc(r.pages, appID, func(p pageRef, appID string) int { return strings.Compare(p.low, appID) })
	if found {
		return i
	}
	return max(i-1, 0)
}

// high returns where a page's range ends, "" for the last.
func (r *indexRoot) high(i int) string {
	if i+1 < len(r.pages) {
		return r.pages[i+1].low
	}
	return ""
}

// take returns a number for another page.
func (r *indexRoot) take() int {
	if n := len(r.free); n > 0 {
		number := r.free[n-1]
		r.free = r.free[:n-1]
		return number
	}
	r.next++
	return r.next - 1
}

// isWithin reports whether a range's end is not beyond another.
func isWithin(high, other string) bool { return other == "" || high != "" && high <= other }

// within returns those of sorted appids that are in a range.
func within(appIDs []string, low, high string) []string {
	from, _ := slices.BinarySearch(appIDs, low)
	to := len(appIDs)
	if high != "" {
		to, _ = slices.BinarySearch(appIDs, high)
	}
	return appIDs[from:max(from, to)]
}

// change is what is to become of an appid in the index.
type change struct {
	appID string
	op    operation
}

type operation uint8

const (
	enter operation = iota // the appid is to be in the index
	leave                  // it is not to be
	check                  // the page and its count are to be as they should
	renew                  // the page is to be saved again
)

// changed returns sorted appids with sorted changes applied.
func changed(appIDs []string, changes []change) []string {
	next := make([]string, 0, len(appIDs)+len(changes))
	for _, c := range changes {
		i, found := slices.BinarySearch(appIDs, c.appID)
		next = append(next, appIDs[:i]...)
		appIDs = appIDs[i:]
		switch {
		case c.op == enter && !found:
			next = append(next, c.appID)
		case c.op == leave && found:
			appIDs = appIDs[1:]
		}
	}
	return append(next, appIDs...)
}

// split returns appids as pieces of pages that are not full: one where all fit.
func split(appIDs []string) [][]string {
	if len(appIDs) <= pageMax {
		return [][]string{appIDs}
	}
	n := (len(appIDs) + pageFill - 1) / pageFill
	pieces := make([][]string, n)
	for i := range pieces {
		pieces[i] = appIDs[i*len(appIDs)/n : (i+1)*len(appIDs)/n]
	}
	return pieces
}
