package option

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
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
		got, err := Resolve(c.option, c.value)
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
		if err := CheckNotSwapped(c.appID, c.secret); (err == nil) != c.ok {
			t.Errorf("%s, %s: %v", c.appID, c.secret, err)
		}
	}
}

// A configuration's positions are found by it, however its JSON is written, and
// by no other.
func TestPositions(t *testing.T) {
	KeepPositions([]byte(`{"a":{"b":1,"c":2}}`), Positions{{"account shop", "appid"}: "Caddyfile:1"})
	for config, want := range map[string]string{
		"{\n\"a\": {\"c\": 2, \"b\": 1}}": ", at Caddyfile:1",
		`{"a":{"b":1,"c":3}}`:             "",
		`no JSON`:                         "",
	} {
		if got := PositionsOf([]byte(config)).Of("account shop", "appid"); got != want {
			t.Errorf("%s: got %q", config, got)
		}
	}
	for range adaptedMax {
		KeepPositions([]byte("{}"), nil)
	}
	if PositionsOf([]byte(`{"a":{"b":1,"c":2}}`)) == nil {
		t.Error("a configuration that was adapted again took another's place")
	}
}
