package weixin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// wantPause checks a pause that has jitter: up to a tenth of it is added.
func wantPause(t *testing.T, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/10 {
		t.Errorf("pause %v, want %v and up to a tenth more", got, want)
	}
}

func TestRetryTime(t *testing.T) {
	const ms, s, m = time.Millisecond, time.Second, time.Minute
	transient := []time.Duration{200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 30 * s, 30 * s}
	configuration := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 5 * m, 5 * m}
	wxError := func(errcode int) error { return &wechat.Error{Code: errcode, Msg: "x"} }
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		err    error
		forced bool
		want   []time.Duration
	}{
		{"network", io.ErrUnexpectedEOF, false, transient},
		{"-1", wxError(-1), false, transient},
		{"45011", wxError(45011), false, transient},
		{"unknown errcode", wxError(99999), false, transient},
		{"40164", wxError(40164), false, configuration},
		{"40125", wxError(40125), false, configuration},
		{"40001", wxError(40001), false, configuration},
		{"40013", wxError(40013), false, configuration},
		{"89503, wrapped", fmt.Errorf("while fetching: %w", wxError(89503)), false, configuration},
		{"40164, forced", wxError(40164), true, configuration},
		// The quota of forcing says nothing about normal fetches.
		{"45009, forced", wxError(45009), true, transient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, want := range tc.want {
				wantPause(t, retryTime(now, tc.err, i+1, tc.forced).Sub(now), want)
			}
			most := tc.want[len(tc.want)-1]
			for _, failures := range []int{len(tc.want), 1_000, math.MaxInt} {
				if got := retryTime(now, tc.err, failures, tc.forced).Sub(now); got != most {
					t.Errorf("pause %v after %d failures, want %v", got, failures, most)
				}
			}
			wantPause(t, retryTime(now, tc.err, 0, tc.forced).Sub(now), tc.want[0])
		})
	}
}

// A stored back-off that is longer than any can be is one that a wrong clock
// has made.
func TestLongestBackoff(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, beijing)
	for _, errcode := range []int{0, -1, 40001, 40164, 45009, 45011, 99999} {
		for _, failures := range []int{1, 10, 1_000} {
			pause := retryTime(now, &wechat.Error{Code: errcode}, failures, false).Sub(now)
			if most := longestBackoff(errcode); pause > most {
				t.Errorf("errcode %d: pause %v, the longest is %v", errcode, pause, most)
			}
		}
	}
}

// The quota is counted by the Beijing day, wherever the proxy runs.
func TestRetryTimeQuota(t *testing.T) {
	quota := &wechat.Error{Code: wechat.QuotaExhausted}
	newYork := time.FixedZone("UTC-5", -5*60*60)
	for _, tc := range []struct {
		name      string
		now, want time.Time
	}{
		{"at noon", time.Date(2026, 3, 1, 12, 0, 0, 0, beijing), time.Date(2026, 3, 2, 0, 0, 0, 0, beijing)},
		{"just before midnight", time.Date(2026, 3, 1, 23, 59, 59, 999_999_999, beijing), time.Date(2026, 3, 2, 0, 0, 0, 0, beijing)},
		{"at midnight", time.Date(2026, 3, 2, 0, 0, 0, 0, beijing), time.Date(2026, 3, 3, 0, 0, 0, 0, beijing)},
		{"just after midnight", time.Date(2026, 3, 2, 0, 0, 0, 1, beijing), time.Date(2026, 3, 3, 0, 0, 0, 0, beijing)},
		{"the day before in UTC", time.Date(2026, 3, 1, 15, 59, 59, 0, time.UTC), time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC)},
		{"the same day in UTC", time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC), time.Date(2026, 3, 2, 16, 0, 0, 0, time.UTC)},
		{"in another zone", time.Date(2026, 3, 1, 10, 59, 0, 0, newYork), time.Date(2026, 3, 1, 11, 0, 0, 0, newYork)},
		{"at the end of a month", time.Date(2026, 2, 28, 18, 0, 0, 0, beijing), time.Date(2026, 3, 1, 0, 0, 0, 0, beijing)},
		{"at the end of a year", time.Date(2026, 12, 31, 18, 0, 0, 0, beijing), time.Date(2027, 1, 1, 0, 0, 0, 0, beijing)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, failures := range []int{1, 50} {
				got := retryTime(tc.now, quota, failures, false)
				if got.Before(tc.want) || got.After(tc.want.Add(10*time.Second)) {
					t.Errorf("retry at %v, want %v and up to 10 s more", got, tc.want)
				}
			}
		})
	}
}

// The first few of a row are replaced at once, however many that are.
func TestRejectionPause(t *testing.T) {
	free := 0
	for rejectionPause(free) == 0 {
		if free++; free > 100 {
			t.Fatal("never a pause")
		}
	}
	if free < 2 {
		t.Errorf("a pause after %d rejected tokens already", free)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		wantPause(t, rejectionPause(free+i), want*time.Second)
	}
	wantPause(t, rejectionPause(math.MaxInt), 30*time.Second)
}

func TestTokenErrorText(t *testing.T) {
	for _, tc := range []struct {
		err  TokenError
		want string
	}{
		{TokenError{Account: "shop", Message: "dial tcp: refused"}, "no access_token for account shop: dial tcp: refused"},
		{TokenError{Account: "shop", Errcode: 40013, Message: "invalid appid"}, "no access_token for account shop: errcode 40013: invalid appid"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestTokenErrorAnswer(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later := now.Add(90 * time.Second)
	for _, tc := range []struct {
		name       string
		err        TokenError
		status     int
		errcode    int
		retryAfter time.Duration
		contains   string
	}{
		{"network", TokenError{Message: "connection refused"}, 502, -1, 0, "connection refused"},
		{"timeout", TokenError{Message: "i/o timeout", Timeout: true}, 504, -1, 0, "timeout"},
		{"wrong secret", TokenError{Errcode: 40001, Message: "invalid credential"}, 502, 40125, 0, "AppSecret"},
		{"wrong secret, said so", TokenError{Errcode: 40125, Message: "invalid appsecret"}, 502, 40125, 0, "AppSecret"},
		{"token error", TokenError{Errcode: 40014, Message: "x"}, 502, -1, 0, ""},
		{"token expired", TokenError{Errcode: 42001, Message: "x"}, 502, -1, 0, ""},
		{"whitelist", TokenError{Errcode: 40164, Message: "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"}, 502, 40164, 0, "Add 1.2.3.4 to"},
		{"quota, backing off", TokenError{Errcode: 45009, Message: "x", RetryAt: later, BackingOff: true}, 503, 45009, 90 * time.Second, "quota"},
		{"network, backing off", TokenError{Message: "refused", RetryAt: later, BackingOff: true}, 503, -1, 90 * time.Second, "refused"},
		{"timeout, backing off", TokenError{Message: "i/o timeout", Timeout: true, RetryAt: later, BackingOff: true}, 503, -1, 90 * time.Second, ""},
		{"backing off for another moment", TokenError{RetryAt: now.Add(time.Millisecond), BackingOff: true}, 503, -1, time.Second, ""},
		{"backing off until just now", TokenError{RetryAt: now.Add(-time.Hour), BackingOff: true}, 503, -1, time.Second, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.err.Account = "shop"
			p := tc.err.proxyError(now)
			if p.status != tc.status || p.errcode != tc.errcode || p.retryAfter != tc.retryAfter {
				t.Errorf("status %d, errcode %d, retry after %v", p.status, p.errcode, p.retryAfter)
			}
			if !strings.Contains(p.message, tc.contains) || !strings.Contains(p.message, "shop") {
				t.Errorf("message %q does not say %q", p.message, tc.contains)
			}
		})
	}
}

// SDKs answer these three with another fetch, which would go on without end.
func TestTokenErrorNeverAnswersTokenErrcodes(t *testing.T) {
	for errcode := -1; errcode < 100_000; errcode++ {
		for _, backingOff := range []bool{false, true} {
			p := (&TokenError{Account: "shop", Errcode: errcode, Message: "x", BackingOff: backingOff}).proxyError(time.Time{})
			if slices.Contains([]int{0, 40001, 40014, 42001}, p.errcode) {
				t.Fatalf("errcode %d is answered with %d", errcode, p.errcode)
			}
			if p.status < http.StatusInternalServerError {
				t.Fatalf("errcode %d is answered with status %d", errcode, p.status)
			}
		}
	}
}

// What WeChat or a network has written goes through JSON unharmed.
func TestTokenErrorAnswerIsJSON(t *testing.T) {
	for _, message := range []string{"", `"quoted" \ <b>&`, "line\r\nbreak", "\x00\xff", "中文", strings.Repeat("x", 10_000)} {
		p := (&TokenError{Account: "shop", Message: message}).proxyError(time.Time{})
		var got struct{ Errcode int }
		if err := json.Unmarshal(p.body(), &got); err != nil || got.Errcode != -1 || bytes.ContainsAny(p.body(), "\r\n\x00") {
			t.Errorf("%q: %q, %v", message, p.body(), err)
		}
	}
}
