package store

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"
)

// State is whether a store works, and why not.
type State struct {
	// Up reports whether the last call of every kind has worked.
	Up bool

	// Since is when that began; zero before the first call.
	Since time.Time

	// Err is why the store is not up, and Advice what to do about it. It is the
	// zero Advice where nobody knows.
	Err    error
	Advice Advice
}

// Watched is a store whose state can be asked for. It logs when the store begins
// to fail, and when it is back.
//
// A store may be read and not be written, or the other way round, for as long as
// nobody does something about it. So each kind of call has its own last error,
// and the store is up when there is none.
type Watched struct {
	store  Store
	logger *zap.Logger

	mu    sync.Mutex
	errs  [callKinds]error // of the last call of each kind
	state State
}

// callKind is a kind of call that can be allowed while another is not.
type callKind uint8

const (
	callLoad callKind = iota
	callSave
	callLock
	callKinds
)

// Watch returns a store whose state can be asked for.
func Watch(st Store, logger *zap.Logger) *Watched {
	return &Watched{store: st, logger: logger, state: State{Up: true}}
}

// State returns the store's state. It asks nobody.
func (w *Watched) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Load implements Store.
func (w *Watched) Load(ctx context.Context, key string) ([]byte, error) {
	defer w.noteTimeout(ctx, callLoad)()
	value, err := w.store.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		w.note(callLoad, nil)
	} else {
		w.note(callLoad, err)
	}
	return value, err
}

// Save implements Store.
func (w *Watched) Save(ctx context.Context, key string, value []byte) error {
	defer w.noteTimeout(ctx, callSave)()
	err := w.store.Save(ctx, key, value)
	w.note(callSave, err)
	return err
}

// Lock implements Store. That another process holds the lock for as long as the
// caller waits is no failure of the store's.
func (w *Watched) Lock(ctx context.Context, name string) (func(), error) {
	unlock, err := w.store.Lock(ctx, name)
	if ctx.Err() == nil || err == nil {
		w.note(callLock, err)
	}
	return unlock, err
}

// noteTimeout has a call that takes longer than it may be noted as failed, even
// if it never returns. What it returns is called when it has.
func (w *Watched) noteTimeout(ctx context.Context, kind callKind) (returned func() bool) {
	return context.AfterFunc(ctx, func() { w.note(kind, ctx.Err()) })
}

// note remembers how a call has ended. One that its caller has given up tells
// nothing.
func (w *Watched) note(kind callKind, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == callSave && err == nil && w.errs[callSave] != nil {
		// Locks are taken once in a while. What kept a value from being saved kept
		// them from being taken.
		w.errs[callLock] = nil
	}
	w.errs[kind] = err
	before := w.state
	w.state = State{Up: true, Since: before.Since}
	for _, err := range w.errs {
		if err != nil {
			w.state.Up, w.state.Err = false, err
			w.state.Advice, _ = Explain(err)
			break
		}
	}
	if before.Up != w.state.Up || before.Since.IsZero() {
		w.state.Since = time.Now().Round(0)
	}
	w.logLocked(before)
}

// logLocked logs a change: that the store fails, once for a cause, and that it
// is back. The mutex is locked.
func (w *Watched) logLocked(before State) {
	switch {
	case !w.state.Up && (before.Up || before.Advice.Code != w.state.Advice.Code):
		w.logger.Error("the store fails; tokens are kept in memory alone until it is back", zap.Error(w.state.Err))
	case w.state.Up && !before.Up:
		w.logger.Info("the store is back")
	}
}

// Interface guard
var _ Store = (*Watched)(nil)
