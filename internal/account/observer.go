package account

import (
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// Observer is told what happens to an account, for metrics and events: to its
// token, and to its requests. Its methods return at once and may be called from
// any goroutine. No token reaches it but as what prints as a fingerprint.
type Observer interface {
	credential.Observer

	// Answered is called for every answer of WeChat's, with the time until its
	// header came and its errcode, which is 0 where there is none.
	Answered(d time.Duration, errcode int)

	// Replayed is called after a replay, or where there was none, with the errcode
	// that gave cause to it.
	Replayed(errcode int, result ReplayResult)

	// Served is called when a client gets an answer, with the caller's name, which
	// is empty where there is none, and its status.
	Served(caller string, status int)
}

// ReplayResult is how a replay ended, as metrics call it.
type ReplayResult string

// The results.
const (
	ReplayOK       ReplayResult = "ok"       // the token was accepted
	ReplayRejected ReplayResult = "rejected" // so was the next token
	ReplayGaveUp   ReplayResult = "gave_up"  // the request was not sent again
)

// Unobserved is the observer where there is none.
type Unobserved struct{ credential.Unobserved }

// Answered implements Observer.
func (Unobserved) Answered(time.Duration, int) {}

// Replayed implements Observer.
func (Unobserved) Replayed(int, ReplayResult) {}

// Served implements Observer.
func (Unobserved) Served(string, int) {}

// tokenObserver tells an account's observer of its token. The observer is
// known later than the token.
type tokenObserver Account

// Fetched implements credential.Observer.
func (a *tokenObserver) Fetched(v *credential.Value) { a.Observer.Fetched(v) }

// Failed implements credential.Observer.
func (a *tokenObserver) Failed(err *credential.UnavailableError) { a.Observer.Failed(err) }

// DiedEarly implements credential.Observer.
func (a *tokenObserver) DiedEarly() { a.Observer.DiedEarly() }

// CompetingFetcher implements credential.Observer.
func (a *tokenObserver) CompetingFetcher(deaths int) { a.Observer.CompetingFetcher(deaths) }

// QuotaNear implements credential.Observer.
func (a *tokenObserver) QuotaNear(quota string, q credential.Quota) { a.Observer.QuotaNear(quota, q) }
