package weixin

import (
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// accountObserver is told what happens to an account, for metrics and events: to its
// token, and to its requests. Its methods return at once and may be called from
// any goroutine. No token reaches it but as what prints as a fingerprint.
type accountObserver interface {
	credential.Observer

	// answered is called for every answer of WeChat's, with the time until its
	// header came and its errcode, which is 0 where there is none.
	answered(d time.Duration, errcode int)

	// replayed is called after a replay, or where there was none, with the errcode
	// that gave cause to it.
	replayed(errcode int, result replayResult)

	// served is called when a client gets an answer, with the caller's name, which
	// is empty where there is none, and its status.
	served(caller string, status int)
}

// replayResult is how a replay ended, as metrics call it.
type replayResult string

const (
	replayOK       replayResult = "ok"       // the token was accepted
	replayRejected replayResult = "rejected" // so was the next token
	replayGaveUp   replayResult = "gave_up"  // the request was not sent again
)

// nobody is the observer where there is none.
type nobody struct{ credential.Unobserved }

func (nobody) answered(time.Duration, int) {}
func (nobody) replayed(int, replayResult)  {}
func (nobody) served(string, int)          {}

// tokenObserver tells an account's observer of its token. The observer is
// known later than the token.
type tokenObserver Account

// Fetched implements credential.Observer.
func (a *tokenObserver) Fetched(v *credential.Value) { a.watcher.Fetched(v) }

// Failed implements credential.Observer.
func (a *tokenObserver) Failed(err *credential.UnavailableError) { a.watcher.Failed(err) }

// DiedEarly implements credential.Observer.
func (a *tokenObserver) DiedEarly() { a.watcher.DiedEarly() }

// CompetingFetcher implements credential.Observer.
func (a *tokenObserver) CompetingFetcher(deaths int) { a.watcher.CompetingFetcher(deaths) }

// QuotaNear implements credential.Observer.
func (a *tokenObserver) QuotaNear(quota string, q credential.Quota) { a.watcher.QuotaNear(quota, q) }
