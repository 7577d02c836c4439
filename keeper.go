package weixin

import (
	"context"
	"math"
	"slices"
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
// store has, at some time within the given one: who has many accounts does not
// want to begin with all of them at once. A request that needs the token does
// not wait for that. KeepWarm does not wait for anything.
//
// During a reload the old and the new configuration both keep the token warm.
// The newest does the work. When it is released, because the reload failed, the
// one before goes on.
func (m *TokenManager) KeepWarm(a *Account, within time.Duration) {
	s := a.state
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &keeper{manager: m, account: a}
	k.timer = time.AfterFunc(math.MaxInt64, k.renew)
	if old := s.keeper(); old != nil {
		old.timer.Stop()
	}
	s.keepers = append(s.keepers, k)
	s.saving.handOver(k)
	k.begin(jitter(within))
}

// Release ends KeepWarm, and waits for what is under way, so that no token that
// WeChat has issued is lost.
func (m *TokenManager) Release(ctx context.Context, a *Account) {
	s := a.state
	s.mu.Lock()
	s.keepers = slices.DeleteFunc(s.keepers, func(k *keeper) bool {
		if k.account != a {
			return false
		}
		k.timer.Stop()
		return true
	})
	f, heir := s.flight, s.keeper()
	if heir != nil {
		s.saving.handOver(heir)
		heir.begin(0)
	}
	unsaved := heir == nil && s.saving.stop()
	s.mu.Unlock()
	if f != nil {
		_ = f.wait(ctx) // there is no more time
	}
	if unsaved {
		m.save(ctx, a)
	}
}

// keeper returns the newest one, or nil. The state is locked.
func (s *tokenState) keeper() *keeper {
	if len(s.keepers) == 0 {
		return nil
	}
	return s.keepers[len(s.keepers)-1]
}

// begin sets the timer for the first time, and has a token that is not known yet
// be looked for after that time. The state is locked.
func (k *keeper) begin(after time.Duration) {
	s := k.account.state
	switch {
	case s.flight != nil: // its end sets the timer
	case s.token == nil:
		k.timer.Reset(after)
	default:
		k.account.schedule(k.manager.now())
	}
}

// renew runs when the timer fires.
func (k *keeper) renew() {
	s := k.account.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeper() != k || s.flight != nil {
		return // the flight's end sets the timer again
	}
	k.manager.launch(k.account, nil)
}

// schedule sets when the account's token is renewed next, by a request that
// uses it or by the keeper. The state is locked.
func (a *Account) schedule(now time.Time) {
	s := a.state
	warmAt, dueAt := latest(now, s.pausedUntil), now
	if s.token != nil && s.token.usable(now) {
		warmAt, dueAt = s.token.warmAt, s.token.dueAt
	}
	if f := s.failure(now); f != nil {
		warmAt, dueAt = latest(warmAt, f.RetryAt), latest(dueAt, f.RetryAt)
	}
	if s.token != nil {
		s.token.renewAt = dueAt.UnixNano()
		s.recallLeases()
	}
	if k := s.keeper(); k != nil {
		k.timer.Reset(max(warmAt.Sub(now), keeperPause))
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
