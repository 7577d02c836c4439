package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func appID(n int) string { return fmt.Sprintf("wx%016x", n) }

// numbers returns appids from one number to another.
func numbers(from, to int) []string {
	var appIDs []string
	for n := from; n < to; n++ {
		appIDs = append(appIDs, appID(n))
	}
	return appIDs
}

func changesOf(op operation, appIDs ...string) []change {
	var changes []change
	for _, appID := range appIDs {
		changes = append(changes, change{appID, op})
	}
	sortChanges(changes)
	return changes
}

func mustCommit(t *testing.T, x *index, changes []change) {
	t.Helper()
	if err := x.commit(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

// wantIndex fails where an index holds anything but sorted appids, is not as it
// should be, or counts wrong.
func wantIndex(t *testing.T, x *index, want []string) {
	t.Helper()
	got := all(t, x, maxListed)
	if !slices.Equal(got, want) {
		t.Fatalf("%d in the index, want %d; %s", len(got), len(want), difference(got, want))
	}
	if n, err := x.count(t.Context()); n != len(want) || err != nil {
		t.Fatalf("counted %d, %v; want %d", n, err, len(want))
	}
	root, err := x.loadRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[int]bool)
	for i, p := range root.pages {
		if p.count > pageMax || p.count < 1 || numbers[p.number] || slices.Contains(root.free, p.number) || p.number >= root.next {
			t.Fatalf("page %d of %d is %+v", i, len(root.pages), p)
		}
		numbers[p.number] = true
	}
	if small := len(root.pages); small > 1 && len(want)/small < pageMin/2 {
		t.Fatalf("%d pages for %d", small, len(want))
	}
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("they differ at %d: %s, want %s", i, got[min(i, len(got)):min(i+2, len(got))], want[min(i, len(want)):min(i+2, len(want))])
		}
	}
	return "they are equal"
}

func TestIndex(t *testing.T) {
	st := newSharedMemory()
	x := indexOver(t, st)
	wantIndex(t, x, nil)
	for _, n := range []int{3, 1, 2, 1} {
		if err := x.add(t.Context(), appID(n)); err != nil {
			t.Fatal(err)
		}
	}
	wantIndex(t, indexOver(t, st), numbers(1, 4))
	if err := x.remove(t.Context(), appID(2)); err != nil {
		t.Fatal(err)
	}
	wantIndex(t, x, []string{appID(1), appID(3)})
	for _, n := range []int{1, 3} {
		if err := x.remove(t.Context(), appID(n)); err != nil {
			t.Fatal(err)
		}
	}
	wantIndex(t, x, nil)
	for key, value := range st.values {
		if strings.Contains(string(value), "wx") {
			t.Errorf("%s is stored as it is", key)
		}
	}
}

func TestIndexIsListedPageByPage(t *testing.T) {
	x := indexOver(t, newSharedMemory())
	want := numbers(0, 5000)
	mustCommit(t, x, changesOf(enter, want...))
	for _, limit := range []int{1, 7, 500, 1000, 5000, 1 << 30, 0, -1} {
		if limit < 7 {
			if some, next, err := x.list(t.Context(), appID(41), limit); err != nil || len(some) != 1 || some[0] != appID(42) || next != appID(42) {
				t.Errorf("limit %d: %v, %s, %v", limit, some, next, err)
			}
			continue
		}
		if got := all(t, x, limit); !slices.Equal(got, want) {
			t.Errorf("limit %d: %s", limit, difference(got, want))
		}
	}
	for after, want := range map[string]int{"": 0, "a": 0, "wx": 0, appID(4998): 1, appID(4999): 0, "zz": 0} {
		some, next, err := x.list(t.Context(), after, 10)
		if after == appID(4998) && (len(some) != want || next != "" || err != nil) {
			t.Errorf("after %s: %v, %s, %v", after, some, next, err)
		}
		if strings.HasPrefix(after, "z") && (len(some) != 0 || next != "") {
			t.Errorf("after %s: %v, %s", after, some, next)
		}
	}
}

// Whatever is done, in whatever order and by whichever process, which may be killed
// at any call of the store: the index holds what a sorted slice would.
func TestIndexModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 16))
			st, model := newSharedMemory(), make(map[string]bool)
			processes := [2]*index{indexOver(t, st), indexOver(t, st)}
			for range 60 {
				changes := randomChanges(random, model)
				p := random.IntN(2)
				if random.IntN(3) > 0 {
					processes[p] = indexOver(t, crashAt(st, 1+random.IntN(2*len(changes)/pageMax+12)))
				}
				if err := processes[p].commit(t.Context(), changes); err != nil {
					if !errors.Is(err, errStore) {
						t.Fatal(err)
					}
					wantBetween(t, all(t, processes[1-p], maxListed), model, changes)
					processes[p] = indexOver(t, st)
					mustCommit(t, processes[p], changes)
				}
				for _, c := range changes {
					if model[c.appID] = c.op == enter; !model[c.appID] {
						delete(model, c.appID)
					}
				}
				processes[p] = indexOver(t, st)
				wantIndex(t, processes[1-p], slices.Sorted(maps.Keys(model)))
			}
		})
	}
}

// randomChanges returns one change, a range of them, or many.
func randomChanges(random *rand.Rand, model map[string]bool) []change {
	ops := make(map[string]operation)
	op := operation(random.IntN(2))
	if len(model) > 6000 {
		op = leave
	}
	from, n := random.IntN(8000), []int{1, 30, 700, 3000}[random.IntN(4)]
	for i := range n {
		if n%100 != 0 || random.IntN(2) == 0 {
			ops[appID(from+i)] = op
		} else {
			ops[appID(random.IntN(10_000))] = op
		}
	}
	var changes []change
	for appID, op := range ops {
		changes = append(changes, change{appID, op})
	}
	sortChanges(changes)
	return changes
}

// wantBetween fails where an index differs from a model in more than changes that
// may have been made.
func wantBetween(t *testing.T, got []string, model map[string]bool, changes []change) {
	t.Helper()
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Fatal("the index is not in order")
	}
	in := make(map[string]bool)
	for _, appID := range got {
		in[appID] = true
	}
	open := make(map[string]bool)
	for _, c := range changes {
		open[c.appID] = true
	}
	for appID := range model {
		if !in[appID] && !open[appID] {
			t.Fatalf("%s is lost", appID)
		}
	}
	for appID := range in {
		if !model[appID] && !open[appID] {
			t.Fatalf("%s is made up", appID)
		}
	}
}

// At whichever call of the store a process is killed: what was there before is
// there, and the next that does the same puts all in order.
func TestIndexCrashes(t *testing.T) {
	full := numbers(0, 3000)
	for name, c := range map[string]struct {
		before  []string
		changes []change
	}{
		"the first":       {nil, changesOf(enter, appID(1))},
		"the first many":  {nil, changesOf(enter, full...)},
		"one":             {full, changesOf(enter, "wx0000000000000001a")},
		"a split":         {full[:pageMax], changesOf(enter, "wx0000000000000001a")},
		"splits":          {full, changesOf(enter, numbers(100_000, 103_000)...)},
		"in every page":   {full, changesOf(enter, appID(100_001)+"a", full[5]+"a", full[800]+"a", full[1700]+"a", full[2500]+"a")},
		"one that leaves": {full, changesOf(leave, full[1000])},
		"a join":          {full, changesOf(leave, full[900:1600]...)},
		"joins":           {full, changesOf(leave, slices.Concat(full[10:740], full[800:1450], full[1600:2990])...)},
		"both":            {full, append(changesOf(enter, suffixed(full[:1000])...), changesOf(leave, full[1600:2990]...)...)},
		"all leave":       {full, changesOf(leave, full...)},
		"the last leaves": {full[:1], changesOf(leave, full[0])},
	} {
		t.Run(name, func(t *testing.T) {
			model := make(map[string]bool)
			for _, appID := range c.before {
				model[appID] = true
			}
			after := maps.Clone(model)
			for _, change := range c.changes {
				if after[change.appID] = change.op == enter; !after[change.appID] {
					delete(after, change.appID)
				}
			}
			for n := 1; ; n++ {
				st := newSharedMemory()
				mustCommit(t, indexOver(t, st), changesOf(enter, c.before...))
				err := indexOver(t, crashAt(st, n)).commit(t.Context(), c.changes)
				x := indexOver(t, st)
				if err == nil {
					if n < 4 {
						t.Errorf("it took %d calls", n)
					}
					wantIndex(t, x, slices.Sorted(maps.Keys(after)))
					return
				}
				wantBetween(t, all(t, x, 700), model, c.changes)
				if err := x.settle(t.Context()); err != nil { // what listing has found
					t.Fatal(err)
				}
				counted, err := x.count(t.Context())
				if err != nil || counted != len(all(t, x, 700)) {
					t.Fatalf("killed at call %d: counted %d", n, counted)
				}
				mustCommit(t, x, c.changes)
				wantIndex(t, x, slices.Sorted(maps.Keys(after)))
			}
		})
	}
}

// One call of the store that fails is made up for by itself.
func TestIndexTriesAgain(t *testing.T) {
	for n := 1; n <= 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			st := newSharedMemory()
			mustCommit(t, indexOver(t, st), changesOf(enter, numbers(0, pageMax)...))
			x := indexOver(t, &failing{sharedMemory: st, fails: func(call int) bool { return call == n }})
			err := x.add(t.Context(), appID(pageMax))
			if failed := n <= 8; (err != nil) != failed {
				t.Errorf("call %d fails: %v", n, err)
			}
			time.Sleep(time.Minute)
			wantIndex(t, indexOver(t, st), numbers(0, pageMax+1))
		})
	}
}

// Where the lock cannot be had nothing is changed, and nothing is lost that waits.
func TestIndexWithoutLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSharedMemory()
		mustCommit(t, indexOver(t, st), changesOf(enter, appID(1)))
		f := &failing{sharedMemory: st, noLock: errStore}
		x := indexOver(t, f)
		if err := x.add(t.Context(), appID(2)); !errors.Is(err, errStore) {
			t.Errorf("error %v", err)
		}
		x.note(appID(3))
		if got := all(t, x, 10); !slices.Equal(got, numbers(1, 2)) {
			t.Errorf("listed %s", got)
		}
		time.Sleep(time.Hour)
		f.set(func(f *failing) { f.noLock = nil })
		time.Sleep(2 * indexRetryMax)
		wantIndex(t, x, numbers(1, 4))

		// A process that was killed holds it, for a while.
		root, err := x.loadRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := st.Lock(t.Context(), fmt.Sprintf("weixin-%s-%s-%s", x.id.Identity, x.place, base36(root.version)))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, unlock)
		begun := time.Now()
		if err := x.add(t.Context(), appID(4)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != changePatience {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if err := x.settle(t.Context()); err != nil || time.Since(begun) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		wantIndex(t, x, numbers(1, 5))
	})
}

// What is noted costs nothing where it is known, and is put into the index in a
// while, together.
func TestIndexNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSharedMemory()
		x := indexOver(t, st)
		for _, appID := range numbers(0, 2000) {
			x.note(appID)
		}
		if loads, _, _ := st.counts(); loads > 0 {
			t.Error("somebody has waited for the store")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, saves, _ := st.counts(); saves > 6 {
			t.Errorf("%d values were saved", saves)
		}
		wantIndex(t, indexOver(t, st), numbers(0, 2000))
		st.reset()
		for _, appID := range numbers(0, 2000) {
			x.note(appID)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if loads, _, _ := st.counts(); loads > 0 {
			t.Errorf("%d loads for what is known", loads)
		}
		// Another process finds all there, and takes no lock.
		other := indexOver(t, &failing{sharedMemory: st, noLock: errStore})
		for _, appID := range numbers(0, 2000) {
			other.note(appID)
		}
		err := other.settle(t.Context())
		if loads, saves, _ := st.counts(); err != nil || saves > 0 || loads > 5 {
			t.Errorf("%v, %d loads, %d saves", err, loads, saves)
		}
		// One that leaves can be noted again.
		if err := x.remove(t.Context(), appID(7)); err != nil {
			t.Fatal(err)
		}
		x.note(appID(7))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantIndex(t, x, numbers(0, 2000))
	})
}

// What waits for a store that fails is bounded.
func TestIndexIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := crashAt(newSharedMemory(), 1)
		x := indexOver(t, f)
		for _, appID := range numbers(0, 3*maxPending) {
			x.note(appID)
		}
		if err := x.add(t.Context(), "wx-one-more"); !errors.Is(err, errIndexBusy) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(x.pending); n != maxPending {
			t.Errorf("%d wait", n)
		}
		if f.calls > 100 {
			t.Errorf("%d calls of a store that fails, in an hour", f.calls)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		x.close(ctx)
		synctest.Wait()
		if ctx.Err() != nil || x.running {
			t.Errorf("it goes on: %v", ctx.Err())
		}
		x.note("wx-one-more")
		if x.running {
			t.Error("it begins again")
		}
	})
	x := newRecently()
	for _, appID := range numbers(0, 3*recentHalf) {
		x.add(appID)
	}
	if n := len(x.old) + len(x.new); n > 2*recentHalf || !x.has(appID(3*recentHalf-1)) || x.has(appID(0)) {
		t.Errorf("%d are known", n)
	}
}

// What is closed has saved what was noted.
func TestIndexClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSharedMemory()
		x := indexOver(t, st)
		x.keep()
		x.note(appID(1))
		begun := time.Now()
		x.close(t.Context())
		if time.Since(begun) > 0 {
			t.Errorf("it took %v", time.Since(begun))
		}
		wantIndex(t, indexOver(t, st), numbers(1, 2))
		x.close(t.Context())
	})
}

// suffixed returns appids that are each next to one of others.
func suffixed(appIDs []string) []string {
	var next []string
	for _, appID := range appIDs {
		next = append(next, appID+"-")
	}
	return next
}

// hooked is a store with something happening before one of its loads.
type hooked struct {
	*sharedMemory
	at, loads int
	hook      func()
}

// Load implements store.Store.
func (h *hooked) Load(ctx context.Context, key string) ([]byte, error) {
	if h.loads++; h.loads == h.at {
		h.hook()
	}
	return h.sharedMemory.Load(ctx, key)
}

// Whenever pages are split and joined while somebody lists them, nobody is missed
// who was there all the time.
func TestIndexIsListedWhileItChanges(t *testing.T) {
	var always, others []string
	for i, appID := range numbers(0, 6000) {
		if i%8 == 0 {
			always = append(always, appID)
		} else {
			others = append(others, appID)
		}
	}
	splits, joins := changesOf(enter, others...), changesOf(leave, others...)
	for name, steps := range map[string][][]change{
		"splits": {joins, splits}, "joins": {splits, joins}, "both": {splits, joins, splits}, "both again": {joins, splits, joins, splits},
		"others": {splits, joins, changesOf(enter, suffixed(others[500:3700])...)},
		"later":  {joins, splits, changesOf(enter, suffixed(always)...)},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				st := newSharedMemory()
				x := indexOver(t, st)
				mustCommit(t, x, changesOf(enter, always...))
				mustCommit(t, x, steps[0])
				h := &hooked{sharedMemory: st, at: n, hook: func() {
					for _, step := range steps[1:] {
						mustCommit(t, x, step)
					}
				}}
				var got []string
				if err := indexOver(t, h).walk(t.Context(), "", func(some []string) bool {
					got = append(got, some...)
					return true
				}); err != nil {
					t.Fatal(err)
				}
				if !slices.IsSorted(got) || len(unique(got)) != len(got) {
					t.Fatalf("changed at load %d: they are not in order", n)
				}
				in := make(map[string]bool)
				for _, appID := range got {
					in[appID] = true
				}
				for _, appID := range always {
					if !in[appID] {
						t.Fatalf("changed at load %d: %s is missed", n, appID)
					}
				}
				if h.loads < n {
					return
				}
			}
		})
	}
}

// Processes that change the index at the same time do not undo each other's
// changes, and who lists it meanwhile misses nothing that was there all the time.
func TestIndexOfManyProcesses(t *testing.T) {
	st := newSharedMemory()
	always := numbers(0, 4000)
	mustCommit(t, indexOver(t, st), changesOf(enter, always...))
	var writers, reader sync.WaitGroup
	for p := range 3 {
		writers.Go(func() {
			x := indexOver(t, st)
			for round := range 8 {
				var mine []string
				for i := range 1500 {
					mine = append(mine, fmt.Sprintf("%s-%d", always[(i*7+round)%len(always)], p))
				}
				if err := x.commit(context.Background(), changesOf(enter, unique(mine)...)); err != nil {
					t.Error(err)
				}
				if err := x.commit(context.Background(), changesOf(leave, unique(mine)[p:]...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	reader.Go(func() {
		x := indexOver(t, st)
		for {
			select {
			case <-done:
				return
			default:
			}
			var got []string
			if err := x.walk(context.Background(), "", func(some []string) bool {
				got = append(got, some...)
				return true
			}); err != nil {
				t.Error(err)
			}
			if !slices.IsSorted(got) {
				t.Error("they are not in order")
			}
			seen := slices.DeleteFunc(got, func(appID string) bool { return strings.Contains(appID, "-") })
			if !slices.Equal(seen, always) {
				t.Error("while others change it:", difference(seen, always))
				return
			}
		}
	})
	writers.Wait()
	close(done)
	reader.Wait()
	x := indexOver(t, st)
	want := slices.Clone(always)
	for p := range 3 {
		for round := range 8 {
			var mine []string
			for i := range 1500 {
				mine = append(mine, fmt.Sprintf("%s-%d", always[(i*7+round)%len(always)], p))
			}
			want = append(want, unique(mine)[:p]...)
		}
	}
	wantIndex(t, x, unique(want))
}

func unique(appIDs []string) []string { return slices.Compact(slices.Sorted(slices.Values(appIDs))) }

// A value that the store has lost, or that somebody has made up, costs what was in
// it and nothing else.
func TestIndexDamaged(t *testing.T) {
	for name, damage := range map[string]func(st *sharedMemory, key string){
		"lost":    func(st *sharedMemory, key string) { delete(st.values, key) },
		"empty":   func(st *sharedMemory, key string) { st.values[key] = []byte{} },
		"made up": func(st *sharedMemory, key string) { st.values[key] = []byte(`{"appids":["wxevil"]}`) },
		"another's": func(st *sharedMemory, key string) {
			st.values[key] = st.values[key[:strings.LastIndex(key, "/")]+"/root"]
		},
		"one of two": func(st *sharedMemory, key string) { st.values[key] = st.values[key[:strings.LastIndex(key, "/")]+"/3"] },
	} {
		for _, value := range []string{"root", "2"} {
			t.Run(name+" "+value, func(t *testing.T) {
				st := newSharedMemory()
				x := indexOver(t, st)
				full := numbers(0, 3000)
				mustCommit(t, x, changesOf(enter, full...))
				if len(x.key("2")) == 0 || st.values[x.key("2")] == nil {
					t.Fatal("there is no second page")
				}
				damage(st, x.key(value))
				left := all(t, x, maxListed)
				if name == "another's" && value == "root" {
					wantIndex(t, x, full) // that changes nothing
					return
				}
				if value == "2" && (len(left) < 1500 || len(left) >= 3000) || value == "root" && len(left) > 0 {
					t.Fatalf("%d are left", len(left))
				}
				if err := x.settle(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantIndex(t, x, left)
				mustCommit(t, x, changesOf(enter, full...))
				wantIndex(t, x, full)
			})
		}
	}
}

// In a store that forgets what nobody saves for 30 days, the index lasts.
func TestIndexLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSharedMemory()
		x, other := indexOver(t, st), indexOver(t, st)
		mustCommit(t, x, changesOf(enter, numbers(0, 100*pageFill)...))
		x.keep()
		other.keep()
		for range 5 {
			before := maps.Clone(st.values)
			st.reset()
			time.Sleep(10 * 24 * time.Hour)
			synctest.Wait()
			for key, value := range st.values {
				if string(before[key]) == string(value) {
					t.Fatalf("%s was not saved again", key)
				}
			}
			if _, saves, _ := st.counts(); saves > 250 {
				t.Errorf("%d values were saved", saves)
			}
		}
		wantIndex(t, x, numbers(0, 100*pageFill))
		x.close(t.Context())
		other.close(t.Context())
	})
}

// No operation costs more than a few values, however many authorizers there are.
func TestIndexOfAMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million appids take a while")
	}
	n := 1_000_000
	if raceEnabled {
		n /= 20
	}
	st := newSharedMemory()
	x := indexOver(t, st)
	random := rand.New(rand.NewPCG(1, 2))
	var changes []change
	for range n {
		changes = append(changes, change{fmt.Sprintf("wx%016x", random.Uint64()), enter})
	}
	sortChanges(changes)
	begun := time.Now()
	mustCommit(t, x, changes)
	root, err := x.loadRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pages and a root of %d bytes after %v", len(root.pages), len(st.values[x.key("root")]), time.Since(begun))
	for name, do := range map[string]func(i int) error{
		"add":    func(i int) error { return x.add(t.Context(), fmt.Sprintf("wx%016x", i)) },
		"remove": func(i int) error { return x.remove(t.Context(), changes[i*101].appID) },
		"list":   func(i int) error { _, _, err := x.list(t.Context(), changes[i*101].appID, 100); return err },
		"count":  func(int) error { _, err := x.count(t.Context()); return err },
	} {
		st.reset()
		begun, times := time.Now(), 50
		for i := range times {
			if err := do(i); err != nil {
				t.Fatal(err)
			}
		}
		loads, saves, bytes := st.counts()
		loads, saves, bytes = loads/times, saves/times, bytes/times
		t.Logf("%s: %d loads, %d saves, %d KB, %v", name, loads, saves, bytes>>10, time.Since(begun)/time.Duration(times))
		if loads > 5 || saves > 3 || bytes > 300<<10 {
			t.Errorf("%s: %d loads, %d saves, %d KB", name, loads, saves, bytes>>10)
		}
	}
}
