package credential

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/store"
)

const (
	// storeTimeout bounds reading and writing the store.
	storeTimeout = 2 * time.Second

	// storePollInterval is how often the store is looked into while another
	// process holds the lock.
	storePollInterval = 25 * time.Millisecond

	// lockPatience is how long to wait for another process that holds the lock:
	// as long as its fetch can take. Where fetching twice does no harm, less.
	lockPatience           = fetchTimeout
	lockPatienceIdempotent = 5 * time.Second

	// A record that the store did not take is offered again after these waits.
	saveRetryMin = time.Second
	saveRetryMax = 30 * time.Second
)

// sharedStore is the store as the manager uses it. No call takes longer than it
// may, even where the store does not heed its context.
type sharedStore struct {
	store  store.Store
	logger *zap.Logger
	failed atomic.Bool // in the last call
}

// storeKey is where the credential's record is. The key stays the same when the
// secret changes: the old record does not open then.
func (id *ID) storeKey() string { return "weixin/tokens/" + id.storeName() }

func (id *ID) storeName() string { return id.Identity + "-" + id.Place() }

// lockName names the lock for the next fetch. A name per attempt: some stores
// keep a lock alive for a while after it was given back, and would keep alive
// the lock of a process that takes it next and dies.
func (r *Runner) lockNameLocked(id *ID) string {
	return "weixin-" + id.storeName() +
		"-" + strconv.FormatInt(r.record.Generation, 36) + "-" + strconv.FormatInt(r.record.Attempt.Number, 36)
}

// Look has the runners of credentials hear what other processes have stored, if
// that was not long ago, as far as ctx allows.
func (m *Manager) Look(ctx context.Context, c *Credential, age time.Duration) {
	_ = m.Hear(ctx, c, age)
}

// Hear is Look for who has to know whether the store has answered.
func (m *Manager) Hear(ctx context.Context, c *Credential, age time.Duration) error {
	r := c.runner
	r.mu.Lock()
	recent := m.now().Before(r.lookedAt.time().Add(age))
	r.mu.Unlock()
	if recent {
		return nil
	}
	return m.pull(ctx, c)
}

// pull merges what the store knows into what the runner knows.
func (m *Manager) pull(ctx context.Context, c *Credential) error {
	loaded, err := m.store.load(ctx, c)
	m.store.report(err)
	if err != nil {
		return err
	}
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.lookedAt = c, momentOf(m.now())
	before := r.value.Load()
	r.installLocked(c.Policy, merge(r.record, loaded), m.now())
	if v := r.value.Load(); v != nil && (before == nil || v.generation != before.generation) {
		m.logger.Log(c.Policy.levelOfCourse(), "token taken from the store", zap.String("account", c.Name),
			zap.Stringer("token", v), zap.Time("expires_at", v.expiresAt))
	}
	if !r.record.equal(&loaded) {
		r.saveSoonLocked()
	}
	return nil
}

// push saves a record, together with what the store knows that it does not, and
// returns both. Where that is good enough, one that the store does not take is
// offered again, and nobody waits for a store that was failing a moment ago.
func (m *Manager) push(c *Credential, next record) (record, error) {
	failing := m.store.failed.Load()
	if !failing || c.Durability == BeforeUse {
		// What a source has issued is saved, whatever becomes of the fetch.
		saved, err := m.add(context.Background(), c, next)
		m.store.report(err)
		if err == nil {
			return saved, nil
		}
		if c.Durability == BeforeUse {
			return record{}, err
		}
		next = saved
	}
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	c.runner.user = c
	c.runner.saveSoonLocked()
	return next, nil
}

// add saves what a record adds to the one in the store.
func (m *Manager) add(ctx context.Context, c *Credential, next record) (record, error) {
	c.runner.adding.Lock()
	defer c.runner.adding.Unlock()
	return m.store.add(ctx, c, next)
}

// saving is the state of a record that the store does not have yet.
type saving struct {
	by    *Credential // in whose name; nil while there is nothing to save
	timer *time.Timer
	delay time.Duration
}

// saveSoonLocked has the record saved in a while, in the name of who used it
// last.
func (r *Runner) saveSoonLocked() {
	if r.user != nil {
		r.saving.later(r.user)
	}
}

// later has a credential's record saved in a while. The runner is locked.
func (s *saving) later(c *Credential) {
	if s.by != nil {
		return
	}
	s.delay = min(max(2*s.delay, saveRetryMin), saveRetryMax)
	s.by = c
	s.timer = time.AfterFunc(s.delay, func() { c.manager.save(context.Background(), c) })
}

// handOver has another configuration do what is left to do. The runner is locked.
func (s *saving) handOver(to *Credential) {
	if s.by != to && s.stop() {
		s.later(to)
	}
}

// stop reports whether something was left to do, and forgets it. The runner is
// locked.
func (s *saving) stop() bool {
	if s.by == nil {
		return false
	}
	s.timer.Stop()
	s.by = nil
	return true
}

// save offers the credential's record to the store again.
func (m *Manager) save(ctx context.Context, c *Credential) {
	r := c.runner
	r.mu.Lock()
	next := r.record
	r.mu.Unlock()
	next, err := m.add(ctx, c, next)
	m.store.report(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.installLocked(c.Policy, merge(r.record, next), m.now())
	if r.saving.by != c {
		return // it was handed over meanwhile
	}
	r.saving.by = nil
	if err == nil {
		r.saving.delay = 0
	} else if h := r.holderLocked(); h != nil {
		r.saving.later(h.credential)
	}
}

// lock waits for the credential's lock in the store, until the task is settled,
// or for as long as the holder can be alive. It returns how to give the lock
// back, which may be nothing: a store that fails must not stop anybody.
func (m *Manager) lock(ctx context.Context, c *Credential, settled func() bool) (unlock func()) {
	c.runner.mu.Lock()
	name := c.runner.lockNameLocked(&c.ID)
	c.runner.mu.Unlock()
	patience := lockPatience
	if c.Policy.Idempotent {
		patience = lockPatienceIdempotent
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	locked, giveUp := m.store.takeLock(patient, cancel, name)
	poll := time.NewTicker(storePollInterval)
	defer poll.Stop()
	for {
		select {
		case l := <-locked:
			if l.err == nil {
				return func() { l.unlock(); cancel() }
			}
			cancel()
			if _, ok := store.Explain(l.err); !ok { // or else it is logged already
				m.logger.Warn("going on without the store's lock", zap.String("account", c.Name), zap.Error(l.err))
			}
			return func() {}
		case <-patient.Done():
			giveUp()
			m.logger.Warn("going on without the store's lock", zap.String("account", c.Name), zap.Error(patient.Err()))
			return func() {}
		case <-poll.C:
			// The end of the patience is none of the store's failures.
			_ = m.pull(ctx, c)
			if settled() {
				giveUp()
				return func() {}
			}
		}
	}
}

// takenLock is what came of waiting for a lock.
type takenLock struct {
	unlock func()
	err    error
}

// takeLock waits for a lock in the background. giveUp ends the wait, and gives
// back a lock that is granted all the same.
func (s *sharedStore) takeLock(ctx context.Context, cancel func(), name string) (locked <-chan takenLock, giveUp func()) {
	taken := make(chan takenLock, 1)
	go func() {
		unlock, err := s.store.Lock(ctx, name)
		taken <- takenLock{unlock, err}
	}()
	return taken, func() {
		cancel()
		go func() {
			if l := <-taken; l.err == nil {
				l.unlock()
			}
		}()
	}
}

// load returns what the store has, which is nothing where it was sealed for
// somebody else.
func (s *sharedStore) load(ctx context.Context, c *Credential) (record, error) {
	sealed, err := s.read(ctx, c.ID.storeKey())
	if err == nil && sealed == nil && c.Former != nil && !c.runner.moved.Load() {
		return s.move(ctx, c)
	}
	if err != nil || sealed == nil {
		return record{}, err
	}
	r, err := openRecord(sealerOf(&c.ID), sealed)
	if err != nil {
		s.logger.Info("the stored token is not used", zap.String("account", c.Name), zap.Error(err))
	}
	return r, nil
}

// openRecord returns a sealed record, or nothing where it does not open.
func openRecord(s *sealer, sealed []byte) (record, error) {
	plain, err := s.unseal(sealed)
	if err != nil {
		return record{}, err
	}
	return unmarshalRecord(plain)
}

// read returns the stored value, nil where there is none.
func (s *sharedStore) read(ctx context.Context, key string) ([]byte, error) {
	sealed, err := bounded(ctx, func(ctx context.Context) ([]byte, error) { return s.store.Load(ctx, key) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && sealed == nil {
		sealed = []byte{}
	}
	return sealed, err
}

// add saves what a record adds to the one in the store, and returns both
// together, as far as the store has told.
func (s *sharedStore) add(ctx context.Context, c *Credential, r record) (record, error) {
	loaded, err := s.load(ctx, c)
	if err != nil {
		return r, err
	}
	r = merge(loaded, r)
	if r.equal(&loaded) && !s.isDown() {
		return r, nil
	}
	return r, s.save(ctx, c, r)
}

// isDown reports whether a call of this process has failed, and none of its kind has
// worked since. Another process may have saved the same meanwhile, but only a call of
// its own shows a process that the store is back.
func (s *sharedStore) isDown() bool {
	watched, ok := s.store.(*store.Watched)
	return ok && !watched.State().Up
}

func (s *sharedStore) save(ctx context.Context, c *Credential, r record) error {
	plain, err := r.marshal()
	if err != nil {
		return err
	}
	sealed, err := sealerOf(&c.ID).seal(plain)
	if err != nil {
		return err
	}
	return s.write(ctx, c.ID.storeKey(), sealed)
}

func (s *sharedStore) write(ctx context.Context, key string, value []byte) error {
	_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.Save(ctx, key, value)
	})
	return err
}

// report notes whether the store has failed a moment ago. store.Watched logs it.
func (s *sharedStore) report(err error) { s.failed.Store(err != nil) }

// bounded calls f and returns after storeTimeout at the latest.
func bounded[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := f(ctx)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}
