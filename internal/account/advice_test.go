package account

import (
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A hub is asked again soon, and does not count as WeCom does, which blocks
// addresses.
func TestRefusalOfAHub(t *testing.T) {
	for _, kind := range wechat.Kinds {
		a := newAccount("shop", kind, "id", "the secret of it")
		hub := a.refusal(&wechat.Error{Code: wechat.InvalidCredential, Msg: OwnErrorPrefix + "the secret is no caller's key"})
		if hub.Class != credential.Transient || !hub.Uncounted || hub.Errcode != wechat.InvalidCredential {
			t.Errorf("%s, a hub: %+v", kind.Name, hub)
		}
		own := a.refusal(&wechat.Error{Code: wechat.InvalidCredential, Msg: "invalid credential the secret of it"})
		if own.Class != credential.Configuration || own.Uncounted || strings.Contains(own.Message, "the secret of it") {
			t.Errorf("%s itself: %+v", kind.Name, own)
		}
	}
}

// What tells of a loop is about where upstream leads, whoever has found it.
func TestAdviceAboutALoop(t *testing.T) {
	for _, kind := range wechat.Kinds {
		for errcode, errmsg := range map[int]string{0: upstream.ErrLoop.Error(), wechat.SystemBusy: OwnErrorPrefix + upstream.ErrNestedFetch.Error()} {
			for _, lang := range []wechat.Language{wechat.English, wechat.Chinese} {
				got := FailureAdvice(kind, errcode, errmsg, lang)
				if !strings.Contains(got, "upstream") || !strings.Contains(got, "resolver") || strings.Contains(got, "AppSecret") || strings.Contains(got, "token") {
					t.Errorf("%s, %s: %s", kind.Name, errmsg, got)
				}
			}
		}
	}
}

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

// Whoever waits because others have failed is not told that its network is broken.
func TestAdviceWhereTheBudgetIsSpent(t *testing.T) {
	for lang, words := range map[wechat.Language]string{wechat.English: "accounts right that fail", wechat.Chinese: "出错的账号"} {
		if got := FailureAdvice(wechat.WeCom, 0, credential.BudgetSpent, lang); !strings.Contains(got, words) {
			t.Errorf("got %s", got)
		}
	}
}
