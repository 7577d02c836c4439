package weixin

import (
	"cmp"
	"strconv"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// AccountStatus is what can be told of an account's token without showing it.
type AccountStatus struct {
	Name    string           `json:"name"`
	Kind    string           `json:"kind"`
	AppID   string           `json:"appid,omitempty"`
	CorpID  string           `json:"corpid,omitempty"`
	AgentID string           `json:"agentid,omitempty"`
	Method  string           `json:"method"`
	State   credential.State `json:"state"` // empty, ok, renewing, rejected or backoff

	// Since is when a state began that is none to be in, rejected or backoff, and
	// Advice what to do about it.
	Since  time.Time `json:"since,omitzero"`
	Advice string    `json:"advice,omitempty"`

	Fingerprint string       `json:"fingerprint,omitempty"` // the first 8 hex digits of the token's SHA-256
	FetchedAt   time.Time    `json:"fetched_at,omitzero"`
	ExpiresAt   time.Time    `json:"expires_at,omitzero"`
	RetryAt     time.Time    `json:"retry_at,omitzero"` // when a back-off ends
	Fetches     int64        `json:"fetches"`           // by this process
	Replays     int64        `json:"replays"`           // by this process
	LastError   *StatusError `json:"last_error,omitempty"`

	// Quota is of the day that it is in Beijing.
	Quota credential.Quotas `json:"quota"`

	// EarlyDeaths counts the tokens of the last hour that were rejected well
	// before their time because somebody had fetched another.
	EarlyDeaths int `json:"early_deaths"`

	// Warnings are what will be a failure if nobody does anything about it.
	Warnings []StatusWarning `json:"warnings,omitempty"`

	// Tickets are those that are kept.
	Tickets []TicketStatus `json:"tickets,omitempty"`

	// store is the store's state, which all accounts share.
	store store.State

	// isLost is that this process's requests do not reach WeChat.
	isLost bool

	// Usable is whether requests get the token: it has neither expired nor been
	// rejected without another to take its place.
	Usable bool `json:"usable"`

	// failure is the last one to get a token, where LastError is another.
	failure *StatusError

	trouble   account.Trouble
	inTrouble bool

	kind        *wechat.Kind
	isHealthy   bool
	isCompeting bool
	checkedAt   time.Time // when the source last handed the token out
}

// StatusWarning is a trouble that the state does not tell.
type StatusWarning struct {
	Code   string `json:"code"` // unreachable, thief, quota_fetches, quota_forced, store, or errcode_ and that of an API
	Advice string `json:"advice"`
}

const (
	warningUnreachable = "unreachable"

	warningCompeting = "thief"
	warningQuota     = "quota_" // and the quota's name
	warningStore     = "store"
	warningAPI       = "errcode_" // and the errcode of an API
)

// warnings returns what the status gives cause for, in a language.
func (s *AccountStatus) warnings(lang wechat.Language) []StatusWarning {
	var warnings []StatusWarning
	if s.isLost {
		warnings = append(warnings, StatusWarning{warningUnreachable, account.UnreachableAdvice(lang)})
	}
	if s.isCompeting {
		warnings = append(warnings, StatusWarning{warningCompeting, s.kind.CompetingAdvice[lang]})
	}
	if s.Quota.Fetches.Near() {
		warnings = append(warnings, StatusWarning{warningQuota + credential.QuotaFetches, account.QuotaAdvice(credential.QuotaFetches, lang)})
	}
	if s.Quota.Forced != nil && s.Quota.Forced.Near() {
		warnings = append(warnings, StatusWarning{warningQuota + credential.QuotaForced, account.QuotaAdvice(credential.QuotaForced, lang)})
	}
	if s.inTrouble {
		warnings = append(warnings, StatusWarning{
			warningAPI + strconv.Itoa(s.trouble.Errcode), s.kind.AdviceFor(s.trouble.Errcode, s.trouble.Errmsg, lang),
		})
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

// isFailing reports whether WeChat gave no token when it was asked last. Between
// two attempts the state is that a token is needed, and the cause is the same.
func (s *AccountStatus) isFailing() bool {
	switch failure := s.tokenFailure(); {
	case failure == nil:
		return false
	case s.State == credential.Renewing:
		return !s.Usable && failure.At.After(s.FetchedAt)
	default:
		return s.State == credential.BackOff
	}
}

// advice returns what to do about the state, in a language.
func (s *AccountStatus) advice(lang wechat.Language) string {
	switch {
	case s.State == credential.Refused:
		return s.kind.RejectedAdvice[lang]
	case s.isFailing():
		return s.tokenFailure().advice(s.kind, lang)
	default:
		return ""
	}
}

// tokenFailure returns the last failure to get a token, or nil.
func (s *AccountStatus) tokenFailure() *StatusError {
	if s.LastError != nil && s.LastError.isAtAPI {
		return s.failure
	}
	return s.LastError
}

// noteTrouble has the last error be that of an API where it is newer.
func (s *AccountStatus) noteTrouble(a *account.Account) {
	s.trouble, s.inTrouble = a.Trouble()
	if t := s.trouble; !t.At.IsZero() && (s.LastError == nil || s.LastError.At.Before(t.At)) {
		s.failure = s.LastError
		s.LastError = &StatusError{Errcode: t.Errcode, Errmsg: t.Errmsg, At: t.At, isAtAPI: true}
		s.LastError.Advice = s.LastError.advice(a.Kind, wechat.English)
	}
}

// TicketStatus is what can be told of a ticket without showing it.
type TicketStatus struct {
	Type        string       `json:"type"`                  // jsapi, wx_card or 2
	Fingerprint string       `json:"fingerprint,omitempty"` // the first 8 hex digits of the ticket's SHA-256
	FetchedAt   time.Time    `json:"fetched_at,omitzero"`   // when it was new
	CheckedAt   time.Time    `json:"checked_at,omitzero"`   // when WeChat last handed it out
	LastError   *StatusError `json:"last_error,omitempty"`
}

// StatusError is the last failure to get a token, by whichever process that
// shares the store, or a later error of an API, of which this process knows, that
// an operator has to do something about. It stays, with its time, when it is over.
type StatusError struct {
	// Errcode is WeChat's. It is left out where WeChat did not answer with one,
	// and Unreachable is true.
	Errcode     int       `json:"errcode,omitempty"`
	Unreachable bool      `json:"unreachable,omitempty"`
	Errmsg      string    `json:"errmsg"`
	At          time.Time `json:"at"`
	Advice      string    `json:"advice,omitempty"`

	isAtAPI bool
}

func (e *StatusError) advice(kind *wechat.Kind, lang wechat.Language) string {
	return account.FailureAdvice(kind, e.Errcode, e.Errmsg, lang)
}

// id returns the AppID, or the corpid and the AgentId.
func (s *AccountStatus) id() string {
	id := cmp.Or(s.AppID, s.CorpID)
	if s.AgentID != "" {
		id += " " + s.AgentID
	}
	return id
}

// healthy reports whether requests get a token that WeChat accepts, or nobody
// has needed one yet.
func (s *AccountStatus) healthy() bool { return s.isHealthy }

// What other processes know is looked for in the store before the status is
// shown, at most so often for an account, for so many at a time, and for so long.
const (
	lookPause  = 5 * time.Second
	lookAtOnce = 16
	lookFor    = time.Second
)
