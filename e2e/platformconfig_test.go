package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	componentID     = "wx00000000000000c1"
	componentSecret = "secret-of-the-component-0123456789"
	pushToken       = "TokenOfThePushes"
	pushAESKey      = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
)

// componentSecrets are what no log line and no output has.
var componentSecrets = []string{componentSecret, pushToken, pushAESKey}

var componentEnv = []string{
	"COMPONENT_APPID=" + componentID, "COMPONENT_SECRET=" + componentSecret, "COMPONENT_TOKEN=" + pushToken, "COMPONENT_AES_KEY=" + pushAESKey,
	"APP_KEY=the-key-of-the-app", "HEX_SECRET=0123456789abcdef0123456789abcdef", "AES_KEY_WITH_PADDING=" + pushAESKey + "=", "FORWARD=http://127.0.0.1:9000/events?a=b",
}

// platformLines are the options that a platform needs.
var platformLines = []string{
	"appid {env.COMPONENT_APPID}", "secret {env.COMPONENT_SECRET}", "push_token {env.COMPONENT_TOKEN}", "push_aes_key {env.COMPONENT_AES_KEY}",
}

// platformNamed is a platform in the global option. It has 6 lines, and one more
// for each further option.
func platformNamed(name string, options ...string) string {
	return "platform " + name + " {\n" + strings.Join(slices.Concat(platformLines, options), "\n") + "\n}\n"
}

// platformWith is a platform one of whose options is another.
func platformWith(i int, line string) string {
	lines := slices.Clone(platformLines)
	lines[i] = line
	return "platform isv {\n" + strings.Join(lines, "\n") + "\n}\n"
}

const otherAccount = "account shop {\nappid wx0000000000000001\nsecret {env.HEX_SECRET}\n}\n"

// What is wrong with a platform is said with the line and what to write. The
// platform begins in line 3, and so its options in line 4.
func TestPlatformValidateRefuses(t *testing.T) {
	const site = "weixin\nweixin_callback /callback\n"
	isv := platformNamed("isv")
	caller := func(accounts string) string { return "caller app {\nkey {env.APP_KEY}\naccounts " + accounts + "\n}\n" }
	for name, c := range map[string]struct {
		global, site string
		line         int
		mentions     []string
	}{
		"right":                       {isv, site, 0, nil},
		"with everything":             {platformNamed("isv", "upstream https://api2.weixin.qq.com", "resolver 223.5.5.5", "issue real", "authorizers_in_memory 1000"), site, 0, nil},
		"beside an account":           {isv + otherAccount, "weixin shop\nweixin_callback /a isv\n@b path /b\nweixin_jssdk @b {\nhosts a.example\n}\n", 0, nil},
		"literally":                   {"platform isv {\nappid " + componentID + "\nsecret " + componentSecret + "\npush_token " + pushToken + "\npush_aes_key " + pushAESKey + "\n}\n", site, 0, nil},
		"one merchant by name":        {isv + otherAccount, "weixin isv:wx0123456789abcdef\n", 0, nil},
		"served by name":              {isv + otherAccount, "weixin isv\nweixin_capture isv\nweixin_status /s\nweixin_health /h\n", 0, nil},
		"below reverse_proxy":         {isv + otherAccount, "reverse_proxy https://api.weixin.qq.com {\ntransport weixin isv\n}\n", 0, nil},
		"callers":                     {isv + otherAccount + caller("shop isv isv:* isv:wx0123456789abcdef"), site, 0, nil},
		"no name":                     {"platform {\nappid x\n}\n", site, 3, []string{"platform needs a name"}},
		"a name with a colon":         {platformNamed("isv:a"), site, 3, []string{"isv:a", "without a colon"}},
		"an account's name":           {otherAccount + platformNamed("shop"), site, 7, []string{"shop", "name of its own"}},
		"a platform's name":           {platformNamed("shop") + otherAccount, site, 9, []string{"shop", "name of its own"}},
		"twice":                       {isv + isv, site, 9, []string{"isv", "twice"}},
		"no appid":                    {platformWith(0, ""), site, 8, []string{"isv", "appid {env.COMPONENT_APPID}"}},
		"no secret":                   {platformWith(1, ""), site, 8, []string{"isv", "secret {env.COMPONENT_SECRET}"}},
		"no push_token":               {platformWith(2, ""), site, 8, []string{"isv", "push_token {env.COMPONENT_TOKEN}"}},
		"no push_aes_key":             {platformWith(3, ""), site, 8, []string{"isv", "push_aes_key {env.COMPONENT_AES_KEY}"}},
		"an empty appid":              {platformWith(0, "appid {env.NOT_SET}"), site, 4, []string{"isv", "NOT_SET", "--envfile"}},
		"an empty secret":             {platformWith(1, "secret {env.NOT_SET}"), site, 5, []string{"isv", "NOT_SET"}},
		"an empty push_token":         {platformWith(2, "push_token {env.NOT_SET}"), site, 6, []string{"isv", "NOT_SET"}},
		"a missing file":              {platformWith(3, "push_aes_key {file./does/not/exist}"), site, 7, []string{"isv", "/does/not/exist"}},
		"a shell's variable":          {platformWith(2, "push_token $COMPONENT_TOKEN"), site, 6, []string{"{env.COMPONENT_TOKEN}"}},
		"a variable's name":           {platformWith(3, "push_aes_key COMPONENT_AES_KEY"), site, 7, []string{"{env.COMPONENT_AES_KEY}"}},
		"a path":                      {platformWith(3, "push_aes_key /run/secrets/key"), site, 7, []string{"{file./run/secrets/key}"}},
		"a short key":                 {"platform isv {\nappid wx1\nsecret x\npush_token t\npush_aes_key abc\n}\n", site, 7, []string{"push_aes_key", "3 characters instead of 43"}},
		"a key with padding":          {platformWith(3, "push_aes_key {env.AES_KEY_WITH_PADDING}"), site, 7, []string{"push_aes_key", "44 characters instead of 43", "without ="}},
		"token and key swapped":       {"platform isv {\nappid wx1\nsecret x\npush_token " + pushAESKey + "\npush_aes_key " + pushToken + "\n}\n", site, 7, []string{"swapped"}},
		"token and key swapped, too":  {"platform isv {\nappid wx1\nsecret x\npush_token {env.COMPONENT_AES_KEY}\npush_aes_key {env.COMPONENT_TOKEN}\n}\n", site, 7, []string{"swapped"}},
		"appid and secret swapped":    {"platform isv {\nappid {env.HEX_SECRET}\nsecret {env.COMPONENT_APPID}\npush_token {env.COMPONENT_TOKEN}\npush_aes_key {env.COMPONENT_AES_KEY}\n}\n", site, 4, []string{"isv", "swapped"}},
		"an original ID":              {platformWith(0, "appid gh_0123456789ab"), site, 4, []string{"isv", "original ID"}},
		"an appid twice":              {isv + "platform b {\nappid {env.COMPONENT_APPID}\nsecret x\npush_token {env.COMPONENT_TOKEN}\npush_aes_key {env.COMPONENT_AES_KEY}\n}\n", site, 10, []string{"platform isv", "appid of its own"}},
		"an appid twice, resolved":    {isv + "platform b {\nappid " + componentID + "\nsecret x\npush_token {env.COMPONENT_TOKEN}\npush_aes_key {env.COMPONENT_AES_KEY}\n}\n", "weixin\nweixin_callback b\n", 4, []string{"platform isv", componentID, "platform b"}},
		"an account's appid":          {otherAccount + platformWith(0, "appid wx0000000000000001"), site, 8, []string{"account shop", "appid of its own"}},
		"an account's appid, too":     {isv + "account shop {\nappid {env.COMPONENT_APPID}\nsecret x\n}\n", site, 10, []string{"platform isv", "appid of its own"}},
		"an account's, resolved":      {isv + "account shop {\nappid " + componentID + "\nsecret x\n}\n", site, 4, []string{"platform isv", "account shop"}},
		"a kind of an account":        {"account isv {\nkind platform\nappid wx1\nsecret x\n}\n", site, 4, []string{"write platform <name>"}},
		"kind":                        {platformNamed("isv", "kind official"), site, 8, []string{"kind", "leave it out"}},
		"token":                       {platformNamed("isv", "token stable"), site, 8, []string{"token", "leave it out", "push_token"}},
		"corpid":                      {platformNamed("isv", "corpid ww1"), site, 8, []string{"corpid", "appid {env.COMPONENT_APPID}"}},
		"agentid":                     {platformNamed("isv", "agentid 1"), site, 8, []string{"agentid", "leave it out"}},
		"tickets":                     {platformNamed("isv", "tickets kept"), site, 8, []string{"tickets", "leave it out"}},
		"mirror":                      {platformNamed("isv", "mirror wxjava redis://127.0.0.1"), site, 8, []string{"mirror", "leave it out"}},
		"api_security":                {platformNamed("isv", "api_security {", "}"), site, 8, []string{"api_security", "leave it out"}},
		"unknown option":              {platformNamed("isv", "aes_key x"), site, 8, []string{"option aes_key of platform isv", "appid, secret, push_token, push_aes_key, upstream, issue, resolver, authorizers_in_memory"}},
		"an option twice":             {platformNamed("isv", "push_token x"), site, 8, []string{"push_token", "twice"}},
		"a platform's in an account":  {"account shop {\nappid wx1\npush_token CANARY\n}\n", site, 5, []string{"option push_token of account shop", "platform <name>"}},
		"unknown way to issue":        {platformNamed("isv", "issue some"), site, 8, []string{"virtual, real or off"}},
		"no number":                   {platformNamed("isv", "authorizers_in_memory many"), site, 8, []string{"many", "authorizers_in_memory 100000"}},
		"a negative number":           {platformNamed("isv", "authorizers_in_memory -1"), site, 8, []string{"authorizers_in_memory 100000"}},
		"a number with a unit":        {platformNamed("isv", "authorizers_in_memory 100k"), site, 8, []string{"100k"}},
		"too large a number":          {platformNamed("isv", "authorizers_in_memory 99999999999"), site, 8, []string{"10000000"}},
		"an upstream that is none":    {platformNamed("isv", "upstream api.weixin.qq.com"), site, 8, []string{"https://api.weixin.qq.com"}},
		"an upstream with cgi-bin":    {platformNamed("isv", "upstream https://api.weixin.qq.com/cgi-bin"), site, 8, []string{"/cgi-bin"}},
		"a resolver that is none":     {platformNamed("isv", "resolver dns.example"), site, 8, []string{"223.5.5.5"}},
		"a resolver resolved":         {platformNamed("isv", "resolver {env.APP_KEY}"), site, 8, []string{"isv", "223.5.5.5"}},
		"nothing at all":              {"", site, 3, []string{"account <name>", "platform <name>"}},
		"a caller's unknown account":  {isv + caller("isw"), site, 11, []string{"isw", "isv"}},
		"a caller's unknown platform": {isv + caller("isw:*"), site, 11, []string{"isw:*", "isv"}},
		"an account with a colon":     {isv + otherAccount + caller("shop:wx0123456789abcdef"), site, 15, []string{"shop", "no platform"}},
		"nothing behind the colon":    {isv + caller("isv:"), site, 11, []string{"isv:*"}},
		"a part of an appid":          {isv + caller("isv:wx*"), site, 11, []string{"'*'"}},
		"the component's secret":      {isv + "caller app {\nkey {env.COMPONENT_SECRET}\n}\n", site, 10, []string{"AppSecret of platform isv"}},
		"the directive's name":        {isv + otherAccount, "weixin isw\n", 16, []string{"isw", "isv", "shop"}},
		"a JS-SDK for a platform":     {isv + otherAccount, "weixin_jssdk isv {\nhosts a.example\n}\n", 18, []string{"isv is a platform"}},
		"a callback without platform": {otherAccount, "weixin_callback\n", 10, []string{"platform <name>"}},
		"a callback of several":       {isv + strings.ReplaceAll(strings.ReplaceAll(platformNamed("b"), "isv", "b"), "{env.COMPONENT_APPID}", "wx2"), "weixin_callback /x\n", 18, []string{"b, isv"}},
		"a callback's unknown name":   {isv, "weixin_callback /x isw\n", 12, []string{"isw", "isv"}},
		"a callback by the request":   {isv, "weixin_callback {http.request.host}\n", 12, []string{"depend on the request"}},
		"a callback for two":          {isv, "weixin_callback isv b\n", 12, []string{"one platform"}},
		"a matcher behind the name":   {isv, "weixin_callback isv /x\n", 12, []string{"weixin_callback /x isv"}},
		"a callback's option":         {isv, "weixin_callback {\nupstream x\n}\n", 13, []string{"option upstream of weixin_callback", "write forward"}},
		"forward of the proxy":        {isv, "weixin {\nforward http://127.0.0.1\n}\n", 13, []string{"belongs into the directive weixin_callback"}},
		"forward without value":       {isv, "weixin_callback {\nforward\n}\n", 13, []string{"forward http://127.0.0.1:9000"}},
		"forward twice":               {isv, "weixin_callback {\nforward http://a/\nforward http://b/\n}\n", 14, []string{"twice"}},
		"forward without scheme":      {isv, "weixin_callback {\nforward 127.0.0.1:9000\n}\n", 13, []string{"scheme and host"}},
		"forward with another scheme": {isv, "weixin_callback {\nforward ftp://a/\n}\n", 13, []string{"scheme and host"}},
		"forward with a query":        {isv, "weixin_callback {\nforward http://a/?b=c\n}\n", 13, []string{"query"}},
		"forward with an empty query": {isv, "weixin_callback {\nforward http://a/?\n}\n", 13, []string{"query"}},
		"forward with a password":     {isv, "weixin_callback {\nforward http://a:CANARY@b/\n}\n", 13, []string{"password"}},
		"forward with a fragment":     {isv, "weixin_callback {\nforward \"http://a/#b\"\n}\n", 13, []string{"fragment"}},
		"forward with a wrong port":   {isv, "weixin_callback {\nforward http://a:99999/\n}\n", 13, []string{"port"}},
		"forward that is not set":     {isv, "weixin_callback {\nforward {env.NOT_SET}\n}\n", 13, []string{"NOT_SET"}},
		"forward resolved":            {isv, "weixin_callback {\nforward {env.FORWARD}\n}\n", 13, []string{"query"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := "{\nweixin {\n" + c.global + "}\n}\n:8080 {\n" + c.site + "}\n"
			out := validate(t, text, c.line, componentEnv)
			for _, m := range c.mentions {
				if !strings.Contains(out, m) {
					t.Errorf("%q is not mentioned: %s", m, out)
				}
			}
			for _, secret := range append(slices.Clone(componentSecrets), "CANARY", "0123456789abcdef0123456789abcdef") {
				if strings.Contains(out, secret) && !strings.Contains(text, secret) {
					t.Errorf("a secret is shown: %s", out)
				}
			}
		})
	}
}

// The same as JSON.
func TestPlatformInJSON(t *testing.T) {
	const good = `"appid":"{env.COMPONENT_APPID}","secret":"{env.COMPONENT_SECRET}","push_token":"{env.COMPONENT_TOKEN}","push_aes_key":"{env.COMPONENT_AES_KEY}"`
	for name, c := range map[string]struct {
		platforms, callback string
		mentions            []string
	}{
		"right":                {`{"isv":{` + good + `,"upstream":"https://a.example","resolver":"1.1.1.1","issue":"off","authorizers_in_memory":5}}`, `"platform":"isv","forward":"http://127.0.0.1:9000/x"`, nil},
		"a list":               {`[{"name":"isv"}]`, ``, []string{`"platforms": {"isv":`}},
		"an unknown option":    {`{"isv":{"token":"x"}}`, ``, []string{"platform isv", "unknown option token", "push_token"}},
		"a text for a number":  {`{"isv":{` + good + `,"authorizers_in_memory":"many"}}`, ``, []string{`"authorizers_in_memory": 100000`}},
		"a negative number":    {`{"isv":{` + good + `,"authorizers_in_memory":-1}}`, ``, []string{"authorizers_in_memory -1", "leave it out"}},
		"nothing of it":        {`{"isv":null}`, ``, []string{"platform isv", "appid"}},
		"a name with a colon":  {`{"isv:x":{` + good + `}}`, ``, []string{"without a colon"}},
		"unknown way to issue": {`{"isv":{` + good + `,"issue":"some"}}`, ``, []string{"platform isv", "virtual, real or off"}},
		"another platform":     {`{"isv":{` + good + `}}`, `"platform":"isw"`, []string{"isw", "isv"}},
		"forward with a query": {`{"isv":{` + good + `}}`, `"forward":"http://a/?b"`, []string{"query"}},
		"unknown option of it": {`{"isv":{` + good + `}}`, `"url":"x"`, []string{"unknown option url", "forward, platform"}},
		"a list for a text":    {`{"isv":{` + good + `}}`, `"forward":["x"]`, []string{`"forward": "http`}},
	} {
		t.Run(name, func(t *testing.T) {
			handler := `{"handler":"weixin_callback"}`
			if c.callback != "" {
				handler = `{"handler":"weixin_callback",` + c.callback + `}`
			}
			file := filepath.Join(t.TempDir(), "caddy.json")
			text := fmt.Sprintf(`{"admin":{"disabled":true},"apps":{"weixin":{"platforms":%s},"http":{"servers":{"x":{"listen":["127.0.0.1:0"],"routes":[{"handle":[%s,{"handler":"weixin"}]}]}}}}}`, c.platforms, handler)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, componentEnv, "validate", "--config", file)
			if ok != (c.mentions == nil) {
				t.Fatalf("accepted: %v: %s", ok, out)
			}
			failure := strings.ReplaceAll(out, `\"`, `"`)
			for _, m := range c.mentions {
				if !strings.Contains(failure, m) {
					t.Errorf("%q is not mentioned: %s", m, failure)
				}
			}
			for _, secret := range componentSecrets {
				if strings.Contains(out, secret) {
					t.Errorf("a secret is shown: %s", out)
				}
			}
		})
	}
}
