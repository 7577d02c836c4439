package platform

import (
	"context"
	"slices"
)

// replacement is what is to become of the index, of which a new list is being read.
// What others change meanwhile stays: it knows what was in the index when it was
// begun, and what this process has changed since.
type replacement struct {
	*index
	before []string // in the index
	listed []string // in no order, and some more than once
	sorted bool
}

// replace begins one. There is one at a time, and end is called for it.
func (x *index) replace(ctx context.Context) (*replacement, error) {
	x.mu.Lock()
	x.journal = make(map[string]operation)
	x.mu.Unlock()
	r := &replacement{index: x}
	err := x.walk(ctx, "", func(some []string) bool {
		r.before = append(r.before, some...)
		return true
	})
	if err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

// end gives up what is known of this process's changes.
func (r *replacement) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = nil
}

// add adds appids that are listed.
func (r *replacement) add(appIDs []string) {
	r.listed = append(r.listed, appIDs...)
	r.sorted = false
}

// count returns how many are listed.
func (r *replacement) count() int {
	if !r.sorted {
		slices.Sort(r.listed)
		r.listed = slices.Compact(r.listed)
		r.sorted = true
	}
	return len(r.listed)
}

// commit has the index hold what is listed. What is not leaves it if the whole list
// was read, and keep does not report that it is there all the same.
func (r *replacement) commit(ctx context.Context, whole bool, keep func(appID string) bool) error {
	r.count()
	var enters, leaves []change
	for old, listed := r.before, r.listed; len(old) > 0 || len(listed) > 0; {
		switch {
		case len(listed) == 0 || len(old) > 0 && old[0] < listed[0]:
			leaves = append(leaves, change{old[0], leave})
			old = old[1:]
		case len(old) == 0 || listed[0] < old[0]:
			enters = append(enters, change{listed[0], enter})
			listed = listed[1:]
		default:
			old, listed = old[1:], listed[1:]
		}
	}
	if !whole {
		leaves = nil
	}
	leaves = slices.DeleteFunc(leaves, func(c change) bool { return keep(c.appID) })
	changes := r.unchanged(append(enters, leaves...))
	sortChanges(changes)
	err := r.index.commit(ctx, changes)
	if err == nil {
		err = r.settle(ctx) // what was found amiss
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if c.op == leave {
			r.known.remove(c.appID)
		}
	}
	return err
}

// unchanged returns the changes to what this process has not changed meanwhile.
func (r *replacement) unchanged(changes []change) []change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(changes, func(c change) bool {
		_, said := r.journal[c.appID]
		return said
	})
}
