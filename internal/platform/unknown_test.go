package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// who answers questions for appids, and counts them.
type who struct {
	asked atomic.Int32
	err   error
	wait  time.Duration
}

func (w *who) ask(ctx context.Context) error {
	w.asked.Add(1)
	if err := pass(ctx, w.wait); err != nil {
		return err
	}
	return w.err
}

func wantAsked(t *testing.T, w *who, want int32) {
	t.Helper()
	if got := w.asked.Load(); got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}

func TestUnknownIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{err: ErrNotAuthorized}
		for range 3 {
			if err := u.find(t.Context(), "wx0123456789abcdef", w.ask); !errors.Is(err, ErrNotAuthorized) {
				t.Fatal(err)
			}
		}
		wantAsked(t, w, 1)
		time.Sleep(unknownMemory - time.Second)
		_ = u.find(t.Context(), "wx0123456789abcdef", w.ask)
		wantAsked(t, w, 1)
		time.Sleep(time.Second)
		_ = u.find(t.Context(), "wx0123456789abcdef", w.ask)
		wantAsked(t, w, 2)
		u.forget("wx0123456789abcdef")
		w.err = nil
		if err := u.find(t.Context(), "wx0123456789abcdef", w.ask); err != nil {
			t.Error(err)
		}
		wantAsked(t, w, 3)
	})
}

// Whoever asks for the same appid waits for the same answer, and nobody's leaving
// keeps the others from it.
func TestUnknownIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{wait: 2 * time.Second}
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := u.find(ctx, "wx0123456789abcdef", w.ask); !errors.Is(err, context.Canceled) {
				t.Errorf("who has left: %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if err := u.find(t.Context(), "wx0123456789abcdef", w.ask); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		leave()
		wg.Wait()
		wantAsked(t, w, 1)
	})
}

// An answer that was on its way when something newer was heard is not remembered.
func TestUnknownForgottenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{wait: 2 * time.Second, err: ErrNotAuthorized}
		var wg sync.WaitGroup
		wg.Go(func() { _ = u.find(t.Context(), "wx0123456789abcdef", w.ask) })
		time.Sleep(time.Second)
		u.forget("wx0123456789abcdef")
		wg.Wait()
		w.err = nil
		if err := u.find(t.Context(), "wx0123456789abcdef", w.ask); err != nil {
			t.Error(err)
		}
		wantAsked(t, w, 2)
	})
}

func TestUnknownPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{err: ErrNotAuthorized}
		refused, next := 0, 0
		try := func(n int) {
			refused = 0
			for range n {
				next++
				if err := u.find(t.Context(), fmt.Sprintf("wx%016x", next), w.ask); errors.Is(err, ErrTooManyUnknown) {
					refused++
				}
			}
		}
		try(30)
		time.Sleep(30 * time.Second)
		try(100)
		if refused != 70 {
			t.Errorf("%d were refused", refused)
		}
		wantAsked(t, w, 60)
		// What is known not to be is known all the same.
		if err := u.find(t.Context(), "wx0000000000000001", w.ask); !errors.Is(err, ErrNotAuthorized) {
			t.Error(err)
		}
		time.Sleep(30 * time.Second) // within a minute of the second thirty
		try(100)
		if refused != 70 {
			t.Errorf("%d were refused half a minute later", refused)
		}
		// However long it goes on, what is remembered is bounded.
		for range 20 {
			time.Sleep(time.Minute)
			try(1000)
		}
		if n := len(u.until); n > 6*unknownPerMinute {
			t.Errorf("%d are remembered", n)
		}
	})
}

// After a store was lost, appids are found as fast as they are needed: those that
// have authorised the platform are not what the limit is for. Of others no more
// are asked for, however many come at once.
func TestUnknownThatAreKnownToWeChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{wait: 50 * time.Millisecond}
		all := func(prefix string) (refused int32) {
			var n atomic.Int32
			var wg sync.WaitGroup
			for i := range 5 * unknownPerMinute {
				wg.Go(func() {
					if err := u.find(t.Context(), fmt.Sprintf("wx%s%012x", prefix, i), w.ask); errors.Is(err, ErrTooManyUnknown) {
						n.Add(1)
					} else if !errors.Is(err, w.err) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return n.Load()
		}
		start := time.Now()
		if n := all("good"); n != 0 {
			t.Errorf("%d were refused", n)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
		wantAsked(t, w, 5*unknownPerMinute)
		w.err = ErrNotAuthorized
		if n := all("madeup"); n != 4*unknownPerMinute {
			t.Errorf("%d were refused", n)
		}
		wantAsked(t, w, 6*unknownPerMinute)
	})
}

// Where WeChat could not be asked, nothing is used up and nothing remembered; where
// it did not answer, it was asked all the same.
func TestUnknownThatCouldNotBeAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, w := newUnknown(time.Now), &who{err: fmt.Errorf("the component token: %w", &credential.UnavailableError{Name: "isv"})}
		for i := range 200 {
			err := u.find(t.Context(), fmt.Sprintf("wx%016x", i), w.ask)
			if _, ok := errors.AsType[*credential.UnavailableError](err); !ok {
				t.Fatal(i, err)
			}
		}
		w.err = errors.New("connection refused")
		for i := range 60 {
			if err := u.find(t.Context(), fmt.Sprintf("wx%016x", i%7), w.ask); !errors.Is(err, w.err) {
				t.Fatal(i, err)
			}
		}
		if err := u.find(t.Context(), "wx1", w.ask); !errors.Is(err, ErrTooManyUnknown) {
			t.Error(err)
		}
	})
}

// What cannot be an appid is no question at all.
func TestCanBeAppID(t *testing.T) {
	for appID, want := range map[string]bool{
		"wx0123456789abcdef": true, "wx-merchant_1.a": true, "wx1": true, strings.Repeat("w", maxAppID): true,
		"": false, strings.Repeat("w", maxAppID+1): false, "gh_0123456789ab": false, strings.Repeat("0123456789abcdeF", 2): false, "..": false, ".wx": false,
		"wx/../1": false, "wx 1": false, "wx1\n": false, "wx\x00": false, "微信": false, "wx%2f": false, "wx:1": false, "wx*": false,
	} {
		if got := canBeAppID(appID); got != want {
			t.Errorf("%q: %v", appID, got)
		}
		if !want {
			w := new(who)
			if err := newUnknown(time.Now).find(t.Context(), appID, w.ask); !errors.Is(err, ErrNotAuthorized) || w.asked.Load() > 0 {
				t.Errorf("%q: %v, asked %d times", appID, err, w.asked.Load())
			}
		}
	}
}
