package credential

import (
	"time"

	"go.uber.org/zap"
)

// State is how a credential fares.
type State string

// The states.
const (
	Empty    State = "empty"
	OK       State = "ok"
	Renewing State = "renewing"
	Refused  State = "rejected"
	BackOff  State = "backoff"
)

// States are all there are.
var States = [...]State{Empty, OK, Renewing, Refused, BackOff}

// facts are what a state is derived from.
type facts struct {
	live       bool // there is a value, and it has not expired
	retired    bool // it was rejected, and no other could be had
	rejected   bool // APIs reject the values of late, whichever
	fetching   bool // a fetch is in progress
	backingOff bool // the source, or the parent's, gave none, and is not being asked again
	withdrawn  bool // there is to be none
}

// situation is a state and what it means for requests.
type situation struct {
	state   State
	usable  bool // requests get the value
	healthy bool // and it is accepted, or nobody has needed one yet
}

// derive returns the state that facts amount to. The first line that holds
// counts; "served" is a value that is live and not retired.
//
//	served  rejected  backing off  fetching │ state     usable  healthy
//	────────────────────────────────────────┼────────────────────────────
//	(withdrawn, whatever else is the case)  │ empty     no      yes
//	yes     any       yes          any      │ backoff   yes     unless rejected
//	no      any       yes          any      │ backoff   no      no
//	any     yes       no           any      │ rejected  served  no
//	any     no        no           yes      │ renewing  served  if served
//	yes     no        no           no       │ ok        yes     yes
//	no      no        no           no       │ empty     no      if not retired
//
// What leads from one to another:
//
//	empty     a request, or the runner's timer, begins a fetch  → renewing
//	renewing  the source hands out a value                      → ok
//	          the source refuses, or cannot be reached          → backoff
//	ok        the value is due, or a check says it is rejected   → renewing
//	          its life ends and nobody has it renewed           → empty
//	          what replaced a rejected value is rejected too    → rejected
//	          a rejected value cannot be replaced for now       → rejected
//	rejected  an API, or a check, accepts a value               → ok
//	          the source refuses, or cannot be reached          → backoff
//	backoff   its time is over                                  → renewing, by the runner's
//	                                                              timer or the next request
//	          an operator asks for a value                      → renewing
//	          another process has got a value                   → ok
//
// A value that was withdrawn is nobody's trouble, least of all that of those who
// watch the proxy: whoever granted it wants it so.
//
// A value is retired when it is rejected while the source gives no other. It is
// used no more, unless a check finds that it is good after all.
func derive(f facts) situation {
	served := f.live && !f.retired
	switch {
	case f.withdrawn:
		return situation{Empty, false, true}
	case f.backingOff:
		return situation{BackOff, served, served && !f.rejected}
	case f.rejected:
		return situation{Refused, served, false}
	case f.fetching:
		return situation{Renewing, served, served}
	case served:
		return situation{OK, true, true}
	default:
		return situation{Empty, false, !f.retired}
	}
}

// factsLocked returns what is the case.
func (r *Runner) factsLocked(p *Policy, now time.Time) facts {
	return facts{
		live:       r.value.Load().isLive(now) && !r.record.isVoid(),
		withdrawn:  r.record.isWithdrawn(),
		retired:    r.retired,
		rejected:   !r.record.Standing.RejectedSince.IsZero(),
		fetching:   r.fetch != nil,
		backingOff: r.backedOffLocked(p, now) != nil,
	}
}

// usableLocked returns the value that requests may get, or nil.
func (r *Runner) usableLocked(now time.Time) *Value {
	if v := r.value.Load(); v.isLive(now) && !r.retired && !r.record.isVoid() {
		return v
	}
	return nil
}

// supersedesLocked reports whether the current value may be tried where another
// was rejected: it is another, or has been handed out again since.
func (r *Runner) supersedesLocked(rejected *Value) bool {
	v := r.value.Load()
	if rejected == nil || v == nil {
		return v != nil
	}
	return v.generation != rejected.generation && (v.secret != rejected.secret || r.record.HandedOutAgain > 0)
}

// isAcceptedLocked reports whether the current value was seen to be accepted.
func (r *Runner) isAcceptedLocked() bool {
	v := r.value.Load()
	return v != nil && r.accepted.Load() == v.generation
}

// accept notes that a value was accepted.
func (r *Runner) accept(v *Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.value.Load()
	if current == nil || current.generation != v.generation {
		return // it is another's turn
	}
	r.accepted.Store(v.generation)
	if since := r.record.Standing.RejectedSince; !since.IsZero() && r.user != nil {
		m := r.user.manager
		r.record.Standing = standing{At: m.now()}
		r.saveSoonLocked()
		m.logger.Info("the account's tokens are accepted again", zap.String("account", r.user.Name), zap.Time("rejected_since", since))
	}
}

// rejectLocked notes that APIs reject the values, one after the other.
func (r *Runner) rejectLocked(now time.Time) {
	if !r.record.Standing.RejectedSince.IsZero() {
		return
	}
	r.record.Standing = standing{At: now, RejectedSince: now}
	r.accepted.Store(0) // whoever sees a value accepted from now on tells so
	r.saveSoonLocked()
	if c := r.user; c != nil {
		c.manager.logger.Warn("WeChat rejects the account's tokens, new ones too", zap.String("account", c.Name),
			c.advice(Advisor.OnRejection))
	}
}

// retireLocked keeps a rejected value from being used any more.
func (r *Runner) retireLocked() {
	r.retired = true
	r.useUntil.Store(0)
}

// restoreLocked has a value be used again that was found to be good.
func (r *Runner) restoreLocked(p *Policy) {
	r.retired = false
	r.pausedUntil = 0
	r.serveLocked(p)
}
