package weixin

import "time"

// watcher is told what happens to an account, for metrics and events. Its
// methods return at once and may be called from any goroutine. No token reaches
// it.
type watcher interface {
	// tokenFetched is called after WeChat has handed out a token.
	tokenFetched(token *Token)

	// tokenFailed is called after WeChat has not.
	tokenFailed(err *TokenError)

	// diedEarly is called after a token was found rejected well before its time,
	// where that means that somebody has fetched another.
	diedEarly()

	// thiefSuspected is called when that has happened so often lately that
	// another system must be fetching tokens with the same AppSecret.
	thiefSuspected(deaths int)

	// quotaNear is called when a quota of the day has reached 80 %.
	quotaNear(quota string, q Quota)

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

// nobody is the watcher where there is none.
type nobody struct{}

func (nobody) tokenFetched(*Token)         {}
func (nobody) tokenFailed(*TokenError)     {}
func (nobody) diedEarly()                  {}
func (nobody) thiefSuspected(int)          {}
func (nobody) quotaNear(string, Quota)     {}
func (nobody) answered(time.Duration, int) {}
func (nobody) replayed(int, replayResult)  {}
func (nobody) served(string, int)          {}
