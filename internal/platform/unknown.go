package platform

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

const (
	// unknownMemory is how long an appid that was found not to have authorised the
	// platform is not asked for again.
	unknownMemory = 5 * time.Minute

	// At most unknownPerMinute appids are asked for within a minute that have not
	// authorised the platform. This also bounds what is remembered of them. Those
	// that have do not count: a store that was lost is full of them.
	unknownPerMinute = 60

	// askTimeout bounds one question, with whatever has to be fetched before.
	askTimeout = 30 * time.Second

	// maxAppID is longer than any appid.
	maxAppID = 64
)

// unknown is who asks for appids of which nothing is known. Anybody can make such
// appids up, so they cost nothing but a little memory for a while, and few calls.
type unknown struct {
	now func() time.Time

	mu     sync.Mutex
	until  map[string]time.Time // those that have not authorised the platform, not to be asked for before
	asking map[string]*question // by appid
	asked  []time.Time          // when questions of the last minute began that are open, or were in vain
}

// question is about an appid. It is asked once, for all who want to know.
type question struct {
	begun     time.Time
	done      chan struct{}
	err       error // once done
	forgotten bool  // the answer may be older than what was heard meanwhile
}

func newUnknown(now func() time.Time) *unknown {
	return &unknown{now: now, until: make(map[string]time.Time), asking: make(map[string]*question)}
}

// find asks whether an appid has authorised the platform, unless that is known to
// be not the case. ask returns nil, ErrNotAuthorized, or an error that says
// nothing of the appid; no client's leaving ends it. The error is that of ask,
// ErrNotAuthorized, ErrTooManyUnknown, or that of ctx.
func (u *unknown) find(ctx context.Context, appID string, ask func(context.Context) error) error {
	for {
		q, isOurs, err := u.question(ctx, appID, ask)
		if err != nil {
			return err
		}
		select {
		case <-q.done:
			if isOurs {
				return q.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// question returns the one about an appid that is being asked, or begins it. Where
// there are too many it is another's, whose answer may make room.
func (u *unknown) question(ctx context.Context, appID string, ask func(context.Context) error) (q *question, isOurs bool, err error) {
	if !canBeAppID(appID) {
		return nil, false, ErrNotAuthorized
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	if now.Before(u.until[appID]) {
		return nil, false, ErrNotAuthorized
	}
	if q := u.asking[appID]; q != nil {
		return q, true, nil
	}
	u.asked = slices.DeleteFunc(u.asked, func(t time.Time) bool { return !now.Before(t.Add(time.Minute)) })
	if len(u.asked) >= unknownPerMinute {
		for _, other := range u.asking {
			return other, false, nil
		}
		return nil, false, ErrTooManyUnknown
	}
	u.asked = append(u.asked, now)
	q = &question{begun: now, done: make(chan struct{})}
	u.asking[appID] = q
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		q.err = ask(ctx)
		u.answered(appID, q)
	}()
	return q, true, nil
}

// answered remembers what the answer was, for a while.
func (u *unknown) answered(appID string, q *question) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.asking, appID)
	close(q.done)
	now := u.now()
	switch {
	case errors.Is(q.err, ErrNotAuthorized) && !q.forgotten:
		for other, until := range u.until {
			if !now.Before(until) {
				delete(u.until, other)
			}
		}
		u.until[appID] = now.Add(unknownMemory)
	case q.err == nil || wasNotAsked(q.err):
		if i := slices.Index(u.asked, q.begun); i >= 0 {
			u.asked = slices.Delete(u.asked, i, i+1)
		}
	}
}

// wasNotAsked reports whether WeChat could not be asked for want of a token.
func wasNotAsked(err error) bool {
	_, ok := errors.AsType[*credential.UnavailableError](err)
	return ok
}

// forget has an appid be asked for again at once.
func (u *unknown) forget(appID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.until, appID)
	if q := u.asking[appID]; q != nil {
		q.forgotten = true
	}
}

// looksLikeSecret is what an AppSecret looks like, which is shown to nobody.
var looksLikeSecret = regexp.MustCompile(`^(?i:[0-9a-f]{32})$`)

// canBeAppID reports whether something may be an appid: nothing else is asked for,
// or becomes part of a key in the store.
func canBeAppID(appID string) bool {
	if appID == "" || len(appID) > maxAppID || appID[0] == '.' || strings.HasPrefix(appID, "gh_") || looksLikeSecret.MatchString(appID) {
		return false
	}
	for _, c := range []byte(appID) {
		if !isAppIDCharacter(c) {
			return false
		}
	}
	return true
}

func isAppIDCharacter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}
