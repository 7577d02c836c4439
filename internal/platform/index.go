package platform

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/store"
)

const (
	// A page of more than pageMax appids is split into some of pageFill at most; one
	// of less than pageMin joins a neighbour. So a million appids are some 1,400
	// pages of 15 KB, and a root of 40 KB: with a level more, a change would be one
	// more round trip, for less bytes.
	pageMax  = 1024
	pageFill = 768
	pageMin  = 256

	// maxPending bounds what waits to be put into the index. What does not find room
	// is put there when it is next used.
	maxPending = 8 << 10

	// changePatience is how long who changes the index waits for that, which goes on
	// all the same.
	changePatience = 2 * time.Second

	// noteDelay is how long to collect what nobody waits for, as one change of many
	// appids costs little more than one of one.
	noteDelay = time.Second

	// What could not be put into the index is tried again after these waits.
	indexRetryMin = time.Second
	indexRetryMax = time.Minute

	// A page that was not saved for renewAfterDays is saved again, as some stores
	// forget what nobody has saved for a month: renewAtOnce of them every renewEvery.
	renewAfterDays = 7
	renewAtOnce    = 64
	renewEvery     = time.Hour
)

// index is all appids that have authorised a platform, in order, in the store that
// the platform's processes share. It is made of pages, which a root knows, for
// stores that can do no more than load, save and lock.
//
// It serves to list and to count, and nothing else: what is not in it works all
// the same, and is put there when it is next used. So nobody waits for it who does
// not want to, and it fails no request. It is sealed, as a store's other users
// must not have appids made up.
//
// A change is begun with pages that mean nothing yet, and done with the root. The
// store's lock keeps processes apart; where it cannot be had, nothing is changed.
type index struct {
	store  *credential.SealedStore
	id     credential.ID // of the root
	place  string        // tells the upstream, in keys
	logger *zap.Logger
	now    func() time.Time

	committing sync.Mutex // is held while the process changes the index

	mu      sync.Mutex
	known   *recently // what is in the index
	pending map[string]operation
	batch   *batch // of those that wait for what is pending
	running bool
	closed  bool
	failing bool
	journal map[string]operation // what was changed while a list is being read; or nil
	hurry   chan struct{}
	ended   chan struct{} // when closed, and nothing runs any more
	end     func()        // closes it
	timer   *time.Timer
}

// batch is what is put into the index together.
type batch struct {
	awaited bool
	done    chan struct{}
	err     error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// newIndex returns the index of a component's authorizers. It touches no store.
func newIndex(st store.Store, component credential.ID, logger *zap.Logger, now func() time.Time) *index {
	ended := make(chan struct{})
	return &index{
		store:  credential.NewSealedStore(st),
		id:     credential.ID{Identity: "authorizers-" + component.Identity, Upstream: component.Upstream, Secret: component.Secret},
		place:  component.Place(),
		logger: logger, now: now,
		known: newRecently(), pending: make(map[string]operation), batch: newBatch(),
		hurry: make(chan struct{}, 1), ended: ended,
		end: sync.OnceFunc(func() { close(ended) }),
	}
}

// note has an appid be in the index in a while. It is cheap for one that is there
// already, as far as this process knows, and waits for nothing.
func (x *index) note(appID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.known.has(appID) {
		x.enqueueLocked(appID, enter)
	}
}

// add puts an appid into the index, if it is not there. What fails is tried again
// later, in the background.
func (x *index) add(ctx context.Context, appID string) error { return x.change(ctx, appID, enter) }

// remove takes an appid out of the index. What fails is tried again later.
func (x *index) remove(ctx context.Context, appID string) error { return x.change(ctx, appID, leave) }

// errIndexBusy means that too much waits to be put into the index.
var errIndexBusy = errors.New("the index of authorizers has not been written for a while, and more does not wait for it")

func (x *index) change(ctx context.Context, appID string, op operation) error {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	x.mu.Lock()
	ok := x.enqueueLocked(appID, op)
	x.mu.Unlock()
	if !ok {
		return errIndexBusy
	}
	return x.settle(ctx)
}

// settle waits until what is pending is in the index.
func (x *index) settle(ctx context.Context) error {
	x.mu.Lock()
	if !x.running {
		x.mu.Unlock()
		return nil
	}
	b := x.batch
	b.awaited = true
	x.mu.Unlock()
	x.wake()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (x *index) wake() {
	select {
	case x.hurry <- struct{}{}:
	default:
	}
}

// enqueueLocked has something done in a while, and reports whether there was room.
func (x *index) enqueueLocked(appID string, op operation) bool {
	if x.journal != nil && op <= leave {
		x.journal[appID] = op
	}
	waiting, ok := x.pending[appID]
	if x.closed || !ok && len(x.pending) >= maxPending {
		return false
	}
	if ok && op > leave && waiting <= leave {
		return true // the page is looked into then
	}
	x.pending[appID] = op
	if !x.running {
		x.running = true
		go x.run()
	}
	return true
}

// run puts what is pending into the index until nothing is.
func (x *index) run() {
	delay, retry := noteDelay, time.Duration(0)
	for x.isPending() {
		x.pause(delay)
		changes, b := x.take()
		err := x.commit(context.Background(), changes)
		x.finish(changes, b, err)
		if err == nil {
			delay, retry = noteDelay, 0
			continue
		}
		retry = min(max(2*retry, indexRetryMin), indexRetryMax)
		delay = retry
	}
}

// isPending reports whether anything is pending. Where nothing is, the caller ends.
func (x *index) isPending() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.pending) > 0 {
		return true
	}
	close(x.batch.done)
	x.batch, x.running = newBatch(), false
	x.endLocked()
	return false
}

// pause waits, but no longer than somebody else does.
func (x *index) pause(delay time.Duration) {
	x.mu.Lock()
	now := x.closed || x.batch.awaited
	x.mu.Unlock()
	if now {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.hurry:
	}
}

// take returns what is pending.
func (x *index) take() ([]change, *batch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	changes := make([]change, 0, len(x.pending))
	for appID, op := range x.pending {
		changes = append(changes, change{appID, op})
	}
	sortChanges(changes)
	clear(x.pending)
	b := x.batch
	x.batch = newBatch()
	return changes, b
}

// finish tells what came of a batch. What has failed is pending again, but for
// what was said of it since.
func (x *index) finish(changes []change, b *batch, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range changes {
		_, said := x.pending[c.appID]
		if err == nil && c.op == enter && !said {
			x.known.add(c.appID)
			continue
		}
		x.known.remove(c.appID)
		if err != nil && !said && !x.closed && len(x.pending) < maxPending {
			x.pending[c.appID] = c.op
		}
	}
	if err != nil && !x.failing {
		x.logger.Warn("the index of authorizers is not written; this is tried again, and all authorizers work meanwhile", zap.Error(err))
	}
	x.failing = err != nil
	b.err = err
	close(b.done)
}

// endLocked tells that nothing runs any more, if it does not begin again.
func (x *index) endLocked() {
	if x.closed {
		x.end()
	}
}

// keep has the index last in stores that forget what nobody saves.
func (x *index) keep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.timer = time.AfterFunc(renewEvery, x.renew)
}

// renew has the pages saved again that were not for long.
func (x *index) renew() {
	root, err := x.loadRoot(context.Background())
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	x.timer.Reset(renewEvery)
	if err != nil {
		return
	}
	due, today := 0, dayOf(x.now())
	for _, p := range root.pages {
		if today-p.day > renewAfterDays && due < renewAtOnce {
			x.enqueueLocked(p.low, renew)
			due++
		}
	}
}

// close ends what the index does by itself. It waits until what is pending is in
// the store, if that works at once; the rest is put there when it is next used.
func (x *index) close(ctx context.Context) {
	x.mu.Lock()
	x.closed = true
	if x.timer != nil {
		x.timer.Stop()
	}
	if !x.running {
		x.endLocked()
	}
	x.mu.Unlock()
	x.wake()
	select {
	case <-x.ended:
	case <-ctx.Done():
	}
}

func dayOf(t time.Time) int { return int(t.Unix() / (24 * 60 * 60)) }
