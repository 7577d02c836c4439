package credential

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Quota is how much of a day's quota is used up.
type Quota struct {
	Used  int `json:"used"`
	Limit int `json:"limit,omitempty"` // 0 is none
}

// Near reports whether a quota is at 80 % or above.
func (q Quota) Near() bool { return q.Used >= q.warnAt() && q.Limit > 0 }

// warnAt is the least use that is near the limit.
func (q Quota) warnAt() int { return (4*q.Limit + 4) / 5 }

// Quotas are a credential's at its source, on one of the source's days. All
// processes that share the store are counted.
type Quotas struct {
	Day     string `json:"day"`
	Fetches Quota  `json:"fetches"`
	Forced  *Quota `json:"forced,omitempty"` // where a new value can be forced
}

// Names of quotas, in the status and in metrics.
const (
	QuotaFetches = "fetches"
	QuotaForced  = "forced"
)

// quotas returns what the record tells of the day of now, with the fetches that
// were not counted there yet.
func (r *record) quotas(p *Policy, now time.Time, uncounted int) Quotas {
	q := Quotas{Day: p.dayOf(now), Fetches: Quota{Limit: p.FetchesPerDay, Used: uncounted}}
	if r.Attempt.Day == q.Day {
		q.Fetches.Used += r.Attempt.OfDay
	}
	if p.ForcesPerDay > 0 {
		q.Forced = &Quota{Used: r.forcedToday(p, now), Limit: p.ForcesPerDay}
	}
	return q
}

// forcedToday returns how many values were forced on the day of now.
func (r *record) forcedToday(p *Policy, now time.Time) int {
	n, day := 0, p.dayBefore(now)
	for _, at := range r.Forced {
		if !at.Before(day) {
			n++
		}
	}
	return n
}

// mayForce reports whether the day's budget has a forced value left.
func (r *record) mayForce(p *Policy, now time.Time) bool {
	if n := len(r.Forced); n > 0 && now.Before(r.Forced[n-1].Add(p.ForceGap)) {
		return false
	}
	return r.forcedToday(p, now) < p.ForcesPerDay
}

// Of a day's quota, rejected values may use up so much: a quarter at once, and
// seven tenths over the day. The rest is for renewals, so that two systems which
// fetch against each other do not use up the quota.
const (
	replacementsAtOnce = 0.25
	replacementsPerDay = 0.7
	replacementsInAll  = replacementsAtOnce + replacementsPerDay
)

// clockTolerance is by how much the clocks of processes may differ.
const clockTolerance = time.Hour

// mayReplace reports whether the budget has a fetch left in place of a rejected
// value, and takes it. The budget is full again at Replacements: it fills at an
// even pace. It holds for all processes, as it is in the record that each reads
// before and writes after a fetch.
func (r *record) mayReplace(p *Policy, now time.Time) bool {
	if p.FetchesPerDay == 0 {
		return true
	}
	quota := float64(p.FetchesPerDay)
	if q := r.quotas(p, now, 0); float64(q.Fetches.Used) >= replacementsInAll*quota {
		return false
	}
	each := time.Duration(float64(24*time.Hour) / (replacementsPerDay * quota))
	atOnce := time.Duration(replacementsAtOnce*quota) * each
	full := latest(r.Replacements, now)
	if full.After(now.Add(atOnce + clockTolerance)) {
		return true // a clock was wrong: the day's count decides alone
	}
	if full.Add(each).After(now.Add(atOnce)) {
		return false
	}
	r.Replacements = full.Add(each)
	return true
}

// Process holds what all credentials of a process share, across configurations.
type Process struct {
	mu       sync.Mutex
	failures map[string][]time.Time // by class; those of the last hour, and those that are not decided yet
	pending  map[string]int         // by class; how many are not decided yet
	decided  chan struct{}          // closed when one is decided; nil while nobody waits for that
	vain     map[string]*list.Element
	recent   list.List // of *requester, the one heard of last first
}

// NewProcess returns one in which nothing has happened yet.
func NewProcess() *Process {
	return &Process{failures: make(map[string][]time.Time), pending: make(map[string]int), vain: make(map[string]*list.Element)}
}

// reserve takes a failure of a policy's class from the budget, in case the fetch
// fails; settle tells that this is decided. It returns when it has taken it, and when
// there will be one again where there is none left. What is used up by fetches which
// may yet succeed is waited for, as long as ctx allows.
func (p *Process) reserve(ctx context.Context, policy *Policy, works bool, now func() time.Time) (at, retryAt time.Time) {
	for {
		at = now()
		retryAt, undecided := p.take(policy, works, at)
		if undecided == nil {
			return at, retryAt
		}
		select {
		case <-undecided:
		case <-ctx.Done():
			return at, at
		}
	}
}

// take does so without waiting. Where there may be one left once a fetch is decided,
// it returns what is closed then. A fifth of the budget is for credentials that work,
// whose fetches hardly ever fail: they go on whatever the others do.
func (p *Process) take(policy *Policy, works bool, now time.Time) (retryAt time.Time, undecided <-chan struct{}) {
	class, perHour := policy.FailureClass, policy.FailuresPerHour
	if class == "" {
		return time.Time{}, nil
	}
	if !works {
		perHour -= perHour / 5
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	times := within(p.failures[class], now.Add(-time.Hour))
	p.failures[class] = times
	switch {
	case len(times) < perHour:
		p.failures[class] = append(times, now)
		p.pending[class]++
		return time.Time{}, nil
	case len(times)-p.pending[class] < perHour:
		if p.decided == nil {
			p.decided = make(chan struct{})
		}
		return time.Time{}, p.decided
	default:
		return times[0].Add(time.Hour), nil
	}
}

// settle tells that it is decided whether a fetch has failed, for which reserve has
// taken a failure of a class.
func (p *Process) settle(class string) {
	if class == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[class]--
	if p.decided != nil {
		close(p.decided)
		p.decided = nil
	}
}

// refund gives a failure back that was none.
func (p *Process) refund(class string, at time.Time) {
	if class == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures[class] = withoutOne(p.failures[class], at)
}

// Fetches on one requester's word that bring nothing: at most so many an hour.
const (
	vainPerHour   = 6
	requestersMax = 4096
)

// requester is who had values fetched that may have brought nothing.
type requester struct {
	name  string
	times []time.Time
}

// isVain reports whether a requester has used up its fetches that bring nothing.
func (p *Process) isVain(by string, now time.Time) bool {
	if by == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.vain[by]
	if !ok {
		return false
	}
	r := e.Value.(*requester)
	r.times = within(r.times, now.Add(-time.Hour))
	return len(r.times) >= vainPerHour
}

// charge counts a fetch on a requester's word. The requesters heard of last are
// remembered.
func (p *Process) charge(by string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.vain[by]
	if !ok {
		e = p.recent.PushFront(&requester{name: by})
		p.vain[by] = e
	}
	p.recent.MoveToFront(e)
	r := e.Value.(*requester)
	r.times = append(within(r.times, at.Add(-time.Hour)), at)
	if p.recent.Len() > requestersMax {
		last := p.recent.Back()
		delete(p.vain, p.recent.Remove(last).(*requester).name)
	}
}

// discharge forgets a fetch that was not in vain.
func (p *Process) discharge(by string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.vain[by]
	if !ok {
		return
	}
	r := e.Value.(*requester)
	if r.times = withoutOne(r.times, at); len(r.times) == 0 {
		p.recent.Remove(e)
		delete(p.vain, by)
	}
}

// within returns the times after another, of which they are in order.
func within(times []time.Time, after time.Time) []time.Time {
	for len(times) > 0 && !times[0].After(after) {
		times = times[1:]
	}
	return times
}

// withoutOne returns the times without one of those that are equal to at.
func withoutOne(times []time.Time, at time.Time) []time.Time {
	for i, t := range times {
		if t.Equal(at) {
			return append(times[:i:i], times[i+1:]...)
		}
	}
	return times
}
