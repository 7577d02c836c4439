package store

import (
	"context"
	"errors"
	"io/fs"
	"slices"
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

// Explainer is a store that knows what to do about errors that it has not returned.
type Explainer interface {
	// Explained returns an error as the store itself would: a *RefusalError where
	// the cure is known.
	Explained(err error) error
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

	mu     sync.Mutex
	errs   [callKinds]error // of the last call of each kind
	state  State
	logged []string // the codes of the causes, while the store is not up
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
	returned := w.noteTimeout(ctx, callLoad)
	value, err := w.store.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		returned(nil)
	} else {
		returned(err)
	}
	return value, err
}

// Save implements Store.
func (w *Watched) Save(ctx context.Context, key string, value []byte) error {
	returned := w.noteTimeout(ctx, callSave)
	err := w.store.Save(ctx, key, value)
	returned(err)
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
// if it never returns. What it returns is called with how the call has ended. One
// that ends too late has failed, whatever it has done.
func (w *Watched) noteTimeout(ctx context.Context, kind callKind) (returned func(error)) {
	inTime := context.AfterFunc(ctx, func() { w.note(kind, w.explained(ctx.Err())) })
	return func(err error) {
		if inTime() || err != nil {
			w.note(kind, err)
		}
	}
}

// explained returns an error as the store itself would, so that one cause has one
// advice whoever has met it.
func (w *Watched) explained(err error) error {
	if store, ok := w.store.(Explainer); ok {
		return store.Explained(err)
	}
	return err
}

// note remembers how a call has ended. One that its caller has given up tells
// nothing.
func (w *Watched) note(kind callKind, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == callSave && err == nil && (w.errs[callSave] != nil || !isOfLocksAlone(w.errs[callLock])) {
		// Locks are taken once in a while. What kept a value from being saved kept
		// them from being taken, and is over.
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
	w.logLocked(err)
}

// isOfLocksAlone reports whether a lock may fail for what keeps no value from being
// saved: that the one is allowed, or there, says nothing of the other.
func isOfLocksAlone(err error) bool {
	advice, known := Explain(err)
	return !known || advice.Code == "denied" || advice.Code == "unsupported"
}

// logLocked logs what a call has changed: that the store fails, once for a cause
// until it is back, and that it is back. The mutex is locked.
func (w *Watched) logLocked(err error) {
	if w.state.Up {
		if len(w.logged) > 0 {
			w.logger.Info("the store is back")
		}
		w.logged = nil
		return
	}
	if err == nil {
		return
	}
	advice, _ := Explain(err)
	if !slices.Contains(w.logged, advice.Code) {
		w.logged = append(w.logged, advice.Code)
		w.logger.Error("the store fails; tokens are kept in memory alone until it is back", zap.Error(err))
	}
}

// Interface guard
var _ Store = (*Watched)(nil)
