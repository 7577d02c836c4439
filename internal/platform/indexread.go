package platform

import "context"

// maxListed is how many appids are listed at once at most.
const maxListed = 1000

// list returns up to limit appids after one, in order, and the one to go on after,
// or "" at the end.
func (x *index) list(ctx context.Context, after string, limit int) (appIDs []string, next string, err error) {
	limit = min(max(limit, 1), maxListed)
	err = x.walk(ctx, after, func(more []string) bool {
		appIDs = append(appIDs, more[:min(len(more), limit+1-len(appIDs))]...)
		return len(appIDs) <= limit
	})
	if err != nil {
		return nil, "", err
	}
	if len(appIDs) > limit {
		appIDs = appIDs[:limit]
		next = appIDs[limit-1]
	}
	return appIDs, next, nil
}

// count returns how many appids there are.
func (x *index) count(ctx context.Context) (int, error) {
	root, err := x.loadRoot(ctx)
	if err != nil {
		return 0, err
	}
	return root.count(), nil
}

// walk calls yield with all appids after one, in order, some at a time, until it
// returns false. It takes no lock: what is changed meanwhile may be missed or not,
// and nothing else is.
func (x *index) walk(ctx context.Context, after string, yield func([]string) bool) error {
	root, err := x.loadRoot(ctx)
	if err != nil {
		return err
	}
	from := ""
	if after != "" {
		from = after + "\x00" // what comes next
	}
	for tries := 0; len(root.pages) > 0; {
		i := root.find(from)
		appIDs, ok, err := x.loadPage(ctx, root, i)
		if err != nil {
			return err
		}
		if !ok && tries < 100 {
			newer, err := x.loadRoot(ctx)
			if err != nil {
				return err
			}
			tries++
			if newer.version != root.version {
				root = newer
				continue
			}
		}
		if !ok || len(appIDs) != root.pages[i].count {
			x.repair(root.pages[i].low)
		}
		if !yield(within(appIDs, from, "")) || i+1 == len(root.pages) {
			return nil
		}
		from, tries = root.pages[i+1].low, 0
	}
	return nil
}

// repair has a page looked into that is not what the root takes it for.
func (x *index) repair(low string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.enqueueLocked(low, check)
}
