package platform

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/store"
)

var errKilled = errors.New("the process was killed")

// life ends a process with one of its calls to the store or to WeChat. What it does
// afterwards has no effect.
type life struct {
	store  store.Store
	wechat http.RoundTripper

	mu     sync.Mutex
	left   int  // calls that it lives through
	after  bool // the last call takes effect, and only its answer is lost
	killed bool
	locks  []func() // that it holds
}

// do makes a call, if the process lives to make it, and reports whether it lives to
// hear the answer.
func (l *life) do(call func()) bool {
	l.mu.Lock()
	if l.killed {
		l.mu.Unlock()
		return false
	}
	l.left--
	dies := l.left < 0
	l.killed = dies
	l.mu.Unlock()
	if !dies || l.after {
		call()
	}
	if dies {
		// The store finds out in a while that nobody holds its locks any more.
		time.AfterFunc(5*time.Second, l.giveBack)
	}
	return !dies
}

func (l *life) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, unlock := range l.locks {
		unlock()
	}
}

func (l *life) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.killed
}

// Load implements store.Store.
func (l *life) Load(ctx context.Context, key string) (value []byte, err error) {
	if !l.do(func() { value, err = l.store.Load(ctx, key) }) {
		return nil, errKilled
	}
	return value, err
}

// Save implements store.Store.
func (l *life) Save(ctx context.Context, key string, value []byte) (err error) {
	if !l.do(func() { err = l.store.Save(ctx, key, value) }) {
		return errKilled
	}
	return err
}

// Lock implements store.Store.
func (l *life) Lock(ctx context.Context, name string) (func(), error) {
	var unlock func()
	var err error
	lives := l.do(func() {
		if unlock, err = l.store.Lock(ctx, name); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.locks = append(l.locks, unlock)
		}
	})
	if !lives {
		return nil, errKilled
	}
	if err != nil {
		return nil, err
	}
	return func() { l.do(unlock) }, nil
}

// RoundTrip implements http.RoundTripper.
func (l *life) RoundTrip(req *http.Request) (res *http.Response, err error) {
	if !l.do(func() { res, err = l.wechat.RoundTrip(req) }) {
		return nil, errKilled
	}
	return res, err
}

// Whenever a process is killed, the next one works with what there is in the store:
// without a new authorisation, and without reading the list.
func TestKilledAtAnyMoment(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n, ended := 0, false; !ended; n++ {
			synctest.Test(t, func(t *testing.T) { ended = !runKilled(t, n, after) })
			if t.Failed() {
				t.Fatalf("killed after %d calls; the last took effect: %t", n, after)
			}
			if ended && n < 40 {
				t.Fatalf("no more than %d calls", n)
			}
		}
	}
}

// runKilled kills a process after so many calls, and reports whether it came to that.
func runKilled(t *testing.T, calls int, after bool) (killed bool) {
	w, st := newFakeWeChat(), newMemoryStore()
	w.rotates = true
	w.lifetime = 30 * time.Minute // what has to pass of it is a quarter as long
	mortal := &life{store: st, wechat: w, left: calls, after: after}
	p := startProcess(t, mortal, mortal)
	w.change(func(w *fakeWeChat) { w.merchants[merchantID] = &merchant{withdrawn: true} })

	// step does what one process or the next has to do. What WeChat has pushed
	// without an answer comes again.
	step := func(isPushed bool, f func() error) {
		t.Helper()
		err := f()
		if !killed && mortal.isOver() {
			killed = true
			// Whatever the first one still tries to do fails.
			p = startProcess(t, w, st)
			if isPushed {
				err = f()
			} else {
				err = nil
			}
		}
		if err != nil {
			t.Errorf("%v", err)
		}
	}
	pushTicket := func() {
		ticket, at := w.ticket(), time.Now().Truncate(time.Second)
		step(true, func() error { return p.Ticket(t.Context(), ticket, at) })
	}
	use := func() { t.Helper(); step(true, func() error { return p.use(t, w, merchantID) }) }
	authorize := func() {
		saved, at := w.authorize(merchantID), time.Now().Truncate(time.Second)
		step(true, func() error { return p.Authorized(t.Context(), merchantID, at) })
		step(false, func() error { return p.Save(t.Context(), saved) })
		use()
	}

	pushTicket()
	authorize()
	for range 3 {
		time.Sleep(25 * time.Minute)
		pushTicket()
		use()
	}
	w.change(func(w *fakeWeChat) { w.component, w.merchants[merchantID].token = "", "" })
	use()
	w.withdraw(merchantID)
	at := time.Now().Truncate(time.Second)
	step(true, func() error { return p.Unauthorized(t.Context(), merchantID, at) })
	step(true, func() error {
		if err := p.use(t, w, merchantID); !errors.Is(err, ErrNotAuthorized) {
			return errors.Join(errors.New("it is used though it has withdrawn"), err)
		}
		return nil
	})
	time.Sleep(time.Minute)
	authorize()
	wantCalls(t, w, "api_get_authorizer_list", 0)
	wantCalls(t, w, "api_start_push_ticket", 0)

	// And all of that is in the store.
	last := startProcess(t, w, st)
	before := callsOf(w)
	last.mustUse(t, w, merchantID)
	for name, n := range callsOf(w) {
		if n != before[name] {
			t.Errorf("a restart costs a call of %s", name)
		}
	}
	return killed
}
