package weixin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestResolveOption(t *testing.T) {
	t.Setenv("WX_GOOD", "wx0123456789abcdef")
	t.Setenv("WX_EMPTY", "")
	for name, value := range map[string]string{
		"WX_QUOTED": `"CANARYcanary0123"`, "WX_SINGLE": `'CANARYcanary0123'`, "WX_HALF": `CANARYcanary0123"`, "WX_CURLY": "“CANARYcanary0123”",
		"WX_CORNER": "「CANARYcanary0123」", "WX_WIDE": "CANARY：canary", "WX_SPACE": "CANARY canary", "WX_WIDE_SPACE": "CANARY　canary", "WX_CJK": "CANARY密",
	} {
		t.Setenv(name, value)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("\ufeffgood-secret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ option, value, want, mentions string }{
		{"appid", "{env.WX_GOOD}", "wx0123456789abcdef", ""},
		{"secret", "{file." + file + "}", "good-secret", ""},
		{"key", "pass phrase “of” $mine", "pass phrase “of” $mine", ""},
		{"key", "pa$$WORD", "pa$$WORD", ""},
		{"url", "redis://:pa$word@h/0", "redis://:pa$word@h/0", ""},
		{"appid", "", "", "{env.…}"},
		{"appid", "{env.WX_EMPTY}", "", "WX_EMPTY"},
		{"url", "redis://:{env.WX_EMPTY}@h/0", "", "environment variable WX_EMPTY"},
		{"secret", "${WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "{WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "$WX_SECRET", "", "{env.WX_SECRET}"},
		{"appid", "$appid", "", "{env.NAME}"},
		{"secret", "{CANARYcanary}", "", "{env.NAME}"},
		{"url", "redis://:{CANARYcanary}@h/0", "", "{env.NAME}"},
		{"secret", "{$WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "{{WX_SECRET}}", "", "{env.WX_SECRET}"},
		{"secret", "{{ .WX_SECRET }}", "", "{env.WX_SECRET}"},
		{"secret", "{ENV.WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "{env:WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "${env.WX_SECRET}", "", "{env.WX_SECRET}"},
		{"secret", "%WX_SECRET%", "", "{env.WX_SECRET}"},
		{"key", "$ORDERS_KEY", "", "{env.ORDERS_KEY}"},
		{"key", "${orders_key}", "", "{env.orders_key}"},
		{"url", "$REDIS_URL", "", "{env.REDIS_URL}"},
		{"url", "redis://:${REDIS_PW}@h/0", "", "{env.REDIS_PW}"},
		{"url", "redis://:$REDIS_PW@h/0", "", "{env.REDIS_PW}"},
		{"url", "redis://$REDIS_HOST:6379/0", "", "{env.REDIS_HOST}"},
		{"secret", "{env.WX_QUOTED}", "", "quotes"},
		{"key", "{env.WX_QUOTED}", "", "quotes"},
		{"url", "{env.WX_SINGLE}", "", "quotes"},
		{"appid", "{env.WX_HALF}", "", "quotes"},
		{"secret", "{env.WX_HALF}", "CANARYcanary0123\"", ""}, // a hub's key
		{"key", "{env.WX_CURLY}", "", "quotes"},
		{"secret", "{env.WX_CORNER}", "", "quotes"},
		{"secret", "{env.WX_WIDE}", "", "full-width"},
		{"appid", "{env.WX_SPACE}", "", "space"},
		{"secret", "{env.WX_SPACE}", "CANARY canary", ""},
		{"secret", "pa$word", "pa$word", ""},
		{"secret", "{env.WX_WIDE_SPACE}", "", "full-width"},
		{"appid", "{env.WX_CJK}", "", "ASCII"},
		{"secret", "{env.WX_CJK}", "CANARY密", ""},
		{"upstream", "https：//api.weixin.qq.com", "", "full-width"},
	} {
		got, err := resolveOption(c.option, c.value)
		if (err == nil) != (c.mentions == "") || err == nil && got != c.want {
			t.Errorf("%s %s: got %q, %v", c.option, c.value, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), c.mentions) || !strings.Contains(err.Error(), c.option)) {
			t.Errorf("%s %s: %v does not mention %s", c.option, c.value, err, c.mentions)
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s %s: the error shows the value: %v", c.option, c.value, err)
		}
	}
}

func TestCheckNotSwapped(t *testing.T) {
	const appID, secret = "wx0123456789abcdef", "0123456789abcdef0123456789ABCDEF"
	for _, c := range []struct {
		appID, secret string
		ok            bool
	}{
		{appID, secret, true},
		{secret, appID, false},
		{secret, secret, true}, // nothing is certain
		{appID, appID, true},
		{"wx1", "x", true},
	} {
		if err := checkNotSwapped(c.appID, c.secret); (err == nil) != c.ok {
			t.Errorf("%s, %s: %v", c.appID, c.secret, err)
		}
	}
}

// Every option has a form, and the form is right.
func TestOptionForms(t *testing.T) {
	for _, c := range []struct {
		target any
		forms  optionForms
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

// A configuration's positions are found by it, however its JSON is written, and
// by no other.
func TestPositions(t *testing.T) {
	keepPositions([]byte(`{"a":{"b":1,"c":2}}`), positions{{"account shop", "appid"}: "Caddyfile:1"})
	for config, want := range map[string]string{
		"{\n\"a\": {\"c\": 2, \"b\": 1}}": ", at Caddyfile:1",
		`{"a":{"b":1,"c":3}}`:             "",
		`no JSON`:                         "",
	} {
		if got := positionsOf([]byte(config)).of("account shop", "appid"); got != want {
			t.Errorf("%s: got %q", config, got)
		}
	}
	for range adaptedMax {
		keepPositions([]byte("{}"), nil)
	}
	if positionsOf([]byte(`{"a":{"b":1,"c":2}}`)) == nil {
		t.Error("a configuration that was adapted again took another's place")
	}
}
