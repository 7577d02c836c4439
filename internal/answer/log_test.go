package answer

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
		l := NewLog(zap.New(core))
		cause := Cause{Message: "request refused", Account: "shop", Reason: "x", Status: 503, Errcode: -1}
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
			l.Log(zapcore.ErrorLevel, cause, zap.String("path", "/x"))
		}
		want("at once", nil)
		other := cause
		other.Errcode = 40164
		l.Log(zapcore.ErrorLevel, other)
		want("another cause", nil)
		time.Sleep(repeatInterval - 1)
		synctest.Wait()
		want("before ten seconds")
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		want("after ten seconds", int64(99))
		for range 5 {
			l.Log(zapcore.ErrorLevel, cause)
		}
		want("counted")
		l.Log(zapcore.ErrorLevel, other)
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
		l.Log(zapcore.ErrorLevel, cause)
		want("again", nil)
		l.Log(zapcore.ErrorLevel, cause)
		l.Close()
		l.Close()
		want("at the end", int64(1))
		l.Log(zapcore.ErrorLevel, cause)
		want("after the end", nil)
	}) // which fails if a goroutine or timer is left
}

// Reasons that clients make up take no memory without end, and no line each.
func TestRepeatLogBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		l := NewLog(zap.New(core))
		defer l.Close()
		for i := range 100_000 {
			l.Log(zapcore.WarnLevel, Cause{Message: "request refused", Reason: fmt.Sprint(i)})
		}
		if len(l.causes) > maxRepeatCauses+1 || logs.Len() > maxRepeatCauses+1 {
			t.Errorf("%d causes, %d lines", len(l.causes), logs.Len())
		}
	})
}

func TestRepeatLogBelowLevel(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	l := NewLog(zap.New(core))
	l.Log(zapcore.InfoLevel, Cause{Message: "x"})
	if logs.Len() > 0 || len(l.causes) > 0 {
		t.Errorf("%d lines, %d causes", logs.Len(), len(l.causes))
	}
}
