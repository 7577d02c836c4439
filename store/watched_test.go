package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// scripted is a store whose calls fail as a test says.
type scripted struct{ load, save, lock error }

func (s *scripted) Load(context.Context, string) ([]byte, error) { return nil, s.load }
func (s *scripted) Save(context.Context, string, []byte) error   { return s.save }
func (s *scripted) Lock(context.Context, string) (func(), error) { return func() {}, s.lock }
func (s *scripted) call(w *Watched, ctx context.Context) {
	_, _ = w.Load(ctx, "k")
	_ = w.Save(ctx, "k", nil)
	_, _ = w.Lock(ctx, "l")
}

func TestWatched(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	s := new(scripted)
	w := Watch(s, zap.New(core))
	ctx := context.Background()
	denied := &RefusalError{Advice: Advice{Code: "denied", English: "allow it"}, Err: errors.New("NOPERM")}
	if state := w.State(); !state.Up || !state.Since.IsZero() {
		t.Errorf("before the first call: %+v", state)
	}
	for _, c := range []struct {
		name                 string
		load, save, lock     error
		up                   bool
		code                 string
		failures, recoveries int // that are logged, up to here
	}{
		{"a key that is missing", fs.ErrNotExist, nil, nil, true, "", 0, 0},
		{"reading is allowed, writing is not", nil, denied, denied, false, "denied", 1, 0},
		{"as before", fs.ErrNotExist, denied, denied, false, "denied", 1, 0},
		{"the lock alone", nil, nil, denied, false, "denied", 2, 1}, // when it is tried
		{"given up by the caller", context.Canceled, context.Canceled, context.Canceled, false, "denied", 2, 1},
		{"all is well", nil, nil, nil, true, "", 2, 2},
		{"reading alone", errors.New("broken"), nil, nil, false, "", 3, 2},
		{"another cause", fmt.Errorf("wrapped: %w", denied), nil, nil, false, "denied", 4, 2},
		{"all is well again", nil, nil, nil, true, "", 4, 3},
	} {
		before := w.State()
		s.load, s.save, s.lock = c.load, c.save, c.lock
		s.call(w, ctx)
		state := w.State()
		if state.Up != c.up || state.Advice.Code != c.code || (state.Err == nil) != c.up {
			t.Errorf("%s: got %+v", c.name, state)
		}
		if before.Up != state.Up && before.Since.Equal(state.Since) || state.Since.IsZero() {
			t.Errorf("%s: since %v, and before %v", c.name, state.Since, before.Since)
		}
		failures := logs.FilterMessage("the store fails; tokens are kept in memory alone until it is back").Len()
		recoveries := logs.FilterMessage("the store is back").Len()
		if failures != c.failures || recoveries != c.recoveries {
			t.Errorf("%s: %d failures and %d recoveries are logged", c.name, failures, recoveries)
		}
	}
}

// That somebody else holds a lock is no failure.
func TestWatchedLockThatIsHeld(t *testing.T) {
	w := Watch(&scripted{lock: context.DeadlineExceeded}, zap.NewNop())
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := w.Lock(ctx, "l"); err == nil || !w.State().Up {
		t.Errorf("got %v, %+v", err, w.State())
	}
}

// What kept values from being saved kept locks from being taken, and locks are
// not taken often. A lock that fails by itself goes on failing.
func TestWatchedLockRecoversWithSave(t *testing.T) {
	denied := errors.New("denied")
	s := &scripted{save: denied, lock: denied}
	w := Watch(s, zap.NewNop())
	s.call(w, context.Background())
	s.save = nil
	if _ = w.Save(context.Background(), "k", nil); !w.State().Up {
		t.Errorf("got %+v", w.State())
	}
	if _, _ = w.Lock(context.Background(), "l"); w.State().Up {
		t.Error("the lock fails, and the store is up")
	}
	if _ = w.Save(context.Background(), "k", nil); w.State().Up {
		t.Error("the lock fails, and the store is up")
	}
}

// repliedError is one that a server has answered.
type repliedError string

func (r repliedError) Error() string { return string(r) }
func (repliedError) RedisError()     {}

// A lock that was not taken while the store was away for a moment is no trouble for
// the hours until the next one: a save that works shows that it is back.
func TestWatchedLockFailedInOutage(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		err  error
		over bool
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{io.EOF, true},
		{context.DeadlineExceeded, true},
		{repliedError("READONLY You can't write against a read only replica."), true},
		{repliedError("LOADING Redis is loading the dataset in memory"), true},
		{repliedError("MASTERDOWN Link with MASTER is down"), true},
		{repliedError("CLUSTERDOWN The cluster is down"), true},
		{repliedError("NOPERM this user has no permissions to run the 'eval' command"), false},
		{repliedError("ERR unknown command 'EVAL'"), false},
		{errors.New("nobody knows"), false},
	} {
		s := new(scripted)
		w := Watch(s, zap.NewNop())
		s.call(w, ctx)
		s.lock = explainedRedis(c.err, nil, "")
		for range 2 { // of two accounts
			_, _ = w.Lock(ctx, "l")
		}
		if _, _ = w.Load(ctx, "k"); w.State().Up {
			t.Errorf("%v: a lock fails, and the store is up", c.err)
		}
		if _ = w.Save(ctx, "k", nil); w.State().Up != c.over {
			t.Errorf("%v: after a save: %+v", c.err, w.State())
		}
		s.lock = nil
		if _, _ = w.Lock(ctx, "l"); !w.State().Up {
			t.Errorf("%v: after a lock: %+v", c.err, w.State())
		}
	}
}

// late is a store that answers when its caller has given up: it explains a call
// that took too long, or has done it all the same.
type late struct {
	explained error
	result    error
}

func (l *late) wait(ctx context.Context) error {
	<-ctx.Done()
	time.Sleep(time.Second)
	return l.result
}

func (l *late) Load(ctx context.Context, _ string) ([]byte, error) {
	return nil, cmp.Or(l.wait(ctx), fs.ErrNotExist)
}
func (l *late) Save(ctx context.Context, _ string, _ []byte) error { return l.wait(ctx) }
func (l *late) Lock(ctx context.Context, _ string) (func(), error) { return nil, l.wait(ctx) }
func (l *late) Explained(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return l.explained
	}
	return err
}

// A call that takes too long is told of before it returns, as the store itself
// tells of it, and is not undone by what it returns then.
func TestWatchedTimeoutIsExplained(t *testing.T) {
	unreachable := &RefusalError{Advice: Advice{Code: "unreachable", English: "start it"}, Err: context.DeadlineExceeded}
	for name, result := range map[string]error{"fails": unreachable, "is done": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				w := Watch(&late{unreachable, result}, zap.New(core))
				for range 3 {
					for _, call := range []func(context.Context){
						func(ctx context.Context) { _, _ = w.Load(ctx, "k") },
						func(ctx context.Context) { _ = w.Save(ctx, "k", nil) },
						func(ctx context.Context) { _, _ = w.Lock(ctx, "l") },
					} {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						go call(ctx)
						<-ctx.Done()
						synctest.Wait()
						wantState(t, w, "unreachable")
						time.Sleep(2 * time.Second)
						wantState(t, w, "unreachable")
						cancel()
					}
				}
				if logs.Len() != 1 {
					t.Errorf("%d lines are logged: %v", logs.Len(), logs.All())
				}
			})
		})
	}
}

func wantState(t *testing.T, w *Watched, code string) {
	t.Helper()
	if s := w.State(); s.Up || s.Advice.Code != code {
		t.Errorf("the state is %+v, want one that is %s", s, code)
	}
}

// However causes alternate, each is logged once until the store is back.
func TestWatchedCausesAlternate(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	s := new(scripted)
	w := Watch(s, zap.New(core))
	refusal := func(code string) error {
		return &RefusalError{Advice: Advice{Code: code}, Err: errors.New(code)}
	}
	readOnly, denied, unknown := refusal("read_only"), refusal("denied"), errors.New("broken")
	for outage := range 2 {
		for range 3 {
			for _, c := range []scripted{
				{load: denied, save: readOnly, lock: readOnly},
				{save: readOnly},
				{load: unknown, save: unknown},
				{load: readOnly, save: denied},
				{lock: unknown, save: denied},
			} {
				*s = c
				s.call(w, t.Context())
			}
		}
		*s = scripted{}
		s.call(w, t.Context())
		for _, cause := range []error{denied, readOnly, unknown} {
			said := logs.Filter(func(e observer.LoggedEntry) bool { return e.ContextMap()["error"] == cause.Error() }).Len()
			if said != outage+1 {
				t.Errorf("outage %d: %v is logged %d times in all", outage, cause, said)
			}
		}
		if n := logs.FilterMessage("the store is back").Len(); n != outage+1 {
			t.Errorf("outage %d: that it is back is logged %d times in all", outage, n)
		}
	}
}

// Redis explains a timeout that it has not returned as one that it has.
func TestRedisExplainsTimeouts(t *testing.T) {
	var s Store = new(Redis)
	if advice, ok := Explain(s.(Explainer).Explained(context.DeadlineExceeded)); !ok || advice.Code != "unreachable" {
		t.Errorf("got %+v", advice)
	}
	if err := s.(Explainer).Explained(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	for code, err := range map[string]error{
		"denied":    &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES},
		"read_only": &fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS},
		"full":      fmt.Errorf("saving: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}),
	} {
		wantCode(t, fmt.Errorf("%w", err), code)
	}
	for _, err := range []error{nil, fs.ErrNotExist, errors.New("other"), context.Canceled} {
		if advice, ok := Explain(err); ok || advice != (Advice{}) {
			t.Errorf("%v: got %+v", err, advice)
		}
	}
}
