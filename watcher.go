package weixin

import "time"

// watcher is told what happens, for metrics and events. Its methods return at
// once and may be called from any goroutine. No token reaches it.
type watcher interface {
	// tokenFetched is called after WeChat has handed out a token.
	tokenFetched(account string, token *Token)

	// tokenFailed is called after WeChat has not.
	tokenFailed(account string, err *TokenError)

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
func (nobody) answered(string, time.Duration, int) {}
func (nobody) replayed(string, int, bool)          {}
