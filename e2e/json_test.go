package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with a configuration that was written by hand as JSON is said
// with the option's name and form.
func TestJSONByHand(t *testing.T) {
	t.Parallel()
	const accounts = `"accounts":{"shop":{"appid":"wx1","secret":"{env.SHOP_SECRET}"}}`
	config := func(app, handler string) string {
		return `{"admin":{"disabled":true},"apps":{"weixin":{` + app + `},"http":{"servers":{"x":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` + handler + `]}]}}}}}`
	}
	handler := func(options string) string { return `{"handler":"weixin"` + options + `}` }
	for _, c := range []struct {
		name, json string
		mentions   []string
	}{
		{"as it should be", config(accounts, handler(`,"timeout":"10s","body_limit":1000,"hosts":["wx.example.com"]`)), nil},
		{"a text for a number", config(accounts, handler(`,"body_limit":"128MiB"`)), []string{`"body_limit": 134217728`}},
		{"a text for a list", config(accounts, handler(`,"allow_ips":"10.0.0.0/8"`)), []string{`"allow_ips": ["10.0.0.0/8"]`}},
		{"no duration", config(accounts, handler(`,"timeout":"a while"`)), []string{`"timeout": "30s"`}},
		{"a list for a map", config(`"accounts":[{"name":"shop"}]`, handler("")), []string{`"accounts": {"shop":`}},
		{"a list for a caller's key", config(accounts+`,"callers":{"orders":{"key":["k"]}}`, handler("")), []string{"caller orders", `"key": "{env.ORDERS_KEY}"`}},
		{"a misspelt option", config(accounts, handler(`,"body_limt":1`)), []string{"unknown option body_limt", "body_limit"}},
		{"a misspelt option of an account", config(`"accounts":{"shop":{"app_id":"wx1"}}`, handler("")), []string{"account shop", "unknown option app_id", "appid"}},
		{"a text for a store", config(accounts+`,"store":"redis"`, handler("")), []string{`"store": {"module": "storage"}`}},
		{"no such store", config(accounts+`,"store":{"module":"memcached"}`, handler("")), []string{"write store storage or store redis"}},
		{"a variable that is not set", config(accounts+`,"store":{"module":"redis","url":"{env.REDIS_URL}"}`, handler("")), []string{"environment variable REDIS_URL"}},
		{"a shell's variable", config(`"accounts":{"shop":{"appid":"wx1","secret":"${SHOP_SECRET}"}}`, handler("")), []string{"account shop", "{env.SHOP_SECRET}"}},
		{"a short key", config(accounts+`,"callers":{"orders":{"key":"short"}}`, handler("")), []string{"caller orders", "16"}},
		{"a header that stays", config(accounts, handler(`,"forward_headers":["Authorization"]`)), []string{"Authorization"}},
		{"a host with a port", config(accounts, handler(`,"hosts":["wx.example.com:80"]`)), []string{"without scheme"}},
		{"a round tripper that is gone", config(accounts, handler(`,"round_tripper":"http2"`)), []string{"write http1 or net_http"}},
		{"the page, a text for a truth", config(accounts, `{"handler":"weixin_status","read_only":"yes"}`), []string{`"read_only": true`}},
		{"the transport, a number for a list", config(accounts, `{"handler":"reverse_proxy","upstreams":[{"dial":"127.0.0.1:1"}],"transport":{"protocol":"weixin","hosts":1}}`), []string{`"hosts": ["wx.example.com"]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "caddy.json")
			if err := os.WriteFile(file, []byte(c.json), 0o600); err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, []string{"SHOP_SECRET=secret-of-the-shop", "REDIS_URL="}, "validate", "--config", file)
			if ok != (c.mentions == nil) {
				t.Fatalf("accepted: %v: %s", ok, out)
			}
			failure := strings.ReplaceAll(out, `\"`, `"`) // a log line
			for _, m := range c.mentions {
				if !strings.Contains(failure, m) {
					t.Errorf("%q is not mentioned: %s", m, failure)
				}
			}
		})
	}
}
