package weixin

import (
	"reflect"
	"strings"
	"testing"

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
func TestStatusTextsAreComplete(t *testing.T) {
	english := reflect.ValueOf(statusTexts[wechat.English])
	for lang := range statusTexts {
		text := reflect.ValueOf(statusTexts[lang])
		for i := range text.NumField() {
			name, field := text.Type().Field(i).Name, text.Field(i)
			switch field.Kind() {
			case reflect.String:
				if field.Len() == 0 {
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
	for refusal := refusedAddress; refusal <= refusedInternal; refusal++ {
		if statusTexts[wechat.English].refusals[refusal] == "" {
			t.Errorf("refusal %d has no text", refusal)
		}
	}
}

func TestBars(t *testing.T) {
	counts := make([]int, 30)
	if got := bars(counts, 0, 1); got != "" {
		t.Errorf("got %s for nothing", got)
	}
	counts[0], counts[29] = 1, 2
	if got, want := bars(counts, 2, -1), "M2 13v-4M118 13v-8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	counts[29] = 1000
	if got, want := bars(counts, 1000, 1), "M2 13v2M118 13v12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
