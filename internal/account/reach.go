package account

import (
	"sync/atomic"
	"time"
)

// reach is whether requests of an account get to WeChat at all, which its token
// does not tell. The zero value is that of an account that nobody has used.
type reach struct {
	failures atomic.Pointer[failures] // after the last answer; nil where there are none
}

// failures are requests in a row that got no answer. They are not changed.
type failures struct {
	first, last time.Time
	count       int
}

// WeChat is out of reach when so many requests in a row have got no answer, over
// so long, and the last of them not too long ago. A request now and then may
// fail. And where no requests come any more, because a load balancer sends them
// elsewhere, nothing is known.
const (
	reachFailures = 5
	reachFor      = 10 * time.Second
	reachUntil    = time.Minute
)

// Reached notes that WeChat has answered a request, whatever the answer is.
func (a *Account) Reached() { a.reach.answered() }

// NotReached notes that WeChat has not answered a request.
func (a *Account) NotReached(now time.Time) { a.reach.failed(now) }

// IsOutOfReach reports whether WeChat is out of reach.
func (a *Account) IsOutOfReach(now time.Time) bool { return a.reach.lost(now) }

// answered notes that WeChat has answered, whatever the answer is.
func (r *reach) answered() {
	if r.failures.Load() != nil {
		r.failures.Store(nil)
	}
}

// failed notes that WeChat has not answered.
func (r *reach) failed(now time.Time) {
	for {
		before := r.failures.Load()
		next := &failures{first: now, last: now, count: 1}
		if before != nil && now.Sub(before.last) <= reachUntil {
			next.first, next.count = before.first, before.count+1
		}
		if r.failures.CompareAndSwap(before, next) {
			return
		}
	}
}

// lost reports whether WeChat is out of reach.
func (r *reach) lost(now time.Time) bool {
	f := r.failures.Load()
	return f != nil && f.count >= reachFailures && f.last.Sub(f.first) >= reachFor && now.Sub(f.last) <= reachUntil
}
