package credential

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// atOnce is a source that takes no time.
type atOnce struct{ asking, most atomic.Int32 }

// Fetch implements Source.
func (s *atOnce) Fetch(ctx context.Context, _ *Value, _ string, _ bool) (Grant, error) {
	now := s.asking.Add(1)
	defer s.asking.Add(-1)
	for most := s.most.Load(); most < now && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	sleep(ctx, 10*time.Millisecond)
	return Grant{Value: "80_0123456789abcdefghijklmnopqrstuvwxyz", ExpiresIn: 2 * time.Hour}, nil
}

// Check implements Source.
func (*atOnce) Check(context.Context, *Value) Verdict { return Unknown }

// Values that were fetched at the same moment are not renewed at the same moment.
func TestRenewalsAreSpread(t *testing.T) {
	const n = 100_000
	now := time.Now()
	perSecond := make(map[int64]int)
	for range n {
		r := NewRunner()
		r.installLocked(classic.policy, record{
			Generation: 1, AccessToken: "80_0123456789abcdefghijklmnopqrstuvwxyz", FetchedAt: now, CheckedAt: now, ExpiresAt: now.Add(2 * time.Hour),
		}, now)
		perSecond[r.warmAt.time().Unix()]++
	}
	most := 0
	for _, count := range perSecond {
		most = max(most, count)
	}
	// Two minutes' worth of seconds.
	if average := n / 120; most > 2*average {
		t.Errorf("%d renewals in one second, where %d would be even", most, average)
	}
}

// Nor do many credentials begin at the same moment.
func TestBeginningsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1_000
		source, m := new(atOnce), newManager(newMemoryStore())
		for i := range n {
			id := testID
			id.Identity = fmt.Sprint(i)
			c := m.Bind(credentialOf(id, stable, source), NewRunner())
			m.KeepWarm(c, 0, n*time.Millisecond)
			defer m.Release(t.Context(), c)
		}
		time.Sleep(n * 2 * time.Millisecond)
		if most := source.most.Load(); most > 40 {
			t.Errorf("%d at once, where 10 would be even", most)
		}
	})
}

// vast is a store that has a value for every credential without keeping any.
type vast struct {
	expires time.Time
	loads   atomic.Int64
}

// Load returns the credential's record, sealed for it.
func (s *vast) Load(_ context.Context, key string) ([]byte, error) {
	s.loads.Add(1)
	var n int
	if _, err := fmt.Sscanf(key, "weixin/tokens/wx%d-authorizer-", &n); err != nil {
		return nil, fs.ErrNotExist
	}
	id := idOf(n)
	r := record{
		Generation: s.expires.UnixMilli(), AccessToken: fmt.Sprintf("80_%d-0123456789abcdefghijklmnopqrstuvwxyz", n),
		FetchedAt: s.expires.Add(-2 * time.Hour), CheckedAt: s.expires.Add(-2 * time.Hour), ExpiresAt: s.expires,
		Kept: kept{Version: 1, Secret: fmt.Sprintf("refreshtoken@@@%d-0123456789", n)},
	}
	plain, err := r.marshal()
	if err != nil {
		return nil, err
	}
	return sealerOf(&id).seal(plain)
}

// Save does nothing.
func (*vast) Save(context.Context, string, []byte) error { return nil }

// Lock locks nothing.
func (*vast) Lock(context.Context, string) (func(), error) { return func() {}, nil }

func idOf(n int) ID {
	return ID{Identity: fmt.Sprintf("wx%d-authorizer", n), Upstream: "https://api.example", Secret: "a-secret-of-some-length"}
}

// authorizers are credentials of accounts that come and go: renewed while used
// within the last two hours.
var authorizers = &Policy{Lead: 10 * time.Minute, Idle: 2 * time.Hour, FetchesPerDay: 2_000}

func newWorkingSet(t *testing.T, size int64) *WorkingSet[*Credential] {
	t.Helper()
	set, err := NewWorkingSet(size, (*Credential).End)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	return set
}

// acquire returns a credential by the number of its account.
func acquire(m *Manager, set *WorkingSet[*Credential], n int, source Source) *Credential {
	id, r := fmt.Sprintf("isv/wx%d", n), NewRunner()
	if old, ok := set.Get(id); ok {
		if old.IsOf(m) {
			return old
		}
		r = old.Runner()
	}
	c := m.Bind(&Credential{ID: idOf(n), Name: "isv", Source: source, Policy: authorizers, Durability: BeforeUse}, r)
	m.KeepWarm(c, 0, 0)
	set.Put(id, c)
	return c
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A million accounts come and go over a working set of ten thousand: every
// fourth gets its value from the store, and they take no more memory than the set.
func TestMillionAccounts(t *testing.T) {
	if testing.Short() {
		t.Skip("a million accounts take a while")
	}
	n, size := 1_000_000, 10_000
	if raceEnabled {
		n /= 20
	}
	before := heapInUse()
	set := newWorkingSet(t, int64(size))
	st := &vast{expires: time.Now().Add(90 * time.Minute).Round(0)}
	m := NewManager(Config{Store: st, Process: NewProcess(), Logger: newManager(nil).logger})
	source := new(atOnce)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n; i += 4 {
				c := acquire(m, set, i, source)
				if i/4%4 > 0 {
					continue // its value is not needed: opening a million records takes a minute
				}
				v, err := m.Value(t.Context(), c)
				if err != nil || v.Secret() != fmt.Sprintf("80_%d-0123456789abcdefghijklmnopqrstuvwxyz", i) {
					t.Errorf("account %d: %v, %v", i, v, err)
					return
				}
			}
		})
	}
	wg.Wait()
	set.cache.Wait()
	used := int64(heapInUse()) - int64(before)
	t.Logf("%d MB for %d accounts", used>>20, n)
	if used > 200<<20 {
		t.Errorf("%d MB are in use", used>>20)
	}
	if loads := st.loads.Load(); loads < int64(n/4) {
		t.Errorf("%d loads for %d accounts", loads, n)
	}
	if source.most.Load() > 0 {
		t.Error("something was fetched that the store has")
	}
	runtime.KeepAlive(m)
}

// What is in the set is found there, and what has left it ends: nothing runs for
// it any more.
func TestWorkingSet(t *testing.T) {
	set, st := newWorkingSet(t, 100), newMemoryStore()
	m := newManager(st)
	endpoint := &fakeEndpoint{stable: true}
	first := acquire(m, set, 1, endpoint)
	if again := acquire(m, set, 1, endpoint); again != first {
		t.Error("the second look-up finds another")
	}
	v, err := m.Value(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	// A reload: the newer configuration has one of its own, with what is known.
	newer := newManager(st)
	reloaded := acquire(newer, set, 1, &fakeEndpoint{down: true})
	if got, err := newer.Value(t.Context(), reloaded); reloaded == first || err != nil || got.Secret() != v.Secret() {
		t.Errorf("after a reload: %v, %v", got, err)
	}
	set.cache.Wait()
	if n := first.holders(); n != 1 {
		t.Errorf("%d configurations keep it warm", n)
	}
	// It is evicted, and comes back from the store.
	for i := range 10_000 {
		acquire(newer, set, i+2, endpoint)
	}
	set.cache.Wait()
	evicted := 0
	for i := range 10_000 {
		if _, ok := set.cache.Get(fmt.Sprintf("isv/wx%d", i+2)); !ok {
			evicted++
		}
	}
	if evicted < 9_000 {
		t.Errorf("%d of 10,000 have left a set of 100", evicted)
	}
	// Two instances at a time do no harm.
	a, b := acquire(newer, set, 1, endpoint), newer.Bind(&Credential{ID: idOf(1), Source: endpoint, Policy: authorizers}, NewRunner())
	for _, c := range []*Credential{a, b} {
		if got, err := newer.Value(t.Context(), c); err != nil || got.Secret() != v.Secret() {
			t.Errorf("got %v, %v", got, err)
		}
	}
	wantCalls(t, endpoint, 1)
}

// A fetch that is under way when its credential leaves the set ends by itself,
// and its value is in the store.
func TestEvictedWhileFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{latency: time.Second}
		m := newManager(st)
		c := m.Bind(&Credential{ID: idOf(1), Source: endpoint, Policy: authorizers}, NewRunner())
		m.KeepWarm(c, 0, 0)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := m.Value(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		c.End()
		wg.Wait()
		time.Sleep(24 * time.Hour) // nothing is renewed any more
		wantCalls(t, endpoint, 1)
		if saves, _ := st.counts(); saves != 1 {
			t.Errorf("%d saves", saves)
		}
	})
}

// An account nobody uses is not renewed.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		p := startProcessOf(t, &Credential{ID: idOf(1), Source: endpoint, Policy: authorizers}, st)
		p.keepWarm()
		for range 10 * 60 { // in use
			p.token(t)
			time.Sleep(time.Minute)
		}
		if n := endpoint.callCount(); n < 5 || n > 7 {
			t.Errorf("%d fetches in ten hours of use", n)
		}
		time.Sleep(2 * time.Hour)
		before := endpoint.callCount()
		time.Sleep(24 * time.Hour)
		if n := endpoint.callCount() - before; n > 1 {
			t.Errorf("%d fetches in a day without use", n)
		}
		p.token(t)
	})
}

// holders returns how many configurations keep the credential warm.
func (c *Credential) holders() int {
	c.runner.mu.Lock()
	defer c.runner.mu.Unlock()
	return len(c.runner.holders)
}

// BenchmarkValue looks one credential's value up, from all processors at once.
func BenchmarkValue(b *testing.B) {
	m := newManager(newMemoryStore())
	c := m.Bind(credentialOf(testID, classic, new(atOnce)), NewRunner())
	if _, err := m.Value(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Value(ctx, c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A look-up allocates nothing.
func TestValueAllocatesNothing(t *testing.T) {
	m := newManager(newMemoryStore())
	c := m.Bind(credentialOf(testID, classic, new(atOnce)), NewRunner())
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := m.Value(ctx, c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
