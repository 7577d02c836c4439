package weixin

import (
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A cause is told as long as it is one: between two attempts too, and not when a
// token has followed.
func TestAdviceWhileFailing(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		status AccountStatus
		want   bool
	}{
		"backing off":                {AccountStatus{kind: wechat.Official, State: credential.BackOff, LastError: &StatusError{At: now}}, true},
		"backing off with a token":   {AccountStatus{kind: wechat.Official, State: credential.BackOff, LastError: &StatusError{At: now}, Usable: true}, true},
		"between two attempts":       {AccountStatus{kind: wechat.Official, State: credential.Renewing, LastError: &StatusError{At: now}}, true},
		"renewing ahead":             {AccountStatus{kind: wechat.Official, State: credential.Renewing, LastError: &StatusError{At: now}, Usable: true}, false},
		"renewing, history":          {AccountStatus{kind: wechat.Official, State: credential.Renewing, LastError: &StatusError{At: now}, FetchedAt: now.Add(time.Hour)}, false},
		"renewing for the first":     {AccountStatus{kind: wechat.Official, State: credential.Renewing}, false},
		"a token, and it is history": {AccountStatus{kind: wechat.Official, State: credential.OK, LastError: &StatusError{At: now}, Usable: true}, false},
	} {
		if got := c.status.advice(wechat.English) != ""; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
