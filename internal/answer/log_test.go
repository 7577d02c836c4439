package weixin

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// The first line comes at once, then a count every ten seconds, and nothing once
// it is over.
func TestRepeatLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		l := newRepeatLog(zap.New(core))
		cause := repeatCause{message: "request refused", account: "shop", reason: "x", status: 503, errcode: -1}
		counts := func() (counts []any) {
			for _, entry := range logs.TakeAll() {
				counts = append(counts, entry.ContextMap()["repeated"])
			}
			return counts
		}
		want := func(when string, want ...any) {
			t.Helper()
			if got := counts(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		for range 100 {
			l.log(zapcore.ErrorLevel, cause, zap.String("path", "/x"))
		}
		want("at once", nil)
		other := cause
		other.errcode = 40164
		l.log(zapcore.ErrorLevel, other)
		want("another cause", nil)
		time.Sleep(repeatInterval - 1)
		synctest.Wait()
		want("before ten seconds")
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		want("after ten seconds", int64(99))
		for range 5 {
			l.log(zapcore.ErrorLevel, cause)
		}
		want("counted")
		l.log(zapcore.ErrorLevel, other)
		want("the other one was over", nil)
		time.Sleep(repeatInterval)
		synctest.Wait()
		want("after twenty seconds", int64(5))
		time.Sleep(3 * repeatInterval)
		synctest.Wait()
		want("over")
		if len(l.causes) > 0 || l.timer != nil {
			t.Errorf("%d causes are kept", len(l.causes))
		}
		l.log(zapcore.ErrorLevel, cause)
		want("again", nil)
		l.log(zapcore.ErrorLevel, cause)
		l.Close()
		l.Close()
		want("at the end", int64(1))
		l.log(zapcore.ErrorLevel, cause)
		want("after the end", nil)
	}) // which fails if a goroutine or timer is left
}

// Reasons that clients make up take no memory without end, and no line each.
func TestRepeatLogBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		l := newRepeatLog(zap.New(core))
		defer l.Close()
		for i := range 100_000 {
			l.log(zapcore.WarnLevel, repeatCause{message: "request refused", reason: fmt.Sprint(i)})
		}
		if len(l.causes) > maxRepeatCauses+1 || logs.Len() > maxRepeatCauses+1 {
			t.Errorf("%d causes, %d lines", len(l.causes), logs.Len())
		}
	})
}

func TestRepeatLogBelowLevel(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	l := newRepeatLog(zap.New(core))
	l.log(zapcore.InfoLevel, repeatCause{message: "x"})
	if logs.Len() > 0 || len(l.causes) > 0 {
		t.Errorf("%d lines, %d causes", logs.Len(), len(l.causes))
	}
}

func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sampler
		want := func(kind string, first bool, skipped int) {
			t.Helper()
			if gotFirst, got := s.first(kind, time.Minute); gotFirst != first || got != skipped {
				t.Errorf("%s: %t, %d; want %t, %d", kind, gotFirst, got, first, skipped)
			}
		}
		want("48001", true, 0)
		want("48001", false, 0)
		want("45009", true, 0)
		time.Sleep(time.Minute - 1)
		want("48001", false, 0)
		time.Sleep(time.Nanosecond)
		want("48001", true, 2)
		want("48001", false, 0)
		want("45009", true, 0)
	})
}
