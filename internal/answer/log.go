package answer

import (
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Log writes one log line for each cause of a refusal, and then how often
// it came again, every repeatInterval. What goes on for hours must not bury what
// happens once.
//
// It has no goroutine while there is nothing to count.
type Log struct {
	logger *zap.Logger

	mu     sync.Mutex
	causes map[Cause]*repetition
	timer  *time.Timer // nil while there are no causes
	closed bool
}

const (
	repeatInterval = 10 * time.Second

	// maxRepeatCauses bounds the causes that are told apart: reasons may repeat
	// what clients send.
	maxRepeatCauses = 256
)

// Cause is what makes two lines the same.
type Cause struct {
	Message         string
	Account, Reason string
	Status, Errcode int
}

// repetition is what came again since the last line about a cause.
type repetition struct {
	level  zapcore.Level
	count  int
	fields []zap.Field // of the newest
	since  time.Time
}

// NewLog returns a log that writes to a logger.
func NewLog(logger *zap.Logger) *Log {
	return &Log{logger: logger, causes: make(map[Cause]*repetition)}
}

// Log writes a line, or counts it where one about the cause was written already.
func (l *Log) Log(level zapcore.Level, cause Cause, fields ...zap.Field) {
	if !l.logger.Core().Enabled(level) {
		return
	}
	if l.first(level, &cause, fields) {
		l.logger.Log(level, cause.Message, fields...)
	}
}

// LogRefusal tells the operator of an error that a client got. What is the
// client's doing is of less interest than what is not.
func (l *Log) LogRefusal(req *http.Request, e *Error, client netip.Addr) {
	level := zapcore.InfoLevel
	switch {
	case e.Status == http.StatusForbidden, wechat.IsMerchants(e.Errcode):
		level = zapcore.WarnLevel
	case e.Status >= http.StatusInternalServerError:
		level = zapcore.ErrorLevel
	}
	if !l.logger.Core().Enabled(level) {
		return
	}
	name := ""
	if e.Account != nil {
		name = e.Account.Name
	}
	l.Log(level, Cause{"request refused", name, e.Message, e.Status, e.Errcode},
		zap.Int("status", e.Status), zap.Int("errcode", e.Errcode), zap.String("reason", e.Message),
		zap.String("account", name), zap.String("caller", e.Caller), zap.Stringer("client_ip", client),
		zap.String("method", req.Method), zap.String("path", req.URL.Path), zap.NamedError("cause", e.Cause))
}

// first reports whether a line is the first about its cause, and counts it if it
// is not.
func (l *Log) first(level zapcore.Level, cause *Cause, fields []zap.Field) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return true
	}
	r, ok := l.causes[*cause]
	if !ok && len(l.causes) >= maxRepeatCauses {
		*cause = Cause{Message: cause.Message}
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
func (l *Log) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := time.Now()
	l.flushLocked(func(r *repetition) bool { return now.Sub(r.since) >= repeatInterval })
	if l.timer = nil; len(l.causes) > 0 {
		next := slices.MinFunc(l.timesLocked(), time.Time.Compare)
		l.timer = time.AfterFunc(next.Add(repeatInterval).Sub(now), l.tell)
	}
}

func (l *Log) timesLocked() []time.Time {
	times := make([]time.Time, 0, len(l.causes))
	for _, r := range l.causes {
		times = append(times, r.since)
	}
	return times
}

// flushLocked writes the counts that are due, and forgets causes that did not
// come again.
func (l *Log) flushLocked(due func(*repetition) bool) {
	for cause, r := range l.causes {
		if !due(r) {
			continue
		}
		if r.count == 0 {
			delete(l.causes, cause)
			continue
		}
		l.logger.Log(r.level, cause.Message, append(slices.Clip(r.fields), zap.Int("repeated", r.count))...)
		r.count, r.fields, r.since = 0, nil, time.Now()
	}
}

// Close writes the counts that are left. Lines that come later are written one
// by one.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.flushLocked(func(*repetition) bool { return true })
	l.closed, l.causes = true, nil
	if l.timer != nil {
		l.timer.Stop()
	}
}
