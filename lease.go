package weixin

import (
	"slices"
	"sync/atomic"
	"time"
	"weak"
)

// lease is an account's token, to be used until a time without a look at the
// cache or at the token itself. Each of these looks is a wait for memory where
// there are many accounts, and the cache's lock is one for all of the process's
// requests where there is one account.
//
// Leases are granted and recalled while the state is locked, so that no lease
// outlives its token.
type lease struct {
	token atomic.Pointer[Token]
	until atomic.Int64 // in nanoseconds since the epoch; 0 is not at all
}

// take returns the token, or nil if there is none to be used at this time.
func (l *lease) take(now time.Time) *Token {
	if now.UnixNano() >= l.until.Load() {
		return nil
	}
	// If another token was granted in between, this is that newer one.
	return l.token.Load()
}

// grantLease lets the account use its state's token until there is something to
// be done about it: it has to be renewed, or has expired. The state is locked.
func (a *Account) grantLease() {
	t := a.state.token
	if t == nil || t.dead.Load() {
		return
	}
	a.lease.token.Store(t)
	a.lease.until.Store(min(t.renewAt, t.expiresAt.UnixNano()))
}

// recallLeases has the next request of every account that shares the state look
// for its token again. The state is locked.
func (s *tokenState) recallLeases() {
	s.accounts = slices.DeleteFunc(s.accounts, func(p weak.Pointer[Account]) bool {
		a := p.Value()
		if a != nil {
			a.lease.until.Store(0)
		}
		return a == nil // its configuration is gone
	})
}
