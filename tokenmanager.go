package weixin

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

const (
	// fetchTimeout bounds one request to a token endpoint.
	fetchTimeout = 10 * time.Second

	// flightTimeout bounds all that is done for one new token: reading the
	// store, waiting for the lock, fetching.
	flightTimeout = 30 * time.Second

	// confirmedPause is the wait before a request is replayed with a token that
	// WeChat has rejected and then handed out again.
	confirmedPause = 100 * time.Millisecond

	// insistPause is how often the endpoint is asked while it insists on a
	// rejected token.
	insistPause = 3 * time.Second

	// A token that was handed out again so often in a row, with no longer than
	// that in between, is replaced even if some requests get through with it.
	confirmationsMax   = 5
	confirmationsApart = time.Minute
)

// TokenManager keeps accounts supplied with a valid access_token.
//
// A token is looked for in the account's lease, in the in-process cache, in the
// account's state, in the store, and at WeChat's token endpoint, in that order.
// It is saved in the store before anybody uses it. At any time one goroutine of
// the process works on an account's token, and holds the account's lock in the
// store while it asks WeChat; everybody else waits for its result, or goes on
// with the token there is.
type TokenManager struct {
	cache    *tokenCache
	store    *sharedStore
	endpoint http.RoundTripper // to the token endpoints
	logger   *zap.Logger
	now      func() time.Time // without a monotonic reading, as times are shared
}

// newTokenManager returns a manager whose tokens are shared through st and come
// from the endpoints that rt reaches.
func newTokenManager(cache *tokenCache, st store.Store, rt http.RoundTripper, logger *zap.Logger) *TokenManager {
	return &TokenManager{
		cache:    cache,
		store:    &sharedStore{store: st, logger: logger},
		endpoint: rt,
		logger:   logger,
		now:      func() time.Time { return time.Now().Round(0) },
	}
}

// Account is a WeChat account as the token manager and the transport see it.
type Account struct {
	lease lease // first, as every request looks at it

	Name        string
	Credentials wechat.Credentials
	Source      wechat.Source
	Place       wechat.Place
	Upstream    *url.URL
	Resolver    *upstream.Resolver // of the upstream's name; nil for the system's

	key    uint64 // in the cache
	policy wechat.Policy

	watcher watcher

	virtualID  virtualID
	virtualKey []byte

	state *tokenState
}

// bind completes an account with what is known of its token.
func (a *Account) bind(state *tokenState) *Account {
	a.key = cacheKey(accountID(a.Credentials, a.Source, a.Upstream))
	a.policy = a.Source.Policy()
	a.state = state
	a.watcher = nobody{}
	state.mu.Lock()
	defer state.mu.Unlock()
	state.accounts = append(state.accounts, weak.Make(a))
	return a
}

// accountID identifies an account's token: what makes for another token makes
// for another ID.
func accountID(cred wechat.Credentials, source wechat.Source, upstream *url.URL) string {
	h := sha256.New()
	for _, s := range []string{cred.AppID, cred.AppSecret, source.Method(), upstream.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// cacheKey returns the beginning of an account's ID as a number, which costs the
// cache less than a text.
func cacheKey(id string) uint64 {
	var key [8]byte
	_, _ = hex.Decode(key[:], []byte(id)[:2*len(key)]) // it is hex
	return binary.BigEndian.Uint64(key[:])
}

// tokenState is what a process knows about an account's token. The old and the
// new configuration share it during a reload.
type tokenState struct {
	mu      sync.Mutex
	record  record
	token   *Token // the record's; nil if it has none
	flight  *flight
	keepers []*keeper // of the configurations that keep the token warm, the newest last

	// accounts are those that share the state, one for each configuration.
	accounts []weak.Pointer[Account]

	saving saving

	// unreachable is the last attempt if it did not reach the token endpoint,
	// which is this process's trouble and none of the others'.
	unreachable attempt

	// pausedUntil is when a rejected token may be replaced at the earliest.
	pausedUntil time.Time

	// For the status.
	fetches       int64
	replays       atomic.Int64
	fetchHistory  history
	replayHistory history
	lastError     *StatusError
	thiefWarnedAt time.Time

	// rejections bounds the fetches that rejected tokens cause, so that two
	// systems which fetch against each other do not use up the day's quota.
	rejections *rate.Limiter
}

// newTokenState returns the state of an account nothing is known about.
func newTokenState(policy wechat.Policy) *tokenState {
	// A quarter of the day's quota at once, seven tenths over the day.
	perSecond := rate.Limit(0.7 * float64(policy.FetchesPerDay) / (24 * time.Hour).Seconds())
	return &tokenState{rejections: rate.NewLimiter(perSecond, policy.FetchesPerDay/4)}
}

// Destruct does nothing: a state holds no more than memory.
func (*tokenState) Destruct() error { return nil }

// flight is one goroutine's work on an account's token.
type flight struct {
	done  chan struct{}
	token *Token
	err   error
}

// wait waits until the flight has ended, as long as ctx allows. The error is
// that of ctx.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Token returns the account's token. While it is leased that takes no lock and
// allocates nothing. Where there is none it waits for one, as long as ctx
// allows. The error is a *TokenError, or that of ctx.
func (m *TokenManager) Token(ctx context.Context, a *Account) (*Token, error) {
	now := m.now()
	if t := a.lease.take(now); t != nil {
		return t, nil
	}
	t, ok := m.cache.get(a)
	if !ok || !t.usable(now) {
		return m.await(ctx, a, nil)
	}
	a.state.mu.Lock()
	defer a.state.mu.Unlock()
	if a.state.token == t { // the cache may not have the newest
		m.use(a, now)
	}
	return t, nil
}

// Refresh returns a token to use in place of one that WeChat has rejected. It
// is compare-and-swap: where another token has taken the rejected one's place
// already, it returns that.
//
// The error is errStillRejected where the token is not replaced for now, a
// *TokenError where none could be had, or that of ctx.
func (m *TokenManager) Refresh(ctx context.Context, a *Account, rejected *Token) (*Token, error) {
	return m.await(ctx, a, rejected)
}

// leastLeft is the lifetime below which SDKs refuse a token.
const leastLeft = time.Minute

// TokenLasting returns a token that lives for that long at least, if WeChat
// gives one. Where every fetch kills the token before, half of its life is
// enough. It is for tokens that leave the proxy.
func (m *TokenManager) TokenLasting(ctx context.Context, a *Account, left time.Duration) (*Token, error) {
	t, err := m.Token(ctx, a)
	if err != nil {
		return nil, err
	}
	now := m.now()
	if !a.policy.Idempotent {
		left = min(left, t.expiresAt.Sub(t.fetchedAt)/2)
	}
	if t.expiresAt.Sub(now) >= left || now.Before(t.seenAt.Add(insistPause)) {
		return t, nil
	}
	s := a.state
	s.mu.Lock()
	f, failure := s.flight, a.grounded(now)
	if f == nil && failure == nil {
		f = m.launchEarly(a)
	}
	s.mu.Unlock()
	if failure != nil && t.expiresAt.Sub(now) < leastLeft {
		return nil, failure
	}
	if f != nil {
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
	return m.Token(ctx, a)
}

// await returns a usable token other than the rejected one, if one is given.
func (m *TokenManager) await(ctx context.Context, a *Account, rejected *Token) (*Token, error) {
	s := a.state
	// A flight that took off before the token was rejected may bring it back;
	// the next one knows.
	for range 3 {
		s.mu.Lock()
		now := m.now()
		if t := s.token; t != nil && t.usable(now) && t.supersedes(rejected) {
			if cached, ok := m.cache.get(a); !ok || cached != t {
				m.cache.set(a, t)
			}
			if rejected == nil {
				m.use(a, now)
			}
			s.mu.Unlock()
			return t, nil
		}
		f := s.flight
		if f == nil {
			err := a.grounded(now)
			if err != nil && rejected != nil {
				s.kill(rejected)
			}
			if err == nil && now.Before(s.pausedUntil) {
				err = errStillRejected
			}
			if err != nil {
				s.mu.Unlock()
				return nil, err
			}
			f = m.launch(a, rejected)
		}
		s.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
		if f.err != nil {
			return nil, f.err
		}
		if f.token.supersedes(rejected) && f.token.usable(m.now()) {
			return f.token, nil
		}
	}
	return nil, errStillRejected
}

// use has the account use its state's token, and starts the renewal of one that
// is due, which stays in use meanwhile. The state is locked.
func (m *TokenManager) use(a *Account, now time.Time) {
	s := a.state
	if now.UnixNano() >= s.token.renewAt {
		s.token.renewAt = math.MaxInt64
		if s.flight == nil {
			m.launch(a, nil)
		}
	}
	a.grantLease()
}

// grounded returns an error while the token endpoint must not be asked because
// of an earlier failure. The state is locked.
func (a *Account) grounded(now time.Time) error {
	f := a.state.failure(now)
	if f == nil {
		return nil
	}
	return &TokenError{Account: a.Name, Errcode: f.Errcode, Message: f.Message, RetryAt: f.RetryAt, BackingOff: true}
}

// failure returns the last attempt if the token endpoint must not be asked yet
// because of it. A time that no back-off can have led to is that of a clock that
// was wrong. The state is locked.
func (s *tokenState) failure(now time.Time) *attempt {
	for _, f := range []*attempt{s.record.failure(), &s.unreachable} {
		if f == nil || f.Generation != s.record.Generation || !now.Before(f.RetryAt) {
			continue
		}
		if f.RetryAt.Sub(now) <= longestBackoff(f.Errcode) {
			return f
		}
	}
	return nil
}

// launch starts a flight. The state is locked, and there is no other flight.
func (m *TokenManager) launch(a *Account, rejected *Token) *flight {
	t := a.state.token
	return m.start(&task{m: m, Account: a, replaces: t, rejected: t != nil && (t.dead.Load() || !t.supersedes(rejected))})
}

// launchEarly starts a flight for a token that is not due yet. The state is
// locked, and there is no other flight.
func (m *TokenManager) launchEarly(a *Account) *flight {
	return m.start(&task{m: m, Account: a, replaces: a.state.token, early: true})
}

func (m *TokenManager) start(task *task) *flight {
	a, s := task.Account, task.state
	f := &flight{done: make(chan struct{})}
	s.flight = f
	go func() {
		// A flight ends by itself: a client that goes away must not cost the
		// others their token, nor a reload a token that WeChat has just issued.
		ctx, cancel := context.WithTimeout(context.Background(), flightTimeout)
		defer cancel()
		f.token, f.err = task.run(ctx)
		s.mu.Lock()
		s.flight = nil
		a.schedule(m.now())
		s.mu.Unlock()
		close(f.done)
	}()
	return f
}

// task is what a flight is about.
type task struct {
	m *TokenManager
	*Account
	replaces *Token // the token to replace; nil if there is none
	rejected bool   // whether that token was rejected
	early    bool   // whether to replace it before it is due
}

// run gets a token from the store or from WeChat.
func (t *task) run(ctx context.Context) (*Token, error) {
	shared := t.m.pull(ctx, t.Account)
	if token, err := t.settled(); token != nil || err != nil {
		return token, err
	}
	// A store that fails has no lock to wait for.
	if shared {
		unlock := t.m.lock(ctx, t.Account, func() bool {
			token, err := t.settled()
			return token != nil || err != nil
		})
		defer unlock()
		t.m.pull(ctx, t.Account)
		if token, err := t.settled(); token != nil || err != nil {
			return token, err
		}
	}
	switch remedy, err := t.choose(); remedy {
	case fetchToken:
		return t.fetch(ctx, false)
	case forceToken:
		return t.fetch(ctx, true)
	case reuseToken:
		return t.reuse(ctx), nil
	default:
		return nil, err
	}
}

// settled returns the token the flight is out for, if there is one by now, or
// an error if none is to be had.
func (t *task) settled() (*Token, error) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	now := t.m.now()
	if token := t.state.token; token != nil && token.usable(now) {
		switch {
		case t.replaces == nil:
			return token, nil
		case token.generation > t.replaces.generation && (!t.rejected || token.supersedes(t.replaces)):
			return token, nil
		case !t.rejected && !t.early && now.Before(token.dueAt):
			return token, nil
		}
	}
	if err := t.grounded(now); err != nil {
		t.bury()
		return nil, err
	}
	return nil, nil
}

// bury marks a rejected token for which there is no other. The state is locked.
func (t *task) bury() {
	if token := t.state.token; t.rejected && token != nil && !token.supersedes(t.replaces) {
		t.state.kill(token)
	}
}

// kill keeps a rejected token from being used any more. The state is locked.
func (s *tokenState) kill(token *Token) {
	token.dead.Store(true)
	s.recallLeases()
}

// remedy is what to do about a token that is missing, due or rejected.
type remedy uint8

const (
	noRemedy   remedy = iota
	fetchToken        // ask WeChat for its current token
	forceToken        // ask WeChat for a new one
	reuseToken        // try the same once more
)

// choose decides, and says why where there is nothing to be done.
//
// A source that hands out the rejected token again may be right: WeChat's parts
// do not always agree, and it passes. So the token is tried again first, and a
// new one is forced only if that was in vain, or if it goes on. Whatever WeChat
// does, there is no loop: forcing has its budget, a source that insists is
// asked every few seconds, and tokens that nobody saw accepted are not replaced
// again and again.
func (t *task) choose() (remedy, error) {
	s := t.state
	s.mu.Lock()
	defer s.mu.Unlock()
	now := t.m.now()
	token := s.token
	if !t.rejected || token == nil || !now.Before(token.expiresAt) {
		return fetchToken, nil
	}
	if token.confirmed > 0 {
		accepted := token.accepted.Load()
		if (!accepted || token.confirmed >= confirmationsMax) && t.mayForce(now) {
			t.logRejected(token)
			return forceToken, nil
		}
		if next := token.seenAt.Add(insistPause); now.Before(next) {
			if accepted {
				return reuseToken, nil
			}
			return t.pause(next)
		}
	}
	if next := token.seenAt.Add(rejectionPause(strikesAfter(token))); now.Before(next) {
		return t.pause(next)
	}
	if !s.rejections.AllowN(now, 1) {
		return t.pause(now.Add(time.Minute))
	}
	t.logRejected(token)
	return fetchToken, nil
}

// pause leaves a rejected token in place until a time. The state is locked.
func (t *task) pause(until time.Time) (remedy, error) {
	if !t.state.pausedUntil.Equal(until) {
		t.m.logger.Warn("a rejected token is not replaced for now", zap.String("account", t.Name),
			zap.Stringer("token", t.state.token), zap.Time("until", until),
			zap.String("advice", "find out whether another system fetches tokens for this account"))
	}
	t.state.pausedUntil = until
	return noRemedy, errStillRejected
}

func (t *task) logRejected(token *Token) {
	t.m.logger.Warn("token rejected", zap.String("account", t.Name), zap.Stringer("token", token),
		zap.Duration("age", t.m.now().Sub(token.fetchedAt)))
}

// reuse has the rejected token tried again without asking WeChat, which handed
// it out a moment ago.
func (t *task) reuse(ctx context.Context) *Token {
	t.state.mu.Lock()
	next := t.state.record
	t.state.mu.Unlock()
	next.Generation = next.nextGeneration(t.m.now())
	next.Strikes = 0
	token := t.m.publish(t.Account, next)
	sleep(ctx, confirmedPause)
	return token
}

// strikesAfter returns how many tokens in a row, with this one, were rejected
// without having been seen accepted.
func strikesAfter(token *Token) int {
	if token.accepted.Load() {
		return 0
	}
	return token.strikes + 1
}

// mayForce says whether the day's budget has a forced token left. The state is
// locked.
func (t *task) mayForce(now time.Time) bool {
	n, last := t.state.record.forcedSince(now.Add(-24 * time.Hour))
	return n < t.policy.ForcesPerDay && !now.Before(last.Add(t.policy.ForceGap))
}

// fetch asks WeChat.
func (t *task) fetch(ctx context.Context, force bool) (*Token, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	asked := t.m.now()
	grant, err := t.Source.Fetch(upstream.WithResolver(ctx, t.Resolver), t.m.endpoint, t.Upstream, t.Credentials, force)

	t.state.mu.Lock()
	next := t.state.record
	if err == nil {
		t.state.fetches++
		t.state.fetchHistory.add(asked)
	}
	t.state.mu.Unlock()
	if force {
		next.Forced = append(slices.Clip(next.Forced), asked)
	}
	if err != nil {
		return nil, t.failed(next, err, force)
	}
	return t.granted(ctx, next, grant, asked, force)
}

// granted saves and publishes a token that WeChat has handed out.
func (t *task) granted(ctx context.Context, next record, grant wechat.Grant, asked time.Time, force bool) (*Token, error) {
	previous, same := t.current(), grant.AccessToken == next.AccessToken
	diedEarly := t.rejected && !same && previous != nil && t.diedEarly(previous, asked)
	if diedEarly {
		next.Deaths = append(slices.Clip(next.Deaths), asked)
	}
	// Without a rejection, the same token again is the same token.
	if !same || t.rejected {
		next.Generation = next.nextGeneration(asked)
		next.Strikes = 0
		switch {
		case !same:
			next.Confirmations = 0
		case asked.Sub(next.CheckedAt) > confirmationsApart:
			next.Confirmations = 1
		default:
			next.Confirmations++
		}
		if t.rejected && previous != nil {
			next.Strikes = strikesAfter(previous)
		}
	}
	if !same {
		next.AccessToken = grant.AccessToken
		next.FetchedAt = asked
	}
	next.CheckedAt = asked
	next.ExpiresAt = asked.Add(grant.ExpiresIn)
	next.Attempt = next.Attempt.another(asked)
	next.Attempt.Generation = next.Generation
	token := t.m.publish(t.Account, next)
	t.watcher.tokenFetched(token)
	t.watchQuotas(asked, force)
	if diedEarly {
		t.watchThief(asked)
	}

	fields := []zap.Field{
		zap.String("account", t.Name), zap.String("method", t.Source.Method()),
		zap.Stringer("token", token), zap.Duration("lifetime", grant.ExpiresIn),
	}
	switch {
	case same && t.rejected:
		t.m.logger.Warn("WeChat hands out the rejected token again", fields...)
		sleep(ctx, confirmedPause)
	case same:
		t.m.logger.Debug("token is still current", fields...)
	case previous == nil || t.rejected:
		t.m.logger.Info("token fetched", append(fields, zap.Bool("forced", force))...)
	default:
		t.m.logger.Info("token renewed", fields...)
	}
	return token, nil
}

// failed notes that WeChat gave no token, and when to ask again.
func (t *task) failed(next record, err error, force bool) error {
	now := t.m.now()
	failures := t.failuresInARow() + 1
	tokenErr := &TokenError{Account: t.Name, Message: err.Error(), RetryAt: retryTime(now, err, failures, force), Timeout: isTimeout(err)}
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		tokenErr.Errcode, tokenErr.Message = wxErr.Code, wxErr.Msg
	}
	failed := next.Attempt.another(now)
	failed.Generation, failed.Failures = next.Generation, failures
	failed.RetryAt, failed.Errcode, failed.Message = tokenErr.RetryAt, tokenErr.Errcode, tokenErr.Message
	if failed.Errcode != 0 {
		next.Attempt = failed
	}
	if failed.Errcode != 0 || force {
		t.m.publish(t.Account, next)
	}
	t.state.mu.Lock()
	t.state.noteError(tokenErr, now)
	if failed.Errcode == 0 {
		t.state.unreachable = failed
	}
	t.bury()
	t.state.mu.Unlock()

	t.watcher.tokenFailed(tokenErr)
	if failed.Errcode != 0 {
		t.watchQuotas(now, force)
	}
	level := zapcore.ErrorLevel
	if current := t.current(); current != nil && current.usable(now) {
		level = zapcore.WarnLevel
	}
	fields := []zap.Field{
		zap.String("account", t.Name), zap.String("method", t.Source.Method()),
		zap.Int("errcode", tokenErr.Errcode), zap.String("cause", tokenErr.Message),
		zap.Int("failures", failures), zap.Time("next_try", tokenErr.RetryAt),
	}
	if advice := tokenErr.Advice(wechat.English); advice != "" {
		fields = append(fields, zap.String("advice", advice))
	}
	t.m.logger.Log(level, "token fetch failed", fields...)
	return tokenErr
}

// failuresInARow returns how many attempts have failed since the last token.
func (t *task) failuresInARow() int {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	n := 0
	if f := t.state.record.failure(); f != nil {
		n = f.Failures
	}
	if f := &t.state.unreachable; f.Generation == t.state.record.Generation {
		n = max(n, f.Failures)
	}
	return n
}

func (a *Account) current() *Token {
	a.state.mu.Lock()
	defer a.state.mu.Unlock()
	return a.state.token
}

// publish saves a record, whose token may be used from then on.
func (m *TokenManager) publish(a *Account, next record) *Token {
	shared := m.push(a, next)
	a.state.mu.Lock()
	defer a.state.mu.Unlock()
	m.install(a, merge(a.state.record, shared))
	if next.Attempt.Failures == 0 {
		a.state.unreachable = attempt{}
	}
	return a.state.token
}

// install makes r the account's record. The state is locked.
func (m *TokenManager) install(a *Account, r record) {
	s := a.state
	changed := compareTokens(&s.record, &r) != 0
	s.record = r
	if !changed {
		return
	}
	previous := s.token
	s.token = newToken(&r, a.policy, s, m.now())
	s.pausedUntil = time.Time{}
	if previous != nil && previous.generation == s.token.generation && previous.accepted.Load() {
		s.token.accept()
	}
	if previous != nil && previous.accessToken == s.token.accessToken && previous.checkedAt.Equal(s.token.checkedAt) {
		s.token.seenAt = previous.seenAt
	}
	m.cache.set(a, s.token)
	s.recallLeases()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || ok && netErr.Timeout()
}
