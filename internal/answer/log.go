package weixin

import (
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// repeatLog writes one log line for each cause of a refusal, and then how often
// it came again, every repeatInterval. What goes on for hours must not bury what
// happens once.
//
// It has no goroutine while there is nothing to count.
type repeatLog struct {
	logger *zap.Logger

	mu     sync.Mutex
	causes map[repeatCause]*repetition
	timer  *time.Timer // nil while there are no causes
	closed bool
}

const (
	repeatInterval = 10 * time.Second

	// maxRepeatCauses bounds the causes that are told apart: reasons may repeat
	// what clients send.
	maxRepeatCauses = 256
)

// repeatCause is what makes two lines the same.
type repeatCause struct {
	message         string
	account, reason string
	status, errcode int
}

// repetition is what came again since the last line about a cause.
type repetition struct {
	level  zapcore.Level
	count  int
	fields []zap.Field // of the newest
	since  time.Time
}

func newRepeatLog(logger *zap.Logger) *repeatLog {
	return &repeatLog{logger: logger, causes: make(map[repeatCause]*repetition)}
}

// log writes a line, or counts it where one about the cause was written already.
func (l *repeatLog) log(level zapcore.Level, cause repeatCause, fields ...zap.Field) {
	if !l.logger.Core().Enabled(level) {
		return
	}
	if l.first(level, &cause, fields) {
		l.logger.Log(level, cause.message, fields...)
	}
}

// first reports whether a line is the first about its cause, and counts it if it
// is not.
func (l *repeatLog) first(level zapcore.Level, cause *repeatCause, fields []zap.Field) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return true
	}
	r, ok := l.causes[*cause]
	if !ok && len(l.causes) >= maxRepeatCauses {
		*cause = repeatCause{message: cause.message}
		r, ok = l.causes[*cause]
	}
	if ok {
		r.count++
		r.level, r.fields = max(r.level, level), fields
		return false
	}
	l.causes[*cause] = &repetition{level: level, since: time.Now()}
	if l.timer == nil {
		l.timer = time.AfterFunc(repeatInterval, l.tell)
	}
	return true
}

// tell writes how often causes came again.
func (l *repeatLog) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := time.Now()
	l.flush(func(r *repetition) bool { return now.Sub(r.since) >= repeatInterval })
	if l.timer = nil; len(l.causes) > 0 {
		next := slices.MinFunc(l.times(), time.Time.Compare)
		l.timer = time.AfterFunc(next.Add(repeatInterval).Sub(now), l.tell)
	}
}

func (l *repeatLog) times() []time.Time {
	times := make([]time.Time, 0, len(l.causes))
	for _, r := range l.causes {
		times = append(times, r.since)
	}
	return times
}

// flush writes the counts that are due, and forgets causes that did not come
// again. The lock is held.
func (l *repeatLog) flush(due func(*repetition) bool) {
	for cause, r := range l.causes {
		if !due(r) {
			continue
		}
		if r.count == 0 {
			delete(l.causes, cause)
			continue
		}
		l.logger.Log(r.level, cause.message, append(slices.Clip(r.fields), zap.Int("repeated", r.count))...)
		r.count, r.fields, r.since = 0, nil, time.Now()
	}
}

// Close writes the counts that are left. Lines that come later are written one
// by one.
func (l *repeatLog) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.flush(func(*repetition) bool { return true })
	l.closed, l.causes = true, nil
	if l.timer != nil {
		l.timer.Stop()
	}
}

// sampler lets the first of a kind through in a while. The zero value can be used.
type sampler struct {
	mu    sync.Mutex
	kinds map[string]*sample
}

type sample struct {
	since   time.Time
	skipped int
}

// first reports whether this is the first of its kind within the interval, and
// how many were not since the last that was. Kinds have to be finite.
func (s *sampler) first(kind string, interval time.Duration) (first bool, skipped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	k, ok := s.kinds[kind]
	if ok && now.Sub(k.since) < interval {
		k.skipped++
		return false, 0
	}
	if !ok {
		if s.kinds == nil {
			s.kinds = make(map[string]*sample)
		}
		k = new(sample)
		s.kinds[kind] = k
	}
	skipped = k.skipped
	k.since, k.skipped = now, 0
	return true, skipped
}
