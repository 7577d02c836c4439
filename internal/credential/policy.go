package credential

import (
	"math/rand/v2"
	"time"

	"go.uber.org/zap/zapcore"
)

// Policy says how a source wants to be used. Credentials share policies, which
// are not changed.
type Policy struct {
	// Lead is how long before its end a value is renewed.
	Lead time.Duration

	// Recheck is how often the source is asked for the current value while the
	// credential is in use; 0 is never.
	Recheck time.Duration

	// Idle is for how long after its last use a value is still renewed, and
	// asked for again, without anybody's request; 0 is for as long as it is kept
	// warm, which then does not include Recheck.
	Idle time.Duration

	// Life is how long a value is good after it was handed out last, whatever
	// the source says; 0 is as long as the source says.
	Life time.Duration

	// Extension, if not 0, says that a value's first sight starts its clock: the
	// same value again lives no longer. At its end, the same value again is good
	// for so much longer.
	Extension time.Duration

	// Idempotent says that asking twice returns the same value, so that two
	// processes which ask at the same time do each other no harm.
	Idempotent bool

	// ForcesPerDay is how often a day a new value may be forced, with at least
	// ForceGap in between; 0 is never.
	ForcesPerDay int
	ForceGap     time.Duration

	// FetchesPerDay is the source's daily quota; 0 is none.
	FetchesPerDay int

	// Zone is where the source's days begin at midnight. Default: UTC.
	Zone *time.Location

	// Rejected is how long to wait, growing, before the source is asked again
	// that hands out a rejected value again. Zero waits are for sources whose
	// values can be forced.
	Rejected Waits

	// TransientBackoff and ConfigurationBackoff are the waits after failures in a
	// row. Default: 200 ms to 30 s, and 1 s to 5 min.
	TransientBackoff     Waits
	ConfigurationBackoff Waits

	// Apart, if not 0, is how far apart fetches are at least that bring nothing,
	// of all processes together, whatever has come meanwhile.
	Apart time.Duration

	// Refused is why there is no value where the one that has come since the last
	// fetch was refused, and it is too early for another.
	Refused Failure

	// LookEvery, if not 0, says that what a fetch waits for may come to another
	// process: during a back-off the store is looked into so often, when the
	// value is needed.
	LookEvery time.Duration

	// Quiet says that there are too many such credentials for log lines about what
	// happens in the course of things.
	Quiet bool

	// IsOthers, if not nil, reports whether a failure with an errcode is for whom the
	// credential is about to mend, and not for the operator: it is logged as a
	// warning.
	IsOthers func(errcode int) bool

	// Withdrawn is why there is no value where it was withdrawn.
	Withdrawn Failure

	// FailureClass, if not "", names what shares a budget of failed fetches with
	// all credentials of the process that name the same: FailuresPerHour.
	FailureClass    string
	FailuresPerHour int
}

// Waits are waits that double from the least to the most.
type Waits struct{ Least, Most time.Duration }

var (
	defaultTransientBackoff     = Waits{200 * time.Millisecond, 30 * time.Second}
	defaultConfigurationBackoff = Waits{time.Second, 5 * time.Minute}
)

// dayJitter is how long after midnight the source is asked again at most.
const dayJitter = 10 * time.Second

// after returns the wait after so many in a row. It has jitter.
func (w Waits) after(n int) time.Duration {
	d := w.Least
	for range n - 1 {
		if d *= 2; d >= w.Most {
			d = w.Most
			break
		}
	}
	return min(d+jitter(d/10), w.Most)
}

// waits returns those of a class; DailyQuota has none.
func (p *Policy) waits(class FailureClass) Waits {
	w, byDefault := p.TransientBackoff, defaultTransientBackoff
	if class == Configuration {
		w, byDefault = p.ConfigurationBackoff, defaultConfigurationBackoff
	}
	if w == (Waits{}) {
		return byDefault
	}
	return w
}

// retryTime returns when to ask the source again after so many failures in a row.
// Where a value was to be forced, a quota that is used up is that of forcing.
func (p *Policy) retryTime(now time.Time, class FailureClass, failures int, forced bool) time.Time {
	if class == DailyQuota && !forced {
		return p.dayAfter(now).Add(jitter(dayJitter))
	}
	if class == DailyQuota {
		class = Transient
	}
	return now.Add(p.waits(class).after(failures))
}

// longestBackoff is how long a back-off of a class can be.
func (p *Policy) longestBackoff(class FailureClass) time.Duration {
	if class == DailyQuota {
		return 24*time.Hour + dayJitter
	}
	return p.waits(class).Most
}

func (p *Policy) zone() *time.Location {
	if p.Zone == nil {
		return time.UTC
	}
	return p.Zone
}

// dayBefore returns when the day of t began.
func (p *Policy) dayBefore(t time.Time) time.Time {
	y, m, d := t.In(p.zone()).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, p.zone())
}

// dayAfter returns when the next day begins.
func (p *Policy) dayAfter(t time.Time) time.Time { return p.dayBefore(t).AddDate(0, 0, 1) }

// dayOf returns a day as text, such as 2026-11-21.
func (p *Policy) dayOf(t time.Time) string { return t.In(p.zone()).Format(time.DateOnly) }

// expiry returns until when a value is good that was asked for at a time.
// previous is when it was to end where it is no new value.
func (p *Policy) expiry(asked time.Time, grant Grant, same bool, previous time.Time, lead time.Duration) time.Time {
	switch {
	case p.Life > 0:
		return asked.Add(p.Life)
	case p.Extension > 0 && same && asked.Before(previous.Add(-lead)):
		return previous
	case p.Extension > 0 && same:
		return latest(previous, asked.Add(p.Extension))
	default:
		return asked.Add(grant.ExpiresIn)
	}
}

// levelOfCourse is that of log lines about what happens in the course of things.
func (p *Policy) levelOfCourse() zapcore.Level {
	if p.Quiet {
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}

// isPolled reports whether the source is asked in the background, too, while the
// credential is in use.
func (p *Policy) isPolled() bool { return p.Idle > 0 && p.Recheck > 0 }

// rechecksQuietly reports whether a recheck that brings the same value changes
// nothing that other processes have to know.
func (p *Policy) rechecksQuietly() bool {
	return p.Idempotent && p.Recheck > 0 && p.Life == 0 && p.Extension == 0
}

// jitter returns a random duration below limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
