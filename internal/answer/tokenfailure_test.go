package answer

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// failed is a token endpoint's failure.
type failed struct {
	Errcode             int
	Message             string
	RetryAt             time.Time
	Timeout, BackingOff bool
}

func (f failed) of() *account.TokenError {
	return &account.TokenError{
		Account: &account.Account{Name: "shop", Kind: wechat.Official},
		UnavailableError: &credential.UnavailableError{
			Name: "shop", Failure: credential.Failure{Errcode: f.Errcode, Message: f.Message, Timeout: f.Timeout},
			RetryAt: f.RetryAt, BackingOff: f.BackingOff,
		},
	}
}

func (f failed) answer(now time.Time) *Error {
	e := f.of()
	return From(TokenFailure(e, e.Account, now))
}

// A loop that an endpoint tells of is told on.
func TestLoopErrors(t *testing.T) {
	for _, f := range []failed{
		{Message: upstream.ErrLoop.Error()},
		{Message: "weixin proxy: " + upstream.ErrLoop.Error(), Errcode: -1, BackingOff: true, RetryAt: time.Now().Add(time.Second)},
	} {
		if p := f.answer(time.Now()); p.Status != http.StatusLoopDetected || p.Errcode != -1 || !strings.Contains(p.Message, upstream.ErrLoop.Error()) {
			t.Errorf("got %+v", p)
		} else if strings.Count(p.Message, "resolver") != 1 || strings.Contains(p.Message, "AppSecret") {
			t.Errorf("the cure is not there once: %s", p.Message)
		}
	}
}

func TestTokenErrorText(t *testing.T) {
	for _, tc := range []struct {
		err  failed
		want string
	}{
		{failed{Message: "dial tcp: refused"}, "no access_token for account shop: dial tcp: refused"},
		{failed{Errcode: 40013, Message: "invalid appid"}, "no access_token for account shop: errcode 40013: invalid appid"},
	} {
		if got := tc.err.of().Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestTokenErrorAnswer(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later := now.Add(90 * time.Second)
	for _, tc := range []struct {
		name       string
		err        failed
		status     int
		errcode    int
		retryAfter time.Duration
		contains   string
	}{
		{"network", failed{Message: "connection refused"}, 502, -1, 0, "connection refused"},
		{"timeout", failed{Message: "i/o timeout", Timeout: true}, 504, -1, 0, "timeout"},
		{"wrong secret", failed{Errcode: 40001, Message: "invalid credential"}, 502, 40125, 0, "AppSecret"},
		{"wrong secret, said so", failed{Errcode: 40125, Message: "invalid appsecret"}, 502, 40125, 0, "AppSecret"},
		{"token error", failed{Errcode: 40014, Message: "x"}, 502, -1, 0, ""},
		{"token expired", failed{Errcode: 42001, Message: "x"}, 502, -1, 0, ""},
		{"whitelist", failed{Errcode: 40164, Message: "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"}, 502, 40164, 0, "Add 1.2.3.4 to"},
		{"quota, backing off", failed{Errcode: 45009, Message: "x", RetryAt: later, BackingOff: true}, 503, 45009, 90 * time.Second, "quota"},
		{"network, backing off", failed{Message: "refused", RetryAt: later, BackingOff: true}, 503, -1, 90 * time.Second, "refused"},
		{"timeout, backing off", failed{Message: "i/o timeout", Timeout: true, RetryAt: later, BackingOff: true}, 503, -1, 90 * time.Second, ""},
		{"backing off for another moment", failed{RetryAt: now.Add(time.Millisecond), BackingOff: true}, 503, -1, time.Second, ""},
		{"backing off until just now", failed{RetryAt: now.Add(-time.Hour), BackingOff: true}, 503, -1, time.Second, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := tc.err.answer(now)
			if p.Status != tc.status || p.Errcode != tc.errcode || p.RetryAfter != tc.retryAfter {
				t.Errorf("status %d, errcode %d, retry after %v", p.Status, p.Errcode, p.RetryAfter)
			}
			if !strings.Contains(p.Message, tc.contains) || !strings.Contains(p.Message, "shop") {
				t.Errorf("message %q does not say %q", p.Message, tc.contains)
			}
		})
	}
}

// SDKs answer these three with another fetch, which would go on without end.
func TestTokenErrorNeverAnswersTokenErrcodes(t *testing.T) {
	for errcode := -1; errcode < 100_000; errcode++ {
		for _, backingOff := range []bool{false, true} {
			p := failed{Errcode: errcode, Message: "x", BackingOff: backingOff}.answer(time.Time{})
			if slices.Contains([]int{0, 40001, 40014, 42001}, p.Errcode) {
				t.Fatalf("errcode %d is answered with %d", errcode, p.Errcode)
			}
			if p.Status < http.StatusInternalServerError {
				t.Fatalf("errcode %d is answered with status %d", errcode, p.Status)
			}
		}
	}
}

// What WeChat or a network has written goes through JSON unharmed.
func TestTokenErrorAnswerIsJSON(t *testing.T) {
	for _, message := range []string{"", `"quoted" \ <b>&`, "line\r\nbreak", "\x00\xff", "中文", strings.Repeat("x", 10_000)} {
		p := failed{Message: message}.answer(time.Time{})
		var got struct{ Errcode int }
		if err := json.Unmarshal(p.Body(), &got); err != nil || got.Errcode != -1 || bytes.ContainsAny(p.Body(), "\r\n\x00") {
			t.Errorf("%q: %q, %v", message, p.Body(), err)
		}
	}
}
