package weixin

import (
	"context"
	"math"
	"time"
)

// keeper keeps an account's token warm: it is renewed before it expires even if
// nobody uses it, and fetched again when a back-off ends. It costs one timer.
type keeper struct {
	manager *TokenManager
	account *Account
	timer   *time.Timer
}

// KeepWarm starts to keep an account's token warm, beginning with what the
// store has. It does not wait for anything. The account's configuration takes
// over from an earlier one of the same account.
func (m *TokenManager) KeepWarm(a *Account) {
	s := a.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeper != nil {
		s.keeper.timer.Stop()
	}
	k := &keeper{manager: m, account: a}
	k.timer = time.AfterFunc(math.MaxInt64, k.renew)
	a.keeper, s.keeper = k, k
	switch {
	case s.flight != nil: // its end sets the timer
	case s.token == nil:
		k.timer.Reset(0)
	default:
		a.schedule(m.now())
	}
}

// Release ends KeepWarm, unless a newer configuration has taken over, and waits
// for what is under way, so that no token that WeChat has issued is lost.
func (m *TokenManager) Release(ctx context.Context, a *Account) {
	s := a.state
	s.mu.Lock()
	if a.keeper != nil && s.keeper == a.keeper {
		s.keeper.timer.Stop()
		s.keeper = nil
	}
	f, saving := s.flight, s.saving.stop(m)
	s.mu.Unlock()
	if f != nil {
		select {
		case <-f.done:
		case <-ctx.Done():
		}
	}
	if saving {
		m.save(a)
	}
}

// renew runs when the timer fires.
func (k *keeper) renew() {
	s := k.account.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeper != k || s.flight != nil {
		return // the flight's end sets the timer again
	}
	k.manager.launch(k.account, nil)
}

// schedule sets when the account's token is renewed next, by a request that
// uses it or by the keeper. The state is locked.
func (a *Account) schedule(now time.Time) {
	s := a.state
	warmAt, dueAt := now, now
	if s.token != nil && s.token.usable(now) {
		warmAt, dueAt = s.token.warmAt, s.token.dueAt
	}
	if f := s.record.failure(); f != nil {
		warmAt, dueAt = latest(warmAt, f.RetryAt), latest(dueAt, f.RetryAt)
	}
	if s.token != nil {
		s.token.renewAt.Store(dueAt.UnixNano())
	}
	if s.keeper != nil {
		s.keeper.timer.Reset(max(warmAt.Sub(now), keeperPause))
	}
}

// keeperPause keeps a keeper from spinning, whatever WeChat answers.
const keeperPause = 100 * time.Millisecond

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
