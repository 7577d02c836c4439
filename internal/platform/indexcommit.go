package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Of a change that touches many pages, as much is done under the store's lock as
// takes less than a lock lives.
const (
	commitPages   = 16
	commitChanges = 8 << 10
	commitTimeout = 8 * time.Second

	// indexLockPatience is how long to wait for another process that holds the
	// lock: longer than a lock outlives its process.
	indexLockPatience = 15 * time.Second
)

// errChanged means that the index has changed since it was looked at.
var errChanged = errors.New("another process keeps changing the index of authorizers: try again")

// commit applies changes, sorted by appid, one for each. Where it returns an
// error, some of them may have been applied, whole pages at a time.
func (x *index) commit(ctx context.Context, changes []change) error {
	for len(changes) > 0 {
		n, err := x.commitSome(ctx, changes)
		if err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

// commitSome applies the first changes, and returns how many. It takes the lock
// only where something is left to do.
func (x *index) commitSome(ctx context.Context, changes []change) (int, error) {
	x.committing.Lock()
	defer x.committing.Unlock()
	for range 100 { // the root changes while others change it
		root, err := x.loadRoot(ctx)
		if err != nil {
			return 0, err
		}
		groups, n := root.group(changes)
		if needed, err := x.isNeeded(ctx, root, groups); err != nil || !needed {
			return n, err
		}
		if n, err = x.commitLocked(ctx, root.version, changes); !errors.Is(err, errChanged) {
			return n, err
		}
	}
	return 0, errChanged
}

// pageGroup are changes to one page.
type pageGroup struct {
	page    int
	changes []change
}

// group returns the first changes by page, and how many they are.
func (r *indexRoot) group(changes []change) (groups []pageGroup, n int) {
	changes = changes[:min(len(changes), commitChanges)]
	for n < len(changes) && len(groups) < commitPages {
		i := r.find(changes[n].appID)
		high, end := r.high(i), n+1
		for end < len(changes) && (high == "" || changes[end].appID < high) {
			end++
		}
		groups = append(groups, pageGroup{i, changes[n:end]})
		n = end
	}
	return groups, n
}

// isNeeded reports whether changes change anything.
func (x *index) isNeeded(ctx context.Context, root *indexRoot, groups []pageGroup) (bool, error) {
	for _, g := range groups {
		if len(root.pages) == 0 {
			if slices.ContainsFunc(g.changes, func(c change) bool { return c.op == enter }) {
				return true, nil
			}
			continue
		}
		old, ok, err := x.loadPage(ctx, root, g.page)
		if err != nil {
			return false, err
		}
		if ref := root.pages[g.page]; !ok || ref.count != len(old) || isChanged(old, g.changes) || g.isDue(ref, dayOf(x.now())) {
			return true, nil
		}
	}
	return false, nil
}

// isChanged reports whether changes change a page.
func isChanged(appIDs []string, changes []change) bool {
	return slices.ContainsFunc(changes, func(c change) bool {
		_, found := slices.BinarySearch(appIDs, c.appID)
		return c.op == enter && !found || c.op == leave && found
	})
}

// isDue reports whether the page is to be saved again, and nobody has done so.
func (g pageGroup) isDue(ref pageRef, today int) bool {
	return today-ref.day > renewAfterDays && slices.ContainsFunc(g.changes, func(c change) bool { return c.op == renew })
}

// commitLocked applies the first changes under the lock for a version of the root.
//
// The lock has a name per version: some stores keep a lock alive for a while after
// it was given back. Whoever has it and finds the version still there is alone
// with the index until it has saved the next version, which it does last.
func (x *index) commitLocked(ctx context.Context, version int64, changes []change) (int, error) {
	lockCtx, cancel := context.WithTimeout(ctx, indexLockPatience)
	defer cancel()
	unlock, err := x.store.Lock(lockCtx, "weixin-"+x.id.Identity+"-"+x.place+"-"+base36(version))
	if err != nil {
		return 0, fmt.Errorf("the lock of the index of authorizers: %w", err)
	}
	defer unlock()
	ctx, cancel = context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	root, err := x.loadRoot(ctx)
	if err != nil {
		return 0, err
	}
	if root.version != version {
		return 0, errChanged
	}
	groups, n := root.group(changes)
	c := &commit{index: x, root: root, day: dayOf(x.now())}
	for _, g := range slices.Backward(groups) { // pages come and go behind those that are left to do
		if err := c.apply(ctx, g); err != nil {
			return 0, err
		}
	}
	return n, c.finish(ctx)
}

// commit is a change of the index that is under way. All that it saves before the
// root is of no meaning without that: pages that no root knows yet, and pages that
// hold what they held before and what they will hold.
type commit struct {
	*index
	root  *indexRoot // as it will be
	freed []int      // numbers of pages that the saved root still knows
	day   int
}

// apply changes one page.
func (c *commit) apply(ctx context.Context, g pageGroup) error {
	if len(c.root.pages) == 0 {
		c.root.pages = []pageRef{{number: c.root.take()}}
	}
	old, ok, err := c.loadPage(ctx, c.root, g.page)
	if err != nil {
		return err
	}
	if ref := c.root.pages[g.page]; ok && ref.count == len(old) && !isChanged(old, g.changes) && !g.isDue(ref, c.day) {
		return nil
	}
	return c.fit(ctx, g.page, old, changed(old, g.changes))
}

// fit saves what a page is to hold, together with a neighbour where it is little.
func (c *commit) fit(ctx context.Context, i int, old, next []string) error {
	if len(next) < pageMin {
		return c.join(ctx, i, old, next)
	}
	return c.replace(ctx, i, old, next)
}

// replace saves what a page is to hold, in as many pages as that takes. Pages
// that are new come first; the one that was there keeps what moves to them, until
// it is saved the next time.
func (c *commit) replace(ctx context.Context, i int, old, next []string) error {
	pieces, high := split(next), c.root.high(i)
	refs := []pageRef{{c.root.pages[i].low, c.root.pages[i].number, len(pieces[0]), c.day}}
	for k, piece := range pieces[1:] {
		ref := pageRef{piece[0], c.root.take(), len(piece), c.day}
		end := high
		if k+2 < len(pieces) {
			end = pieces[k+2][0]
		}
		if err := c.savePage(ctx, ref.number, page{ref.low, end, piece}); err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	first := pieces[0]
	if len(refs) > 1 {
		first = slices.Concat(first, within(old, refs[1].low, ""))
	}
	if err := c.savePage(ctx, refs[0].number, page{refs[0].low, high, first}); err != nil {
		return err
	}
	c.root.pages = slices.Replace(c.root.pages, i, i+1, refs...)
	return nil
}

// join puts what is left of a page together with a neighbour, if there is one that
// has room.
func (c *commit) join(ctx context.Context, i int, old, next []string) error {
	for _, neighbour := range []int{i + 1, i - 1} {
		if neighbour < 0 || neighbour >= len(c.root.pages) {
			continue
		}
		appIDs, _, err := c.loadPage(ctx, c.root, neighbour)
		if err != nil {
			return err
		}
		if room := len(appIDs) + len(next); room > pageMax || room > pageFill && len(next) > 0 {
			continue
		}
		both, left := slices.Concat(next, appIDs), i
		if neighbour < i {
			both, left = slices.Concat(appIDs, next), neighbour
		}
		c.freed = append(c.freed, c.root.pages[left+1].number)
		c.root.pages = slices.Delete(c.root.pages, left+1, left+2)
		return c.fit(ctx, left, both, both)
	}
	if len(next) == 0 && len(c.root.pages) == 1 {
		c.freed = append(c.freed, c.root.pages[0].number)
		c.root.pages = nil
		return nil
	}
	return c.replace(ctx, i, old, next)
}

// finish saves the root.
func (c *commit) finish(ctx context.Context) error {
	// A root that is begun anew has no version that was there before.
	c.root.version = max(c.root.version+1, c.now().UnixMilli())
	c.root.free = append(c.root.free, c.freed...)
	return c.saveRoot(ctx, c.root)
}

// sortChanges sorts changes by appid.
func sortChanges(changes []change) {
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.appID, b.appID) })
}

func base36(n int64) string { return strconv.FormatInt(n, 36) }
