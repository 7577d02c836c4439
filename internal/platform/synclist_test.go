package platform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// movingList is a list of authorizers as WeChat has it, which changes between calls.
type movingList struct {
	appIDs []string
	change func(l *movingList, call int) // before a call, counted from 1
	calls  int
	err    error // of the call failAt
	failAt int
	extra  int // how many more are counted than listed
}

func (l *movingList) page(_ context.Context, offset int) ([]wechat.ListedAuthorizer, int, error) {
	if l.calls++; l.calls == l.failAt {
		return nil, 0, l.err
	}
	if l.change != nil {
		l.change(l, l.calls)
	}
	from := min(offset, len(l.appIDs))
	var page []wechat.ListedAuthorizer
	for _, appID := range l.appIDs[from:min(from+wechat.MaxAuthorizersPerPage, len(l.appIDs))] {
		page = append(page, wechat.ListedAuthorizer{AppID: appID})
	}
	return page, len(l.appIDs) + l.extra, nil
}

// read returns all that is visited, in order.
func (l *movingList) read(t *testing.T) ([]string, error) {
	t.Helper()
	var appIDs []string
	err := listPages(t.Context(), time.Now, l.page, func(page listedPage) error {
		for _, a := range page.authorizers {
			appIDs = append(appIDs, a.AppID)
		}
		return nil
	})
	return unique(appIDs), err
}

func TestListPages(t *testing.T) {
	for _, n := range []int{0, 1, 2, 499, 500, 501, 998, 999, 1000, 1001, 20_000} {
		l := &movingList{appIDs: numbers(0, n)}
		got, err := l.read(t)
		if err != nil || !slices.Equal(got, numbers(0, n)) {
			t.Errorf("%d: %d were read, %v", n, len(got), err)
		}
		if most := n/(wechat.MaxAuthorizersPerPage-1) + 1; l.calls > most {
			t.Errorf("%d: %d calls", n, l.calls)
		}
	}
}

// Whatever comes and goes while the list is read, in whichever order it is: nobody
// is missed who was there all the time.
func TestListThatMoves(t *testing.T) {
	const n = 5000
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 3))
		gone, newest := make(map[string]bool), seed%2 == 0
		l := &movingList{appIDs: numbers(0, n)}
		l.change = func(l *movingList, call int) {
			for range random.IntN(12) * random.IntN(2) {
				i := random.IntN(len(l.appIDs))
				if random.IntN(3) == 0 {
					i = random.IntN(min(len(l.appIDs), 30)) // before what was read
				}
				gone[l.appIDs[i]] = true
				l.appIDs = slices.Delete(l.appIDs, i, i+1)
			}
			for range random.IntN(4) {
				arrived := fmt.Sprintf("wx-new-%d-%d", call, random.Uint32())
				if newest {
					l.appIDs = slices.Insert(l.appIDs, 0, arrived)
				} else {
					l.appIDs = append(l.appIDs, arrived)
				}
			}
		}
		got, err := l.read(t)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		seen := slices.DeleteFunc(got, func(appID string) bool { return gone[appID] || strings.HasPrefix(appID, "wx-new") })
		want := slices.DeleteFunc(numbers(0, n), func(appID string) bool { return gone[appID] })
		if !slices.Equal(seen, want) {
			t.Errorf("seed %d: %s", seed, difference(seen, want))
		}
	}
}

// Where the list cannot be read to its end, that is told, and it is not asked for
// for ever.
func TestListThatCannotBeRead(t *testing.T) {
	refused := errors.New("refused")
	l := &movingList{appIDs: numbers(0, 2000), err: refused, failAt: 3}
	if got, err := l.read(t); !errors.Is(err, refused) || len(got) != 999 {
		t.Errorf("%d were read, %v", len(got), err)
	}
	l = &movingList{appIDs: numbers(0, 1200), extra: 5}
	if got, err := l.read(t); err == nil || !strings.Contains(err.Error(), "1205") || len(got) != 1200 {
		t.Errorf("%d were read, %v", len(got), err)
	}
	l = &movingList{extra: 5}
	if _, err := l.read(t); err == nil || l.calls != 1 {
		t.Errorf("%v after %d calls", err, l.calls)
	}
	next := 0
	l = &movingList{appIDs: numbers(0, 2000), change: func(l *movingList, _ int) {
		next += 10_000
		l.appIDs = numbers(next, next+2000)
	}}
	if _, err := l.read(t); !errors.Is(err, errListMoves) || l.calls > 3*listBacks {
		t.Errorf("%v after %d calls", err, l.calls)
	}
}

// What others change while a list is read stays, and nothing leaves the index
// where the list was not read to its end.
func TestReplacement(t *testing.T) {
	for _, whole := range []bool{true, false} {
		st := newSharedMemory()
		x, other := indexOver(t, st), indexOver(t, st)
		mustCommit(t, x, changesOf(enter, numbers(0, 3000)...))
		r, err := x.replace(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.add(numbers(2000, 4000))
		// Meanwhile, here and elsewhere:
		mustAdd := func(x *index, n int) {
			if err := x.add(t.Context(), appID(n)); err != nil {
				t.Fatal(err)
			}
		}
		mustAdd(x, 5000)
		mustAdd(other, 5001)
		mustAdd(x, 1) // it was there, and is not listed
		if err := x.remove(t.Context(), appID(3999)); err != nil {
			t.Fatal(err)
		}
		r.add(numbers(3500, 4500))
		keep := func(id string) bool { return id == appID(2) }
		if err := r.commit(t.Context(), whole, keep); err != nil {
			t.Fatal(err)
		}
		r.end()
		from := 2000
		if !whole {
			from = 0
		}
		want := slices.Concat([]string{appID(1), appID(2)}, numbers(from, 4500), numbers(5000, 5002))
		wantIndex(t, other, unique(slices.DeleteFunc(want, func(id string) bool { return id == appID(3999) })))
		if r.count() != 2500 || x.journal != nil {
			t.Errorf("%d are listed", r.count())
		}
	}
}

// At whichever call of the store a process is killed that replaces the index,
// nothing is lost that stays.
func TestReplacementCrashes(t *testing.T) {
	for n := 1; ; n++ {
		st := newSharedMemory()
		mustCommit(t, indexOver(t, st), changesOf(enter, numbers(0, 3000)...))
		r, err := indexOver(t, crashAt(st, n)).replace(t.Context())
		if err == nil {
			r.add(numbers(1500, 4000))
			err = r.commit(t.Context(), true, func(string) bool { return false })
		}
		if err == nil {
			wantIndex(t, indexOver(t, st), numbers(1500, 4000))
			return
		}
		got := all(t, indexOver(t, st), maxListed)
		model := make(map[string]bool)
		for _, appID := range numbers(0, 3000) {
			model[appID] = true
		}
		wantBetween(t, got, model, append(changesOf(leave, numbers(0, 1500)...), changesOf(enter, numbers(3000, 4000)...)...))
		if r, err = indexOver(t, st).replace(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.add(numbers(1500, 4000))
		if err := r.commit(t.Context(), true, func(string) bool { return false }); err != nil {
			t.Fatal(err)
		}
		wantIndex(t, indexOver(t, st), numbers(1500, 4000))
	}
}
