package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A world is what a model test runs in: processes that share a store, with
// clocks of their own, in front of one WeChat.
type world struct {
	source    *method
	endpoint  *fakeEndpoint
	store     *memoryStore
	processes []*process

	// What WeChat would say of a token, as far as a test has killed it.
	revoked map[string]bool

	generations []int64 // of each process, as last seen
	stored      int64   // generation in the store, as last seen
}

// step is one thing that happens in a world.
type step struct {
	kind    string
	process int
	wait    time.Duration
}

var stepKinds = []string{
	"request", "request", "request", "burst", "revoke", "wait", "wait", "restart",
	"store down", "store up", "store full", "store emptied", "endpoint down", "endpoint up",
}

func drawSteps(rt *rapid.T, processes int) []step {
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			kind:    rapid.SampledFrom(stepKinds).Draw(rt, "kind"),
			process: rapid.IntRange(0, processes-1).Draw(rt, "process"),
			wait:    time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(rt, "wait")),
		}
	}), 1, 40).Draw(rt, "steps")
}

func newWorld(source *method, skews []time.Duration) *world {
	w := &world{
		source: source, endpoint: &fakeEndpoint{stable: source.name == "stable", latency: 100 * time.Millisecond},
		store: newMemoryStore(), revoked: make(map[string]bool),
		processes: make([]*process, len(skews)), generations: make([]int64, len(skews)),
	}
	for i, skew := range skews {
		w.start(i, skew)
	}
	return w
}

// start starts a process, or starts it again.
func (w *world) start(i int, skew time.Duration) {
	m := newManager(w.store)
	m.now = func() time.Time { return time.Now().Add(skew).Round(0) }
	c := m.Bind(credentialOf(testID, w.source, w.endpoint), NewRunner())
	w.processes[i], w.generations[i] = &process{m, c}, 0
	m.KeepWarm(c, 0, 0)
}

func (w *world) end(i int) {
	p := w.processes[i]
	p.Release(context.Background(), p.account)
	synctest.Wait()
}

// request is what the transport does: one token, and another if it is refused.
func (w *world) request(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	token, err := p.Token(ctx, p.account)
	if err != nil {
		return err
	}
	if w.accepts(token) {
		return nil
	}
	fresh, err := p.Replace(ctx, p.account, token, "")
	sleep(ctx, fresh.Wait)
	if err != nil {
		return err
	}
	if fresh.Wait == 0 && fresh.generation <= token.generation {
		return fmt.Errorf("generation %d was replaced by %d", token.generation, fresh.generation)
	}
	accepted := w.accepts(fresh.Value)
	fresh.Report(accepted)
	if !accepted {
		return errRefusedTwice
	}
	return nil
}

var errRefusedTwice = errors.New("the replay was refused too")

func (w *world) accepts(token *Value) bool {
	w.endpoint.mu.Lock()
	defer w.endpoint.mu.Unlock()
	if w.revoked[token.secret] {
		return false
	}
	token.Accept()
	return true
}

// revoke kills every token that was issued so far.
func (w *world) revoke() {
	w.endpoint.set(func(e *fakeEndpoint) {
		for n := range e.issued {
			w.revoked[fmt.Sprintf("token-%d", n+1)] = true
		}
		e.expires = time.Time{}
	})
}

// check checks that no newer token has lost against an older one, in any
// process's memory and in the store.
func (w *world) check() error {
	for i, p := range w.processes {
		r := p.account.runner
		r.mu.Lock()
		generation, token := r.record.Generation, r.value.Load()
		r.mu.Unlock()
		if generation < w.generations[i] {
			return fmt.Errorf("process %d went back from generation %d to %d", i, w.generations[i], generation)
		}
		w.generations[i] = generation
		if token != nil && token.generation != generation {
			return fmt.Errorf("process %d serves generation %d of %d", i, token.generation, generation)
		}
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	sealed, ok := w.store.values[w.processes[0].account.ID.storeKey()]
	if !ok {
		w.stored = 0
		return nil
	}
	plain, err := sealerOf(&w.processes[0].account.ID).unseal(sealed)
	if err != nil {
		return err
	}
	r, err := unmarshalRecord(plain)
	if err != nil {
		return err
	}
	if r.Generation < w.stored {
		return fmt.Errorf("the store went back from generation %d to %d", w.stored, r.Generation)
	}
	w.stored = r.Generation
	return nil
}

func (w *world) do(s step, skews []time.Duration) {
	switch s.kind {
	case "request":
		_ = w.request(w.processes[s.process]) // may fail while something is down
	case "burst":
		var wg sync.WaitGroup
		for _, p := range w.processes {
			for range 5 {
				wg.Go(func() { _ = w.request(p) })
			}
		}
		wg.Wait()
	case "revoke":
		w.revoke()
	case "wait":
		time.Sleep(s.wait)
	case "restart":
		w.end(s.process)
		w.start(s.process, skews[s.process])
	case "store down":
		w.store.set(func(s *memoryStore) {
			s.loadErr, s.saveErr, s.noLock = errors.New("down"), errors.New("down"), errors.New("down")
		})
	case "store up":
		w.store.set(func(s *memoryStore) { s.loadErr, s.saveErr, s.noLock = nil, nil, nil })
	case "store full":
		w.store.set(func(s *memoryStore) { s.saveErr = errors.New("full") })
	case "store emptied":
		w.store.set(func(s *memoryStore) { clear(s.values) })
	case "endpoint down":
		w.endpoint.set(func(e *fakeEndpoint) { e.down = true })
	case "endpoint up":
		w.endpoint.set(func(e *fakeEndpoint) { e.down = false })
	}
}

// Whatever happens in whatever order, a newer token never loses against an
// older one, and when everything is up again all processes serve, with the same
// token.
func TestModel(t *testing.T) {
	for _, source := range []*method{stable, classic} {
		t.Run(source.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				skews := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Minute, -10 * time.Minute, time.Second}), 1, 4).Draw(rt, "skews")
				steps := drawSteps(rt, len(skews))
				if failure := runModel(t, source, skews, steps); failure != "" {
					rt.Fatal(failure)
				}
			})
		})
	}
}

func runModel(t *testing.T, source *method, skews []time.Duration, steps []step) (failure string) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(source, skews)
		defer func() {
			for i := range w.processes {
				w.end(i)
			}
			time.Sleep(time.Hour) // for what is saved late
		}()
		for i, s := range steps {
			w.do(s, skews)
			synctest.Wait()
			if err := w.check(); err != nil {
				failure = fmt.Sprintf("after step %d, %s: %v", i, s.kind, err)
				return
			}
		}
		w.do(step{kind: "store up"}, skews)
		w.do(step{kind: "endpoint up"}, skews)
		// Not a multiple of the differences between the clocks: or else one
		// process's token might get the very millisecond of another's.
		time.Sleep(20*time.Minute + 456*time.Millisecond)
		w.revoke()
		before := w.endpoint.callCount()
		var tokens []string
		for i, p := range w.processes {
			// It may have missed a token that has died since, and find it in
			// the store first.
			err := w.request(p)
			if errors.Is(err, errRefusedTwice) {
				err = w.request(p)
			}
			if err != nil {
				failure = fmt.Sprintf("in the end process %d does not serve: %v", i, err)
				return
			}
			token, err := p.Token(context.Background(), p.account)
			if err != nil {
				failure = fmt.Sprintf("in the end process %d has no token: %v", i, err)
				return
			}
			tokens = append(tokens, token.secret)
		}
		if len(slices.Compact(tokens)) != 1 {
			failure = "in the end the processes have different tokens: " + strings.Join(tokens, ", ")
		}
		// Who has a clock that is ahead may take the new token for one that is
		// due, and ask once more.
		if n := w.endpoint.callCount() - before; n > max(2, len(w.processes)) {
			failure = fmt.Sprintf("in the end one death cost %d fetches", n)
		}
	})
	return failure
}
