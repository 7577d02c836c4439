package weixin

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
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
	store  *store.Watched
	logger *zap.Logger
	failed atomic.Bool // in the last call
}

// storeKey is where an account's record is. Tokens of different methods are
// different tokens, with quotas of their own. The key stays the same when the
// secret changes: the old record does not open then.
func (a *Account) storeKey() string {
	return "weixin/tokens/" + a.storeName()
}

func (a *Account) storeName() string {
	return url.PathEscape(a.Credentials.AppID) + "-" + a.Source.Method()
}

// lockName names the lock for the next fetch. A name per attempt: some stores
// keep a lock alive for a while after it was given back, and would keep alive
// the lock of a process that takes it next and dies. The state is locked.
func (a *Account) lockName() string {
	r := &a.state.record
	return "weixin-" + a.storeName() +
		"-" + strconv.FormatInt(r.Generation, 36) + "-" + strconv.FormatInt(r.Attempt.Number, 36)
}

// pull merges what the store knows into the account's state, and says whether
// the store has answered.
func (m *TokenManager) pull(ctx context.Context, a *Account) bool {
	loaded, err := m.store.load(ctx, a)
	m.store.report(err)
	if err != nil {
		return false
	}
	s := a.state
	s.mu.Lock()
	defer s.mu.Unlock()
	hadToken := s.token
	m.install(a, merge(s.record, loaded))
	if s.token != hadToken {
		m.logger.Info("token taken from the store", zap.String("account", a.Name),
			zap.Stringer("token", s.token), zap.Time("expires_at", s.token.expiresAt))
	}
	if !s.record.equal(&loaded) {
		s.saving.later(m, a)
	}
	return true
}

// push saves a record, together with what the store knows that it does not, and
// returns both. One that the store does not take is offered again; nobody waits
// for a store that was failing a moment ago.
func (m *TokenManager) push(a *Account, r record) record {
	failing := m.store.failed.Load()
	if !failing {
		// A token that WeChat has issued is saved, whatever becomes of the flight.
		var err error
		r, err = m.store.add(context.Background(), a, r)
		m.store.report(err)
		failing = err != nil
	}
	if failing {
		a.state.mu.Lock()
		a.state.saving.later(m, a)
		a.state.mu.Unlock()
	}
	return r
}

// saving is the state of a record that the store does not have yet.
type saving struct {
	manager *TokenManager // in whose name; nil while there is nothing to save
	timer   *time.Timer
	delay   time.Duration
}

// later has the account's record saved in a while. The state is locked.
func (s *saving) later(m *TokenManager, a *Account) {
	if s.manager != nil {
		return
	}
	s.delay = min(max(2*s.delay, saveRetryMin), saveRetryMax)
	s.manager = m
	s.timer = time.AfterFunc(s.delay, func() { m.save(context.Background(), a) })
}

// handOver has another configuration do what is left to do. The state is locked.
func (s *saving) handOver(to *keeper) {
	if s.manager != to.manager && s.stop() {
		s.later(to.manager, to.account)
	}
}

// stop says whether something was left to do, and forgets it. The state is
// locked.
func (s *saving) stop() bool {
	if s.manager == nil {
		return false
	}
	s.timer.Stop()
	s.manager = nil
	return true
}

// save offers the account's record to the store again.
func (m *TokenManager) save(ctx context.Context, a *Account) {
	s := a.state
	s.mu.Lock()
	r := s.record
	s.mu.Unlock()
	r, err := m.store.add(ctx, a, r)
	m.store.report(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.install(a, merge(s.record, r))
	if s.saving.manager != m {
		return // it was handed over meanwhile
	}
	s.saving.manager = nil
	if err == nil {
		s.saving.delay = 0
	} else if k := s.keeper(); k != nil {
		s.saving.later(k.manager, k.account)
	}
}

// lock waits for the account's lock in the store, until the flight is settled,
// or for as long as the holder can be alive. It returns how to give the lock
// back, which may be nothing: a store that fails must not stop anybody.
func (m *TokenManager) lock(ctx context.Context, a *Account, settled func() bool) (unlock func()) {
	a.state.mu.Lock()
	name := a.lockName()
	a.state.mu.Unlock()
	patience := lockPatience
	if a.policy.Idempotent {
		patience = lockPatienceIdempotent
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	type taken struct {
		unlock func()
		err    error
	}
	locked := make(chan taken, 1)
	go func() {
		unlock, err := m.store.store.Lock(ctx, name)
		locked <- taken{unlock, err}
	}()
	giveUp := func() {
		cancel()
		// The lock may be granted all the same.
		go func() {
			if l := <-locked; l.err == nil {
				l.unlock()
			}
		}()
	}
	poll := time.NewTicker(storePollInterval)
	defer poll.Stop()
	for {
		select {
		case l := <-locked:
			if l.err == nil {
				return func() { l.unlock(); cancel() }
			}
			cancel()
			if _, ok := store.Explain(l.err); !ok { // otherwise it is logged already
				m.logger.Warn("going on without the store's lock", zap.String("account", a.Name), zap.Error(l.err))
			}
			return func() {}
		case <-ctx.Done():
			giveUp()
			m.logger.Warn("going on without the store's lock", zap.String("account", a.Name), zap.Error(ctx.Err()))
			return func() {}
		case <-poll.C:
			m.pull(ctx, a)
			if settled() {
				giveUp()
				return func() {}
			}
		}
	}
}

func (s *sharedStore) load(ctx context.Context, a *Account) (record, error) {
	sealed, err := bounded(ctx, func(ctx context.Context) ([]byte, error) {
		return s.store.Load(ctx, a.storeKey())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	plain, err := unseal(a.Credentials, sealed)
	if err == nil {
		var r record
		if r, err = unmarshalRecord(plain); err == nil {
			return r, nil
		}
	}
	s.logger.Info("the stored token is not used", zap.String("account", a.Name), zap.Error(err))
	return record{}, nil
}

// add saves what a record adds to the one in the store, and returns both
// together, as far as the store has told.
func (s *sharedStore) add(ctx context.Context, a *Account, r record) (record, error) {
	loaded, err := s.load(ctx, a)
	if err != nil {
		return r, err
	}
	r = merge(loaded, r)
	if r.equal(&loaded) {
		return r, nil
	}
	return r, s.save(ctx, a, r)
}

func (s *sharedStore) save(ctx context.Context, a *Account, r record) error {
	plain, err := r.marshal()
	if err != nil {
		return err
	}
	sealed, err := seal(a.Credentials, plain)
	if err != nil {
		return err
	}
	_, err = bounded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.Save(ctx, a.storeKey(), sealed)
	})
	return err
}

// report remembers whether the store has failed a moment ago. It is logged by
// store.Watched.
func (s *sharedStore) report(err error) {
	s.failed.Store(err != nil)
}

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
