package statuspage

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestPreferredLanguage(t *testing.T) {
	for accept, want := range map[string]wechat.Language{
		"":                              wechat.English,
		"*":                             wechat.English,
		"en":                            wechat.English,
		"zh":                            wechat.Chinese,
		"ZH-hant-TW":                    wechat.Chinese,
		"zh-CN,zh;q=0.9,en;q=0.8":       wechat.Chinese,
		"en-GB,en;q=0.9,zh-CN;q=0.8":    wechat.English,
		"fr-FR, de ; q=0.9, zh; q = .5": wechat.Chinese,
		"zh;q=0.5, en;q=0.7":            wechat.English,
		"zh;q=0":                        wechat.English,
		"zh;q=much, en":                 wechat.English,
		"zhx":                           wechat.English,
	} {
		if got := preferredLanguage(accept); got != want {
			t.Errorf("%q: got %d, want %d", accept, got, want)
		}
	}
}

// Both languages say everything.
func TestTextsAreComplete(t *testing.T) {
	english := reflect.ValueOf(texts[wechat.English])
	for lang := range texts {
		text := reflect.ValueOf(texts[lang])
		for i := range text.NumField() {
			name, field := text.Type().Field(i).Name, text.Field(i)
			switch field.Kind() {
			case reflect.String:
				if field.Len() == 0 && name != "space" { // Chinese has none between sentences
					t.Errorf("language %d has no %s", lang, name)
				}
				if got, want := strings.Count(field.String(), "%"), strings.Count(english.Field(i).String(), "%"); got != want {
					t.Errorf("language %d has %d values in %s, not %d", lang, got, name, want)
				}
			case reflect.Map:
				if field.Len() != english.Field(i).Len() {
					t.Errorf("language %d has %d of %d %s", lang, field.Len(), english.Field(i).Len(), name)
				}
			default:
				t.Errorf("nothing checks %s", name)
			}
		}
	}
	for _, state := range credential.States {
		if texts[wechat.English].words[state] == "" {
			t.Errorf("state %s has no word", state)
		}
	}
	for reason := RefusedAddress; reason <= refusedInternal; reason++ {
		if texts[wechat.English].refusals[reason] == "" {
			t.Errorf("refusal %d has no text", reason)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 500_000: "500,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d: got %s", n, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		time.Second:                 {"1 s", "1 秒"},
		59 * time.Second:            {"59 s", "59 秒"},
		time.Minute:                 {"1 min 0 s", "1 分钟 0 秒"},
		4*time.Minute + 58e9:        {"4 min 58 s", "4 分钟 58 秒"},
		7*time.Hour + 3*time.Minute: {"7 h 3 min", "7 小时 3 分钟"},
	} {
		for lang := range texts {
			if got := texts[lang].duration(d); got != want[lang] {
				t.Errorf("%v: got %s, want %s", d, got, want[lang])
			}
		}
	}
}

// A refusal of the button names what can be done, and a network failure has no
// errcode.
func TestTooEarly(t *testing.T) {
	unreachable := &Failure{Message: "dial tcp: connection refused", Advice: "Check it."}
	for _, c := range []struct {
		is   Renewal
		lang wechat.Language
		want string
	}{
		{Renewal{Refused: credential.TooSoon}, wechat.English, "This account was refreshed a moment ago: try again in 9 s."},
		{Renewal{Refused: credential.TooSoon}, wechat.Chinese, "该账号刚刚刷新过：请在 9 秒后再试。"},
		{
			Renewal{Refused: credential.BackingOff, Failure: unreachable},
			wechat.English,
			"WeChat has given no token, and is asked again in 9 s. Once the cause is cured, “caddy weixin refresh shop” asks at once. Unreachable: dial tcp: connection refused Check it.",
		},
		{
			Renewal{Refused: credential.BackingOff, Failure: &Failure{Errcode: 40164, Message: "invalid ip", Advice: "Add it."}},
			wechat.Chinese,
			"微信没有返回 token，9 秒后才会再次获取。排除原因后，可用“caddy weixin refresh shop”立即获取。错误 40164：invalid ip Add it.",
		},
	} {
		if got := texts[c.lang].tooEarlyMessage("shop", &c.is, 9*time.Second); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	for lang := range texts {
		for reason := range texts[lang].tooEarly {
			is := Renewal{Refused: reason}
			if got := texts[lang].tooEarlyMessage("shop", &is, time.Hour); strings.Contains(got, "%") {
				t.Errorf("got %s", got)
			}
		}
	}
}

// How many authorizers there are is left out where the store does not tell.
func TestAuthorizers(t *testing.T) {
	for lang, want := range map[wechat.Language][2]string{
		wechat.English: {"Accounts that have authorised it: 20,000 · in memory: 7", "in memory: 7"},
		wechat.Chinese: {"已授权账号：20,000 个 · 内存中：7 个", "内存中：7 个"},
	} {
		for i, known := range []int{20_000, -1} {
			if got := texts[lang].Authorizers(&Platform{Known: known, InMemory: 7}); got != want[i] {
				t.Errorf("got %s, want %s", got, want[i])
			}
		}
	}
}
