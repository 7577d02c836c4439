package platform

import "hash/maphash"

// recently remembers what it was told last, in bounded memory: a half is forgotten
// when the other is full. It may forget, and takes one for another once in a
// million million times.
type recently struct {
	seed     maphash.Seed
	old, new map[uint64]struct{}
}

// recentHalf is how many are remembered at least.
const recentHalf = 128 << 10

func newRecently() *recently {
	return &recently{seed: maphash.MakeSeed(), new: make(map[uint64]struct{})}
}

func (r *recently) has(s string) bool {
	h := maphash.String(r.seed, s)
	_, isNew := r.new[h]
	_, isOld := r.old[h]
	return isNew || isOld
}

func (r *recently) add(s string) {
	if len(r.new) >= recentHalf {
		r.old, r.new = r.new, make(map[uint64]struct{})
	}
	r.new[maphash.String(r.seed, s)] = struct{}{}
}

func (r *recently) remove(s string) {
	h := maphash.String(r.seed, s)
	delete(r.old, h)
	delete(r.new, h)
}
