package weixin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

// Every option has a form, and the form is right.
func TestOptionForms(t *testing.T) {
	for _, c := range []struct {
		target any
		forms  option.Forms
	}{
		{new(App), appForms},
		{new(AccountConfig), accountForms},
		{new(APISecurityConfig), apiSecurityForms},
		{new(CallerConfig), callerForms},
		{new(Handler), handlerForms},
		{new(Transport), transportForms},
		{new(StatusPage), statusPageForms},
		{new(HealthCheck), healthForms},
		{new(JSSDK), jssdkForms},
		{new(MirrorConfig), mirrorForms},
	} {
		names := jsonNames(reflect.TypeOf(c.target).Elem())
		for _, name := range names {
			if c.forms[name] == "" {
				t.Errorf("%T: %s has no form", c.target, name)
			}
		}
		if len(names) != len(c.forms) {
			t.Errorf("%T: %d options, %d forms", c.target, len(names), len(c.forms))
		}
		for name, form := range c.forms {
			if err := json.Unmarshal([]byte(`{"`+name+`":`+form+`}`), c.target); err != nil {
				t.Errorf("%T: %v", c.target, err)
			}
			for _, wrong := range []string{`[[1]]`, `true`, `1.5`, `"CANARY"`, `["CANARY",1]`, `[{}]`} {
				fresh := reflect.New(reflect.TypeOf(c.target).Elem()).Interface()
				err := json.Unmarshal([]byte(`{"`+name+`":`+wrong+`}`), fresh)
				if err == nil {
					continue // it may be right
				}
				if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "CANARY") {
					t.Errorf("%T: %s in place of %s: %v", c.target, wrong, form, err)
				}
			}
		}
	}
}

func jsonNames(typ reflect.Type) []string {
	var names []string
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			names = append(names, jsonNames(field.Type)...)
		case name != "":
			names = append(names, name)
		}
	}
	return names
}

func TestDecodeOptions(t *testing.T) {
	for _, c := range []struct {
		target   any
		data     string
		mentions []string
	}{
		{new(Handler), `{"body_limit":"128MiB"}`, []string{`"body_limit": 134217728`}},
		{new(Handler), `{"timeout":"soon"}`, []string{`"timeout": "30s"`}},
		{new(Handler), `{"allow_ips":"10.0.0.0/8"}`, []string{`"allow_ips": ["10.0.0.0/8"]`}},
		{new(Handler), `{"bodylimit":1}`, []string{"unknown option bodylimit", "body_limit"}},
		{new(Handler), `[]`, []string{"object"}},
		{new(App), `{"accounts":[{"name":"shop"}]}`, []string{`"accounts": {"shop"`}},
		{new(App), `{"accounts":{"shop":{"appid":["wx1"]}}}`, []string{"account shop", `"appid": "{env.WEIXIN_APPID}"`}},
		{new(App), `{"accounts":{"shop":"wx1"}}`, []string{"account shop", "object"}},
		{new(App), `{"callers":{"orders":{"key":1}}}`, []string{"caller orders", `"key": "{env.ORDERS_KEY}"`}},
		{new(App), `{"callers":{"orders":{"allow":"/x"}}}`, []string{"caller orders", `"allow": ["/cgi-bin/message/*"]`}},
		{new(App), `{"store":"redis"}`, []string{`"store": {"module": "storage"}`}},
		{new(StatusPage), `{"read_only":"yes"}`, []string{`"read_only": true`}},
	} {
		err := caddy.StrictUnmarshalJSON([]byte(c.data), c.target)
		if err == nil {
			t.Errorf("%s is accepted", c.data)
			continue
		}
		for _, m := range c.mentions {
			if !strings.Contains(err.Error(), m) {
				t.Errorf("%s: %q is not mentioned: %v", c.data, m, err)
			}
		}
	}
}
