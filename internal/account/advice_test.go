package account

import (
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// What a hub refuses is about its caller's key, whatever the errcode is.
func TestAdviceAboutAHub(t *testing.T) {
	for _, kind := range wechat.Kinds {
		for _, errcode := range []int{wechat.InvalidCredential, wechat.InvalidAppSecret, wechat.SystemBusy} {
			errmsg := OwnErrorPrefix + "the secret is no caller's key"
			if got := FailureAdvice(kind, errcode, errmsg, wechat.English); !strings.Contains(got, "caller's key") {
				t.Errorf("%s, %d: %s", kind.Name, errcode, got)
			}
			if got := FailureAdvice(kind, errcode, errmsg, wechat.Chinese); !strings.Contains(got, "调用方密钥") {
				t.Errorf("%s, %d: %s", kind.Name, errcode, got)
			}
		}
		errmsg := OwnErrorPrefix + (&TokenError{&Account{Name: "shop"}, &credential.UnavailableError{}}).Error()
		if got := FailureAdvice(kind, wechat.InvalidAppSecret, errmsg, wechat.English); strings.Contains(got, "key") || !strings.Contains(got, "hub's status") {
			t.Errorf("%s, a hub without a token: %s", kind.Name, got)
		}
		if got := FailureAdvice(kind, wechat.InvalidCredential, "invalid credential", wechat.English); strings.Contains(got, "caddy-weixin") || got == "" {
			t.Errorf("%s itself: %s", kind.Name, got)
		}
	}
}
