package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// options are what the command line says.
type options struct {
	Rounds      int           `json:"rounds"`
	Slice       time.Duration `json:"slice"`
	Connections int           `json:"connections"`
	Rate        int           `json:"rate"`
}

// lowConnections share the low load.
const lowConnections = 4

// slice is what was measured in one go.
type slice struct {
	requests int
	errors   int
	first    error // of the errors
	elapsed  time.Duration
	cpu      time.Duration // of the proxy
}

// measurement is all slices of a peer and a scenario.
type measurement struct {
	slices    []slice
	latencies []time.Duration // where these are measured
}

// run is one run of the whole.
type run struct {
	options
	peers    []*peer
	progress io.Writer

	load    map[*peer]map[string]*measurement // by scenario
	low     map[*peer]*measurement
	initial map[*peer]int64 // resident memory before
}

// measure goes through the peers again and again, with short slices, so that
// what else happens on the machine hits all of them alike. Every round starts
// with another peer.
func (r *run) measure(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return err
	}
	for round := range r.Rounds {
		fmt.Fprintf(r.progress, "round %d of %d\n", round+1, r.Rounds)
		peers := rotated(r.peers, round)
		for i := range scenarios {
			if err := r.fullLoads(ctx, peers, &scenarios[i]); err != nil {
				return err
			}
		}
		for _, p := range peers {
			if err := r.lowLoad(ctx, p, r.low[p]); err != nil {
				return p.failure(fmt.Errorf("low load: %w", err))
			}
		}
	}
	return nil
}

// prepare makes room for the measurements, and looks at the peers' memory before
// them.
func (r *run) prepare() error {
	r.load = make(map[*peer]map[string]*measurement)
	r.low = make(map[*peer]*measurement)
	r.initial = make(map[*peer]int64)
	for _, p := range r.peers {
		r.load[p] = make(map[string]*measurement)
		for i := range scenarios {
			if p.measurable(&scenarios[i]) {
				r.load[p][scenarios[i].name] = new(measurement)
			}
		}
		r.low[p] = new(measurement)
		if p.process == nil {
			continue
		}
		resident, _, err := memory(p.pid())
		if err != nil {
			return p.failure(err)
		}
		r.initial[p] = resident
	}
	return nil
}

// fullLoads measures a scenario at every peer that it can be measured at.
func (r *run) fullLoads(ctx context.Context, peers []*peer, s *scenario) error {
	for _, p := range peers {
		if !p.measurable(s) {
			continue
		}
		if err := r.fullLoad(ctx, p, s, r.load[p][s.name]); err != nil {
			return p.failure(fmt.Errorf("%s: %w", s.title, err))
		}
	}
	return nil
}

func rotated(peers []*peer, by int) []*peer {
	by %= len(peers)
	return append(slices.Clone(peers[by:]), peers[:by]...)
}

// fullLoad sends one request after the other on every connection. A request
// that has begun is waited for and counts, and so does the time it takes:
// otherwise uploads, of which a slice has few, would be counted by chance.
func (r *run) fullLoad(ctx context.Context, p *peer, s *scenario, m *measurement) error {
	connections := r.Connections
	if s.connections > 0 {
		connections = min(connections, s.connections)
	}
	result, err := r.slice(ctx, p, p.call(s.call), connections, func(w *worker, end time.Time) {
		for time.Now().Before(end) && ctx.Err() == nil {
			w.do(ctx)
		}
	})
	if err != nil {
		return err
	}
	m.slices = append(m.slices, result)
	return nil
}

// lowLoad sends requests at a fixed rate and measures how long each takes. A
// proxy is not warm then, as it is under full load.
func (r *run) lowLoad(ctx context.Context, p *peer, m *measurement) error {
	interval := lowConnections * time.Second / time.Duration(r.Rate)
	var mu sync.Mutex
	var started atomic.Int32
	result, err := r.slice(ctx, p, p.call(getCall), lowConnections, func(w *worker, end time.Time) {
		var took []time.Duration
		offset := time.Duration(started.Add(1)) * interval / lowConnections
		for next := time.Now().Add(offset); next.Before(end) && ctx.Err() == nil; next = next.Add(interval) {
			time.Sleep(time.Until(next))
			begin := time.Now()
			if w.do(ctx) {
				took = append(took, time.Since(begin))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		m.latencies = append(m.latencies, took...)
	})
	if err != nil {
		return err
	}
	m.slices = append(m.slices, result)
	return nil
}

// worker has one connection.
type worker struct {
	client   *client
	call     *call
	requests int
	errors   int
	first    error
}

// do sends a request and counts it.
func (w *worker) do(ctx context.Context) bool {
	err := w.client.do(ctx, w.call)
	if err == nil {
		w.requests++
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	w.errors++
	if w.first == nil {
		w.first = err
	}
	w.client.close()
	time.Sleep(time.Millisecond) // do not make a bad thing worse
	return false
}

// slice runs work on every connection, after each has been used once.
func (r *run) slice(ctx context.Context, p *peer, call *call, connections int, work func(w *worker, end time.Time)) (slice, error) {
	workers := make([]*worker, connections)
	var ready, done sync.WaitGroup
	begin := make(chan time.Time)
	for i := range workers {
		w := &worker{client: newClient(p.dial), call: call}
		workers[i] = w
		ready.Add(1)
		done.Go(func() {
			w.do(ctx)
			w.requests = 0 // but its error counts
			ready.Done()
			work(w, <-begin)
		})
	}
	defer func() {
		for _, w := range workers {
			w.client.close()
		}
	}()
	ready.Wait()
	stopScraping := func() {}
	if p.scraped {
		stopScraping = scrape(ctx, p.metrics)
	}
	var result slice
	before, err := p.cpuTime()
	start := time.Now()
	for range workers {
		begin <- start.Add(r.Slice)
	}
	done.Wait()
	result.elapsed = time.Since(start)
	stopScraping()
	if err != nil {
		return result, err
	}
	after, err := p.cpuTime()
	if err != nil {
		return result, err
	}
	result.cpu = after - before
	for _, w := range workers {
		result.requests += w.requests
		result.errors += w.errors
		if result.first == nil {
			result.first = w.first
		}
	}
	return result, ctx.Err()
}

func (p *peer) cpuTime() (time.Duration, error) {
	if p.process == nil {
		return 0, nil
	}
	return cpuTime(p.pid())
}

// scrape reads metrics at once and then every second, as nobody does more
// often, until it is stopped. It waits for the reading that is under way.
func scrape(ctx context.Context, address string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	call := newCall(http.MethodGet, "/metrics", "", nil, "")
	call.request = fmt.Appendf(nil, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n", address)
	c := newClient(dialTCP(address))
	var wg sync.WaitGroup
	wg.Go(func() {
		defer c.close()
		for {
			_, _ = c.ask(ctx, &call)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// rates returns the requests per second of every slice.
func (m *measurement) rates() []float64 {
	var rates []float64
	for _, s := range m.slices {
		rates = append(rates, float64(s.requests)/s.elapsed.Seconds())
	}
	return rates
}

// cpuPerRequest returns the CPU time per request of every slice, in
// microseconds.
func (m *measurement) cpuPerRequest() []float64 {
	var times []float64
	for _, s := range m.slices {
		if s.requests > 0 {
			times = append(times, float64(s.cpu.Microseconds())/float64(s.requests))
		}
	}
	return times
}

// errors returns how many requests failed, and why the first one did.
func (m *measurement) errors() (n int, first error) {
	for _, s := range m.slices {
		n += s.errors
		if first == nil {
			first = s.first
		}
	}
	return n, first
}

// latency returns a quantile of the latencies in microseconds.
func latency(of []time.Duration, q float64) float64 {
	values := make([]float64, len(of))
	for i, d := range of {
		values[i] = float64(d.Nanoseconds()) / 1e3
	}
	slices.Sort(values)
	if v := quantile(values, q); !math.IsNaN(v) {
		return v
	}
	return 0
}
