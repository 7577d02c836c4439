package mirror

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testAppID  = "wx0123456789abcdef"
	testCorpID = "ww0123456789abcdef"
	testSecret = "abcdefghijklmnopqrstuvwxyz012345"
)

var (
	testNow  = time.Unix(1_700_000_000, 0)
	official = Account{Kind: Official, ID: testAppID, Secret: testSecret}
	weCom    = Account{Kind: WeCom, ID: testCorpID, Secret: testSecret}
	agent    = Account{Kind: WeCom, ID: testCorpID, Secret: testSecret, AgentID: "1000002"}
	shared   = Account{Kind: WeCom, ID: testCorpID, Secret: testSecret, AgentID: "1000002", SharedCorp: true}
)

// value is a new one, with two hours to live.
func value(t Type) Value {
	return Value{Type: t, Text: "TOKEN", ExpiresAt: testNow.Add(2 * time.Hour)}
}

// written returns what stands in Redis afterwards, one key a line: its time to
// live in seconds and its value, or a minus where it must not be there.
func written(preset Preset, prefix string, a Account, v Value) []string {
	var lines []string
	for _, e := range Entries(preset, prefix, a, v, testNow) {
		if e.Value == "" {
			lines = append(lines, "- "+e.Key)
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %d %s", e.Key, int(e.TTL.Seconds()), e.Value))
	}
	return lines
}

func TestEntries(t *testing.T) {
	ticketAnswer := func(left int) string {
		return fmt.Sprintf(`{"errcode":0,"errmsg":"ok","expires_in":%d,"ticket":"TOKEN"}`, left)
	}
	for _, c := range []struct {
		name    string
		preset  Preset
		prefix  string
		account Account
		value   Type
		want    []string
	}{
		{"token", WxJava, "", official, AccessToken, []string{"wx:access_token:wx0123456789abcdef 7200 TOKEN"}},
		{"token, prefix", WxJava, "wa", official, AccessToken, []string{"wa:access_token:wx0123456789abcdef 7200 TOKEN"}},
		{"jsapi", WxJava, "", official, JSAPITicket, []string{"wx:ticket:key:wx0123456789abcdef:jsapi 7200 TOKEN"}},
		{"card", WxJava, "", official, CardTicket, []string{"wx:ticket:key:wx0123456789abcdef:wx_card 7200 TOKEN"}},
		{"sdk", WxJava, "", official, SDKTicket, []string{"wx:ticket:key:wx0123456789abcdef:2 7200 TOKEN"}},
		{"agent ticket of an official account", WxJava, "", official, AgentTicket, nil},
		{"WeCom, no agent", WxJava, "", weCom, AccessToken, []string{
			"wx:wechat_cp_access_token_key:ww0123456789abcdef 7200 TOKEN",
			"wx:cp:wechat_cp_access_token_key:ww0123456789abcdef 7200 TOKEN",
			"wechat_cp_access_token_key:ww0123456789abcdef 7200 TOKEN",
		}},
		{"WeCom, prefix", WxJava, "app", agent, AccessToken, []string{"app:wechat_cp_access_token_key:ww0123456789abcdef:1000002 7200 TOKEN"}},
		{"WeCom, prefix with colon", WxJava, "app:", agent, JSAPITicket, []string{"app:wechat_cp_jsapi_ticket_key:ww0123456789abcdef:1000002 7200 TOKEN"}},
		{"WeCom, agent ticket", WxJava, "app", shared, AgentTicket, []string{"app:wechat_cp_agent_jsapi_ticket_key:ww0123456789abcdef:1000002 7200 TOKEN"}},
		{"WeCom, card", WxJava, "", agent, CardTicket, nil},

		{"token", Silenceper, "", official, AccessToken, []string{
			"gowechat_officialaccount__access_token_wx0123456789abcdef 5700 TOKEN",
			"gowechat_officialaccount__stable_access_token_wx0123456789abcdef 6900 TOKEN",
			"gowechat_miniprogram__access_token_wx0123456789abcdef 5700 TOKEN",
			"gowechat_miniprogram__stable_access_token_wx0123456789abcdef 6900 TOKEN",
		}},
		{"token, prefix", Silenceper, "app_", official, AccessToken, []string{
			"app__access_token_wx0123456789abcdef 5700 TOKEN",
			"app__stable_access_token_wx0123456789abcdef 6900 TOKEN",
		}},
		{"jsapi", Silenceper, "", official, JSAPITicket, []string{"gowechat_officialaccount__jsapi_ticket_wx0123456789abcdef 5700 TOKEN"}},
		{"card", Silenceper, "", official, CardTicket, nil},
		{"WeCom, no agent", Silenceper, "", weCom, AccessToken, []string{"gowechat_work__access_token_ww0123456789abcdef 5700 TOKEN"}},
		{"WeCom, agent", Silenceper, "", agent, AccessToken, []string{
			"gowechat_work__access_token_ww0123456789abcdef_1000002 5700 TOKEN",
			"gowechat_work__access_token_ww0123456789abcdef 5700 TOKEN",
		}},
		{"WeCom, one of several", Silenceper, "", shared, AccessToken, []string{"gowechat_work__access_token_ww0123456789abcdef_1000002 5700 TOKEN"}},
		{"WeCom, jsapi", Silenceper, "", agent, JSAPITicket, []string{"gowechat_work__corp_jsapi_ticket_ww0123456789abcdef 5700 TOKEN"}},
		{"WeCom, agent ticket", Silenceper, "", agent, AgentTicket, []string{"gowechat_work__agent_jsapi_ticket_ww0123456789abcdef_1000002 5700 TOKEN"}},
		{"WeCom, agent ticket without agent", Silenceper, "", weCom, AgentTicket, nil},

		{"token", Wechatpy, "", official, AccessToken, []string{
			"- wechatpy:wx0123456789abcdef_access_token_expires_at",
			`wechatpy:wx0123456789abcdef_access_token 7200 "TOKEN"`,
		}},
		{"token, prefix", Wechatpy, "app", official, AccessToken, []string{
			"- app:wx0123456789abcdef_access_token_expires_at",
			`app:wx0123456789abcdef_access_token 7200 "TOKEN"`,
		}},
		{"jsapi", Wechatpy, "", official, JSAPITicket, []string{
			`wechatpy:wx0123456789abcdef_jsapi_ticket 7200 "TOKEN"`,
			"wechatpy:wx0123456789abcdef_jsapi_ticket_expires_at 7200 1700007200",
		}},
		{"card", Wechatpy, "", official, CardTicket, []string{
			`wechatpy:wx0123456789abcdef_jsapi_card_ticket 7200 "TOKEN"`,
			"wechatpy:wx0123456789abcdef_jsapi_card_ticket_expires_at 7200 1700007200",
		}},
		{"sdk", Wechatpy, "", official, SDKTicket, nil},
		{"WeCom", Wechatpy, "", agent, AccessToken, []string{
			"- wechatpy:ww0123456789abcdef_access_token_expires_at",
			`wechatpy:ww0123456789abcdef_abcdefghij_access_token 7200 "TOKEN"`,
		}},
		{"WeCom, agent ticket", Wechatpy, "", agent, AgentTicket, []string{
			`wechatpy:ww0123456789abcdef_agent_jsapi_ticket 7200 "TOKEN"`,
			"wechatpy:ww0123456789abcdef_agent_jsapi_ticket_expires_at 7200 1700007200",
		}},
		{"WeCom, agent ticket of one of several", Wechatpy, "", shared, AgentTicket, nil},

		{"token", PowerWeChat, "", official, AccessToken, []string{
			`powerwechat.access_token.{md5 of appid and secret} 7200 {"access_token":"TOKEN","expires_in":7200}`,
		}},
		{"jsapi", PowerWeChat, "", official, JSAPITicket, []string{
			"powerwechat.basic_service.jssdk.ticket.jsapi.wx0123456789abcdef 6700 " + ticketAnswer(7200),
		}},
		{"card, prefix", PowerWeChat, "app", official, CardTicket, []string{
			"app.basic_service.jssdk.ticket.wx_card.wx0123456789abcdef 6700 " + ticketAnswer(7200),
		}},
		{"WeCom, jsapi", PowerWeChat, "", agent, JSAPITicket, []string{
			"powerwechat.basic_service.jssdk.ticket.jsapi.ww0123456789abcdef 6700 " + ticketAnswer(7200),
		}},
		{"WeCom, agent ticket", PowerWeChat, "", agent, AgentTicket, []string{
			"powerwechat.work.jssdk.ticket.1000002.agent_config.ww0123456789abcdef 6700 " + ticketAnswer(7200),
		}},
		{"WeCom, agent ticket without agent", PowerWeChat, "", weCom, AgentTicket, nil},
		{"another preset", "easywechat", "", official, AccessToken, nil},
	} {
		t.Run(string(c.preset)+" "+c.name, func(t *testing.T) {
			got := written(c.preset, c.prefix, c.account, value(c.value))
			for i := range got {
				got[i] = strings.Replace(got[i], "92c73d48ed156833987c06b55413a65a", "{md5 of appid and secret}", 1)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("written:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if len(Keys(c.preset, c.prefix, c.account, c.value)) != len(got) {
				t.Error("not all of it would be removed")
			}
		})
	}
}

// The sum is of appid and secret alone. PowerWeChat's documentation has another
// sum of these two, that of a line that ends with them, which its code never makes.
func TestPowerWeChatKey(t *testing.T) {
	for _, kind := range []Kind{Official, WeCom} {
		keys := Keys(PowerWeChat, "", Account{Kind: kind, ID: "testappid", Secret: "testsecret"}, AccessToken)
		if len(keys) != 1 || keys[0] != "powerwechat.access_token.4ed6a2e3bfccdf98beb48489b94cf486" {
			t.Errorf("the keys are %q", keys)
		}
	}
}

// A key stays until it is written again for as long as its value is good, and
// never longer than that.
func TestTimeToLive(t *testing.T) {
	for _, c := range []struct{ left, margin, want time.Duration }{
		{7200 * time.Second, 1500 * time.Second, 5700 * time.Second},
		{2500 * time.Second, 1500 * time.Second, 1000 * time.Second},
		{1800 * time.Second, 1500 * time.Second, 900 * time.Second},
		{1000 * time.Second, 1500 * time.Second, 900 * time.Second},
		{300 * time.Second, 1500 * time.Second, 300 * time.Second},
		{300 * time.Second, 0, 300 * time.Second},
		{5900 * time.Millisecond, 1500 * time.Second, 5 * time.Second},
		{2 * time.Second, 0, 2 * time.Second},
	} {
		if got := timeToLive(c.left, c.margin); got != c.want {
			t.Errorf("%v with a margin of %v: %v, want %v", c.left, c.margin, got, c.want)
		}
	}
}

func TestNothingIsWrittenOfWhatIsOver(t *testing.T) {
	for name, v := range map[string]Value{
		"expired":      {Text: "TOKEN", ExpiresAt: testNow.Add(-time.Hour)},
		"now":          {Text: "TOKEN", ExpiresAt: testNow},
		"in a moment":  {Text: "TOKEN", ExpiresAt: testNow.Add(1999 * time.Millisecond)},
		"without text": {ExpiresAt: testNow.Add(time.Hour)},
		"zero":         {},
	} {
		for _, preset := range []Preset{WxJava, Silenceper, Wechatpy, PowerWeChat} {
			if got := Entries(preset, "", official, v, testNow); len(got) > 0 {
				t.Errorf("%s, %s: %d entries", preset, name, len(got))
			}
		}
	}
}

// What WeChat issues has no such characters, but nothing breaks where it has.
func TestJSONIsValid(t *testing.T) {
	v := Value{Text: "a\"b\\c\n", ExpiresAt: testNow.Add(time.Hour)}
	entries := Entries(Wechatpy, "", official, v, testNow)
	if got := entries[1].Value; got != `"a\"b\\c\n"` {
		t.Errorf("written %s", got)
	}
}

func TestParsePreset(t *testing.T) {
	for _, name := range []string{"wxjava", "silenceper", "wechatpy", "powerwechat"} {
		if p, err := ParsePreset(name); err != nil || string(p) != name {
			t.Errorf("%s: %q, %v", name, p, err)
		}
	}
	for _, name := range []string{"", "WxJava", "easywechat"} {
		if _, err := ParsePreset(name); err == nil || !strings.Contains(err.Error(), "wxjava, silenceper, wechatpy, powerwechat") {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

func TestShortSecret(t *testing.T) {
	keys := Keys(Wechatpy, "", Account{Kind: WeCom, ID: testCorpID, Secret: "short"}, AccessToken)
	if keys[1] != "wechatpy:"+testCorpID+"_short_access_token" {
		t.Errorf("the keys are %q", keys)
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	v := value(AccessToken)
	entry := Entries(Wechatpy, "", agent, v, testNow)[1]
	for _, x := range []any{agent, &agent, v, &v, entry, &entry, []Entry{entry}} {
		printed := fmt.Sprintf("%v %+v %#v %s", x, x, x, x)
		if strings.Contains(printed, "TOKEN") || strings.Contains(printed, testSecret[:10]) {
			t.Errorf("printed: %s", printed)
		}
	}
}
