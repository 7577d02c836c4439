package weixin

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A token of the classic endpoint dies when the next one is fetched. Where
// tokens die well before their time again and again, somebody else fetches with
// the same AppSecret. Once may be a test by hand; so many within that time are
// a system.
const (
	thiefDeaths = 3
	thiefWindow = time.Hour
)

// diedEarly says whether a rejected token would have lived on if nobody had
// fetched another. A token that follows one which nobody saw accepted tells
// nothing: there are APIs that reject every token.
func (a *Account) diedEarly(token *Token, now time.Time) bool {
	return !a.policy.Idempotent && (token.accepted.Load() || token.strikes == 0) &&
		now.Before(token.expiresAt.Add(-token.lead(a.policy)))
}

// earlyDeaths returns how many tokens died before their time lately.
func (r *record) earlyDeaths(now time.Time) int {
	n := 0
	for _, at := range r.Deaths {
		if at.After(now.Add(-thiefWindow)) {
			n++
		}
	}
	return n
}

// watchThief warns, at most once in thiefWindow, of somebody else who fetches.
func (t *task) watchThief(now time.Time) {
	t.watcher.diedEarly()
	s := t.state
	s.mu.Lock()
	deaths := s.record.earlyDeaths(now)
	suspected := deaths >= thiefDeaths && now.After(s.thiefWarnedAt.Add(thiefWindow))
	if suspected {
		s.thiefWarnedAt = now
	}
	s.mu.Unlock()
	if !suspected {
		return
	}
	t.m.logger.Warn("the account's tokens die before their time: another system seems to fetch tokens with the same AppSecret",
		zap.String("account", t.Name), zap.Int("deaths", deaths), zap.Duration("within", thiefWindow),
		zap.String("advice", thiefAdvice(wechat.English)))
	t.watcher.thiefSuspected(deaths)
}

func thiefAdvice(lang wechat.Language) string {
	return [...]string{
		"Another system fetches tokens with this account's AppSecret, and each fetch kills the one before: write token stable, whose tokens are not killed by it, or have that system use this proxy.",
		"有其他系统在用该账号的 AppSecret 获取 token，每次获取都会使之前的 token 失效：请改用 token stable（不受其影响），或让该系统也使用本代理。",
	}[lang]
}
