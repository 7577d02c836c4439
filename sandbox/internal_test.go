package sandbox

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Every path of KindOf that takes no account token needs a route, since only
// with an account's token a path may be unknown.
func TestPathsWithoutAccountToken(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/clear_quota/v2", "/sns/jscode2session",
		"/sns/oauth2/access_token", "/sns/oauth2/refresh_token", "/sns/userinfo", "/sns/auth",
		"/cgi-bin/component/x", "/sns/component/x",
	} {
		if wechat.KindOf(path) == wechat.AccountToken {
			t.Errorf("%s takes an account's token", path)
		}
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
}

func TestStableDayQuota(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, now := s.accounts[0], time.Now()
	day := a.stable.quotas[1]
	if day.limit != 500_000 {
		t.Fatalf("the day's quota is %d, want 500,000", day.limit)
	}
	day.current, day.used = beijingDay(now), day.limit-1
	if _, err := a.nextStable(now, false); err != nil {
		t.Error(err)
	}
	if _, err := a.nextStable(now, false); !isErrcode(err, wechat.QuotaExhausted) {
		t.Errorf("beyond the quota: %v", err)
	}
}

func isErrcode(err error, errcode int) bool {
	refused, ok := err.(*wechat.Error)
	return ok && refused.Code == errcode
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent[int](3)
	for i := range 100 {
		r.add(strconv.Itoa(i), i)
	}
	if _, ok := r.get("96"); ok || len(r.entries) != 3 || len(r.order) != 3 {
		t.Errorf("%d entries", len(r.entries))
	}
	if v, ok := r.get("97"); !ok || v != 97 {
		t.Error("one of the latest is gone")
	}
}
