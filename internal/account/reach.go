package account

import (
	"sync"
	"sync/atomic"
	"time"
)

// reach is whether requests of an account get to WeChat at all, which its token
// does not tell. The zero value is that of an account that nobody has used.
type reach struct {
	failing atomic.Bool // there was a failure after the last answer

	mu          sync.Mutex
	first, last time.Time // of the failures in a row
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
	if !r.failing.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count = 0
	r.failing.Store(false)
}

// failed notes that WeChat has not answered.
func (r *reach) failed(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == 0 || now.Sub(r.last) > reachUntil {
		r.first, r.count = now, 0
	}
	r.last = now
	r.count++
	r.failing.Store(true)
}

// lost reports whether WeChat is out of reach.
func (r *reach) lost(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count >= reachFailures && r.last.Sub(r.first) >= reachFor && now.Sub(r.last) <= reachUntil
}
