package credential

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

// Whatever a test started has ended with it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// method is a way in which a test's values are fetched, as an endpoint wants it.
type method struct {
	name   string
	policy *Policy
}

var beijing = time.FixedZone("UTC+8", 8*60*60)

var (
	stable = &method{"stable", &Policy{
		Lead: 4 * time.Minute, Recheck: 5 * time.Minute, Idempotent: true, ForcesPerDay: 20, ForceGap: 30 * time.Second,
		FetchesPerDay: 500_000, Zone: beijing,
	}}
	classic = &method{"classic", &Policy{Lead: 10 * time.Minute, FetchesPerDay: 2_000, Zone: beijing}}
)

var testID = ID{Identity: "wx0000000000000001", Upstream: "https://api.example", Secret: "a-secret-of-some-length"}

func classify(errcode int) FailureClass {
	switch errcode {
	case 45009:
		return DailyQuota
	case 40001, 40013, 40125, 40164, 89503:
		return Configuration
	}
	return Transient
}

// fakeEndpoint is a source whose answers a test scripts. By default it hands out
// token-1, token-2, … with a lifetime of two hours; as a stable one it hands out
// the same until it is rotated.
type fakeEndpoint struct {
	mu       sync.Mutex
	stable   bool
	lifetime time.Duration
	latency  time.Duration
	errcode  int  // answer with this instead
	insist   bool // stable: normal mode never changes the token
	down     bool // no connection
	verdict  func(v *Value) Verdict
	parent   func(parent *Value) error // what it says of the parent's value
	kept     string                    // hands this out to be kept, with a number

	issued  int
	calls   []time.Time
	forced  []time.Time
	checks  []time.Time
	keeping []string // what was handed to each fetch
	expires time.Time
}

// pass waits for some time, as long as ctx allows. There is no timer with a channel:
// in a synctest bubble the runtime can crash on one with the race detector.
func pass(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	passed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-passed.Done()
	return ctx.Err()
}

// Fetch implements Source.
func (e *fakeEndpoint) Fetch(ctx context.Context, parent *Value, kept string, force bool) (Grant, error) {
	e.mu.Lock()
	latency := e.latency
	e.mu.Unlock()
	if err := pass(ctx, latency); err != nil {
		return Grant{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, time.Now())
	e.keeping = append(e.keeping, kept)
	if e.down {
		return Grant{}, errors.New("connection refused")
	}
	if force {
		e.forced = append(e.forced, time.Now())
	}
	if e.parent != nil {
		if err := e.parent(parent); err != nil {
			return Grant{}, err
		}
	}
	if e.errcode != 0 {
		return Grant{}, &Failure{Errcode: e.errcode, Message: "refused rid: 1-2-3", Class: classify(e.errcode)}
	}
	lifetime := e.lifetime
	if lifetime == 0 {
		lifetime = 7200 * time.Second
	}
	left := time.Until(e.expires)
	if e.insist {
		left = lifetime
	}
	if e.issued == 0 || force || !e.stable || !e.insist && left <= min(5*time.Minute, lifetime/2) {
		e.issued++
		e.expires = time.Now().Add(lifetime)
		left = lifetime
	}
	grant := Grant{Value: fmt.Sprintf("token-%d", e.issued), ExpiresIn: left.Truncate(time.Second)}
	if e.kept != "" {
		grant.Kept = fmt.Sprintf("%s-%d", e.kept, e.issued)
	}
	return grant, nil
}

// Check implements Source.
func (e *fakeEndpoint) Check(_ context.Context, v *Value) Verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.verdict == nil {
		return Unknown
	}
	e.checks = append(e.checks, time.Now())
	return e.verdict(v)
}

// revoke has the stable endpoint hand out another token from now on.
func (e *fakeEndpoint) revoke() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expires = time.Time{}
}

func (e *fakeEndpoint) set(change func(*fakeEndpoint)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

func (e *fakeEndpoint) callCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.calls)
}

// memoryStore is a store that several managers of a test share, and that fails
// on demand.
type memoryStore struct {
	mu      sync.Mutex
	values  map[string][]byte
	locks   map[string]chan struct{}
	loadErr error
	saveErr error
	hang    bool          // calls return only when their context is done
	saving  time.Duration // how long a save takes
	noLock  error
	saves   int
	loads   int
}

func newMemoryStore() *memoryStore {
	return &memoryStore{values: make(map[string][]byte), locks: make(map[string]chan struct{})}
}

func (s *memoryStore) Load(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	s.loads++
	if s.loadErr != nil {
		return nil, s.loadErr
	}
	if v, ok := s.values[key]; ok {
		return v, nil
	}
	return nil, fs.ErrNotExist
}

func (s *memoryStore) Save(ctx context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return ctx.Err()
	}
	if s.saving > 0 {
		passing := s.saving
		s.mu.Unlock()
		err := pass(ctx, passing)
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	if s.saveErr != nil {
		return s.saveErr
	}
	s.saves++
	s.values[key] = value
	return nil
}

func (s *memoryStore) Lock(ctx context.Context, name string) (func(), error) {
	for {
		s.mu.Lock()
		if s.noLock != nil {
			defer s.mu.Unlock()
			return nil, s.noLock
		}
		held, ok := s.locks[name]
		if !ok {
			released := make(chan struct{})
			s.locks[name] = released
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.locks, name)
				close(released)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *memoryStore) counts() (saves, loads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saves, s.loads
}

func (s *memoryStore) set(change func(*memoryStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// process is a process with one credential.
type process struct {
	*Manager
	account *Credential
}

// Token returns the credential's value.
func (p *process) Token(ctx context.Context, c *Credential) (*Value, error) { return p.Value(ctx, c) }

// TokenLasting returns a value that lives for that long.
func (p *process) TokenLasting(ctx context.Context, c *Credential, left time.Duration) (*Value, error) {
	return p.ValueLasting(ctx, c, left)
}

// Refresh replaces a value on nobody's word in particular, as a request does that
// is sent again.
func (p *process) Refresh(ctx context.Context, c *Credential, rejected *Value) (*Value, error) {
	r, err := p.Replace(ctx, c, rejected, "")
	sleep(ctx, r.Wait)
	return r.Value, err
}

func newManager(st *memoryStore) *Manager {
	return NewManager(Config{Store: st, Process: NewProcess(), Logger: zap.NewNop()})
}

// credentialOf returns a credential as a configuration has it.
func credentialOf(id ID, source *method, endpoint Source) *Credential {
	id.Identity += "-" + source.name
	return &Credential{ID: id, Name: "shop", Method: source.name, Source: endpoint, Policy: source.policy}
}

func startProcess(t *testing.T, source *method, st *memoryStore, endpoint Source) *process {
	t.Helper()
	return startProcessAs(t, testID, source, st, endpoint)
}

func startProcessAs(t *testing.T, id ID, source *method, st *memoryStore, endpoint Source) *process {
	t.Helper()
	return startProcessOf(t, credentialOf(id, source, endpoint), st)
}

func startProcessOf(t *testing.T, c *Credential, st *memoryStore) *process {
	t.Helper()
	m := newManager(st)
	m.Bind(c, NewRunner())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m.Release(ctx, c)
	})
	return &process{m, c}
}

// again returns the process's credential as another configuration of the process
// has it.
func (p *process) again(st *memoryStore) *process {
	m, c := newManager(st), *p.account
	m.process = p.process
	return &process{m, m.Bind(&c, p.account.runner)}
}

// token returns the token as the third of three requests gets it. The first may
// have it fetched, or find it in the cache; the others have it on a lease.
func (p *process) token(t *testing.T) *Value {
	t.Helper()
	var token *Value
	for range 3 {
		var err error
		if token, err = p.Token(t.Context(), p.account); err != nil {
			t.Fatalf("Token: %v", err)
		}
	}
	return token
}

func (p *process) refresh(t *testing.T, rejected *Value) *Value {
	t.Helper()
	token, err := p.Refresh(t.Context(), p.account, rejected)
	if err != nil {
		t.Fatalf("Refresh: %v", err)
	}
	return token
}

func (p *process) keepWarm() { p.KeepWarm(p.account, 0, 0) }

func wantCalls(t *testing.T, e *fakeEndpoint, want int) {
	t.Helper()
	if got := e.callCount(); got != want {
		t.Errorf("the endpoint was asked %d times, want %d", got, want)
	}
}

func wantToken(t *testing.T, got *Value, want string) {
	t.Helper()
	if got.secret != want {
		t.Errorf("token is %s, want %s", got.secret, want)
	}
}
