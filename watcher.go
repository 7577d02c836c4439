package weixin

import "time"

// watcher is told what happens, for metrics and events. Its methods return at
// once and may be called from any goroutine. No token reaches it.
type watcher interface {
	// tokenFetched is called after WeChat has handed out a token.
	tokenFetched(account string, token *Token)

	// tokenFailed is called after WeChat has not.
	tokenFailed(account string, err *TokenError)

	// diedEarly is called after a token was found rejected well before its time,
	// where that means that somebody has fetched another.
	diedEarly(account string)

	// thiefSuspected is called when that has happened so often lately that
	// another system must be fetching tokens with the same AppSecret.
	thiefSuspected(account string, deaths int)

	// quotaNear is called when a quota of the day has reached 80 %.
	quotaNear(account, quota string, q Quota)

	// answered is called for every answer of WeChat's, with the time until its
	// header came and its errcode, which is 0 where there is none.
	answered(account string, d time.Duration, errcode int)

	// replayed is called after a replay, with the errcode that caused it and
	// whether it helped.
	replayed(account string, errcode int, ok bool)
}

// nobody is the watcher where there is none.
type nobody struct{}

func (nobody) tokenFetched(string, *Token)         {}
func (nobody) tokenFailed(string, *TokenError)     {}
func (nobody) diedEarly(string)                    {}
func (nobody) thiefSuspected(string, int)          {}
func (nobody) quotaNear(string, string, Quota)     {}
func (nobody) answered(string, time.Duration, int) {}
func (nobody) replayed(string, int, bool)          {}
