package weixin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

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
