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

	// replayed is called after a replay, with the errcode that caused it and
	// whether it helped.
	replayed(errcode int, ok bool)

	// gaveUp is called where a request is not replayed though its token was
	// refused, as that would be in vain.
	gaveUp(errcode int)

	// served is called when a client gets an answer, with its status.
	served(status int)
}

// nobody is the observer where there is none.
type nobody struct{ credential.Unobserved }

func (nobody) answered(time.Duration, int) {}
func (nobody) replayed(int, bool)          {}
func (nobody) gaveUp(int)                  {}
func (nobody) served(int)                  {}

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
