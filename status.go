package weixin

import (
	"context"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// States of an account's token.
const (
	stateOK       = "ok"       // there is a valid token
	stateRenewing = "renewing" // WeChat or the store is being asked for one
	stateBackoff  = "backoff"  // WeChat gave none, and is not asked again yet
	stateEmpty    = "empty"    // there is none, and nobody has needed one yet
)

// AccountStatus is what can be told of an account's token without showing it.
type AccountStatus struct {
	Name        string       `json:"name"`
	AppID       string       `json:"appid"`
	Method      string       `json:"method"`
	State       string       `json:"state"`
	Fingerprint string       `json:"fingerprint,omitempty"` // the first 8 hex digits of the token's SHA-256
	FetchedAt   time.Time    `json:"fetched_at,omitzero"`
	ExpiresAt   time.Time    `json:"expires_at,omitzero"`
	RetryAt     time.Time    `json:"retry_at,omitzero"` // when a back-off ends
	Fetches     int64        `json:"fetches"`           // by this process
	Replays     int64        `json:"replays"`           // by this process
	LastError   *StatusError `json:"last_error,omitempty"`

	// Quota is of the day that it is in Beijing.
	Quota Quotas `json:"quota"`

	// EarlyDeaths counts the tokens of the last hour that were rejected well
	// before their time because somebody had fetched another.
	EarlyDeaths int `json:"early_deaths"`

	// Warnings are what will be a failure if nobody does anything about it.
	Warnings []StatusWarning `json:"warnings,omitempty"`

	// store is the store's state, which all accounts share.
	store store.State

	// Usable is whether requests get the token: it has neither expired nor been
	// rejected without another to take its place.
	Usable bool `json:"usable"`
}

// StatusWarning is a trouble that has not made any request fail yet.
type StatusWarning struct {
	Code   string `json:"code"` // thief, quota_fetches, quota_forced or store
	Advice string `json:"advice"`
}

const (
	warningThief = "thief"
	warningQuota = "quota_" // and the quota's name
	warningStore = "store"
)

// warnings returns what the status gives cause for, in a language.
func (s *AccountStatus) warnings(lang wechat.Language) []StatusWarning {
	var warnings []StatusWarning
	if s.EarlyDeaths >= thiefDeaths {
		warnings = append(warnings, StatusWarning{warningThief, thiefAdvice(lang)})
	}
	if s.Quota.Fetches.near() {
		warnings = append(warnings, StatusWarning{warningQuota + quotaFetches, quotaAdvice(quotaFetches, lang)})
	}
	if s.Quota.Forced != nil && s.Quota.Forced.near() {
		warnings = append(warnings, StatusWarning{warningQuota + quotaForced, quotaAdvice(quotaForced, lang)})
	}
	if !s.store.Up {
		warnings = append(warnings, StatusWarning{warningStore, storeAdvice(s.store.Advice, lang)})
	}
	return warnings
}

// storeAdvice returns what to say about a store that fails.
func storeAdvice(advice store.Advice, lang wechat.Language) string {
	if lang == wechat.Chinese {
		cure := advice.Chinese
		if cure == "" {
			cure = "原因请查看日志"
		}
		return "存储不可用，token 仅保存在内存中，各进程无法共享：" + cure
	}
	cure := advice.English
	if cure == "" {
		cure = "the log has the cause"
	}
	return "The store fails, so tokens are kept in memory alone and processes do not share them: " + cure
}

// StatusError is the last failure to get a token. It stays when it is over.
type StatusError struct {
	Errcode int       `json:"errcode"` // 0 where WeChat did not answer
	Errmsg  string    `json:"errmsg"`
	At      time.Time `json:"at"`
	Advice  string    `json:"advice,omitempty"`
}

// Status returns an account's status. It asks nobody.
func (m *TokenManager) Status(a *Account) AccountStatus {
	s := a.state
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	status := AccountStatus{
		Name: a.Name, AppID: a.Credentials.AppID, Method: a.Source.Method(),
		State: stateEmpty, Fetches: s.fetches, Replays: s.replays.Load(), LastError: s.lastError,
		Quota: s.record.quotas(a.policy, now), EarlyDeaths: s.record.earlyDeaths(now),
		store: m.store.store.State(),
	}
	status.Warnings = status.warnings(wechat.English)
	if t := s.token; t != nil {
		status.Fingerprint, status.FetchedAt, status.ExpiresAt = t.fingerprint, t.fetchedAt, t.expiresAt
		status.Usable = t.usable(now)
	}
	failure := s.failure(now)
	switch {
	case failure != nil:
		status.State, status.RetryAt = stateBackoff, failure.RetryAt
	case s.flight != nil:
		status.State = stateRenewing
	case status.Usable:
		status.State = stateOK
	}
	return status
}

// History returns how often this process has fetched the account's token in the
// last hour, and how often it has replayed a request, in slots of two minutes,
// the newest last.
func (m *TokenManager) History(a *Account) (fetches, replays []int) {
	now := m.now()
	return a.state.fetchHistory.counts(now), a.state.replayHistory.counts(now)
}

// healthy says whether requests get a token, or nobody has needed one yet.
func (s *AccountStatus) healthy() bool {
	return s.Usable || s.State == stateEmpty
}

// Renew gets another token at once, whatever went before: it ends a back-off.
// If the fingerprint of a rejected token is given, it does so only if that is
// the current one still. It is for operators, and for systems that have found a
// token rejected themselves.
func (m *TokenManager) Renew(ctx context.Context, a *Account, rejected string) error {
	s := a.state
	s.mu.Lock()
	for s.flight != nil {
		f := s.flight
		s.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			return err
		}
		s.mu.Lock()
	}
	t := s.token
	if rejected != "" && t != nil && t.usable(m.now()) && t.fingerprint != rejected {
		s.mu.Unlock()
		return nil
	}
	// A success that never was, so that other processes give up their back-off
	// as well.
	last := s.record.Attempt
	s.record.Attempt = attempt{Number: last.Number + 1, Generation: s.record.Generation, At: m.now(), Day: last.Day, OfDay: last.OfDay}
	s.unreachable, s.pausedUntil = attempt{}, time.Time{}
	var f *flight
	if rejected != "" && t != nil && t.fingerprint == rejected {
		f = m.launch(a, t)
	} else {
		f = m.launchEarly(a)
	}
	s.mu.Unlock()
	if err := f.wait(ctx); err != nil {
		return err
	}
	return f.err
}

// noteError keeps a failure for the status. The state is locked.
func (s *tokenState) noteError(e *TokenError, at time.Time) {
	s.lastError = &StatusError{Errcode: e.Errcode, Errmsg: e.Message, At: at, Advice: e.Advice(wechat.English)}
}
