package credential

import (
	"time"

	"go.uber.org/zap"
)

// Observer is told what happens to a credential, for metrics and events. Its
// methods return at once and may be called from any goroutine. What it is given
// prints no secret.
type Observer interface {
	// Fetched is called after the source has handed out a value.
	Fetched(v *Value)

	// Failed is called after the source has not.
	Failed(err *UnavailableError)

	// DiedEarly is called after a value was found rejected well before its time,
	// where that means that somebody has fetched another.
	DiedEarly()

	// CompetingFetcher is called when that has happened so often lately that
	// another system must be fetching with the same secret.
	CompetingFetcher(deaths int)

	// QuotaNear is called when a quota of the day has reached 80 %.
	QuotaNear(quota string, q Quota)
}

// Unobserved is the Observer where there is none.
type Unobserved struct{}

// Fetched does nothing.
func (Unobserved) Fetched(*Value) {}

// Failed does nothing.
func (Unobserved) Failed(*UnavailableError) {}

// DiedEarly does nothing.
func (Unobserved) DiedEarly() {}

// CompetingFetcher does nothing.
func (Unobserved) CompetingFetcher(int) {}

// QuotaNear does nothing.
func (Unobserved) QuotaNear(string, Quota) {}

// Advisor returns what an operator has to do about a trouble, in one sentence, or
// "".
type Advisor interface {
	// OnFailure is about a failed fetch.
	OnFailure(f *Failure) string

	// OnCompetition is about another system that fetches with the same secret.
	OnCompetition() string

	// OnRejection is about values that are rejected, new ones too.
	OnRejection() string

	// OnQuota is about a day's quota that is nearly used up.
	OnQuota(quota string) string
}

// advice is a log line's member; it is left out where there is none.
func (c *Credential) advice(of func(Advisor) string) zap.Field {
	if c.Advisor != nil {
		if text := of(c.Advisor); text != "" {
			return zap.String("advice", text)
		}
	}
	return zap.Skip()
}

// Values of a source that is not idempotent die when the next one is fetched.
// Where they die well before their time again and again, somebody else fetches
// with the same secret. Once may be a test by hand; so many within that time are
// a system.
const (
	competingDeaths = 3
	competingWindow = time.Hour
)

// earlyDeaths returns how many values died before their time lately.
func (r *record) earlyDeaths(now time.Time) int {
	n := 0
	for _, at := range r.Deaths {
		if at.After(now.Add(-competingWindow)) {
			n++
		}
	}
	return n
}

// Status is what can be told of a credential without showing it.
type Status struct {
	State   State
	Usable  bool // whether requests get the value
	Healthy bool // and it is accepted, or nobody has needed one yet

	// Since is when a state began that is none to be in: rejected or backoff.
	Since time.Time

	Fingerprint string
	FetchedAt   time.Time
	ExpiresAt   time.Time
	CheckedAt   time.Time // when the source last handed it out
	RetryAt     time.Time // when a back-off ends

	Fetches int64 // by this process
	Replays int64 // by this process

	LastError *ErrorStatus
	Quotas    Quotas

	// EarlyDeaths counts the values of the last hour that were rejected well
	// before their time because somebody had fetched another; Competing reports
	// whether these are so many that somebody does so all the time.
	EarlyDeaths int
	Competing   bool
}

// ErrorStatus is a failure, by whichever process. It stays when it is over.
type ErrorStatus struct {
	Errcode     int
	Message     string
	At          time.Time
	Unreachable bool // there was no answer with an errcode
}

// Status returns how a credential fares, as far as this process knows. It asks
// nobody.
func (m *Manager) Status(c *Credential) Status {
	parent, now := m.parentTrouble(c), m.now()
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	facts := r.factsLocked(c.Policy, now)
	orphaned := parent.backingOff != nil && r.usableLocked(now) == nil
	facts.backingOff = facts.backingOff || orphaned
	is := derive(facts)
	s := Status{
		State: is.state, Usable: is.usable, Healthy: is.healthy,
		Fetches: r.stats.fetches, Replays: r.stats.replays,
		Quotas: r.record.quotas(c.Policy, now, r.uncountedLocked(c.Policy, now)), EarlyDeaths: r.record.earlyDeaths(now),
	}
	s.Competing = s.EarlyDeaths >= competingDeaths
	if v := r.value.Load(); v != nil {
		s.Fingerprint, s.FetchedAt, s.ExpiresAt, s.CheckedAt = v.fingerprint, v.fetchedAt, v.expiresAt, r.checkedAt.time()
	}
	if f := r.backedOffLocked(c.Policy, now); f != nil && is.state == BackOff {
		s.RetryAt, s.Since = f.RetryAt, f.Since
	} else if orphaned {
		s.RetryAt, s.Since = parent.backingOff.RetryAt, parent.backingOff.Since
	}
	if is.state == Refused {
		s.Since = r.record.Standing.RejectedSince
	}
	if e := newer(r.record.LastError, parent.lastError, compareErrors); !e.At.IsZero() {
		s.LastError = &ErrorStatus{Errcode: e.Errcode, Message: e.Message, At: e.At, Unreachable: e.Errcode == 0}
	}
	return s
}

// trouble is what is wrong with a credential that others depend on.
type trouble struct {
	backingOff *attempt  // it has no value, and none is asked for yet
	lastError  lastError // where it has no status of its own
}

// parentTrouble returns that of a credential's parent, and of the parent's parent.
func (m *Manager) parentTrouble(c *Credential) trouble {
	p := c.Parent
	if p == nil {
		return trouble{}
	}
	above, now := m.parentTrouble(p), m.now()
	r := p.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	var is trouble
	if p.Policy.Apart > 0 {
		is.lastError = r.record.LastError
	}
	if r.usableLocked(now) != nil {
		return is
	}
	is.backingOff = r.backedOffLocked(p.Policy, now)
	if is.backingOff == nil {
		is.backingOff = above.backingOff
	} else {
		last := *is.backingOff
		is.backingOff = &last
	}
	return is
}

// History returns how often this process has fetched the credential in the last
// hour, and how often it has replayed a request, in slots of two minutes, the
// newest last.
func (m *Manager) History(c *Credential) (fetches, replays []int) {
	now := m.now()
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	replays = make([]int, historySlots)
	if h := r.stats.replayHistory; h != nil {
		replays = h.counts(now)
	}
	return r.stats.fetchHistory.counts(now), replays
}

// Replayed counts a request that was sent again with another value.
func (m *Manager) Replayed(c *Credential) {
	r := c.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.replays++
	if r.stats.replayHistory == nil {
		r.stats.replayHistory = new(history)
	}
	r.stats.replayHistory.add(m.now())
}
