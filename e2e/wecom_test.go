package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	corpID       = "ww0000000000000001"
	hrSecret     = "secret-of-the-application-hr"
	salesSecret  = "secret-of-the-application-sales"
	callerSecret = "key-of-the-caller-both"
)

const hrAccount = `
	account hr {
		kind    wecom
		corpid  ww0000000000000001
		secret  {env.HR_SECRET}
		agentid 1000002
		upstream UPSTREAM
	}`

const salesAccount = `
	account sales {
		kind    wecom
		corpid  {env.CORPID}
		secret  {env.SALES_SECRET}
		upstream UPSTREAM
	}`

// corp is a corporation with two applications, and a Caddy in front of it.
type corp struct {
	*caddy
	w *weChat
}

func startCorp(t *testing.T, global, site string) *corp {
	t.Helper()
	w := startWeChatWith(t, sandbox.Config{
		Accounts: []sandbox.Account{{AppID: appID, AppSecret: appSecret}},
		Corps: []sandbox.Corp{{CorpID: corpID, Agents: []sandbox.Agent{
			{AgentID: "1000002", Secret: hrSecret}, {AgentID: "1000003", Secret: salesSecret},
		}}},
	})
	w.secrets = []string{hrSecret, salesSecret}
	p := startCaddy(t, w, config{
		global: strings.ReplaceAll(global, "UPSTREAM", w.URL), site: site,
		env: []string{
			"CORPID=" + corpID, "HR_SECRET=" + hrSecret, "SALES_SECRET=" + salesSecret,
			"BOTH_KEY=" + callerSecret, "ONE_KEY=key-of-the-caller-one",
		},
	})
	return &corp{p, w}
}

// agent does something to an application, or asks what it has done.
func (c *corp) agent(method, id, action string) answer {
	c.t.Helper()
	req := httptest.NewRequest(method, "/sandbox/corps/"+corpID+"/agents/"+id+action, nil)
	rec := httptest.NewRecorder()
	c.w.sandbox.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		c.t.Fatalf("%s %s: %d %s", id, action, rec.Code, rec.Body)
	}
	return answer{rec.Code, rec.Header(), rec.Body.String()}
}

// token asks for one as applications do.
func (c *corp) token(secret string) answer {
	c.t.Helper()
	return get(c.t, c.url+"/cgi-bin/gettoken?corpid="+corpID+"&corpsecret="+secret)
}

func (c *corp) mustToken(secret string) string {
	c.t.Helper()
	a := c.token(secret)
	var issued struct {
		Errcode     *int   `json:"errcode"`
		Errmsg      string `json:"errmsg"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if json.Unmarshal([]byte(a.body), &issued) != nil || issued.Errcode == nil || *issued.Errcode != 0 || issued.Errmsg != "ok" ||
		!strings.HasPrefix(issued.AccessToken, "cwx") || issued.ExpiresIn != 7200 {
		c.t.Fatalf("gettoken: %s", a)
	}
	return issued.AccessToken
}

// One application needs nothing but its account, and sees no token die.
func TestWeCom(t *testing.T) {
	t.Parallel()
	c := startCorp(t, hrAccount, "weixin")
	const list = "/cgi-bin/user/simplelist?department_id=1"
	wantOK(t, get(t, c.url+list))
	token := c.mustToken("anything")
	wantOK(t, get(t, c.url+list+"&access_token="+token))
	for action, errcode := range map[string]string{"/revoke": "40014", "/expire": "42001"} {
		c.agent(http.MethodPost, "1000002", action)
		a := get(t, c.url+list+"&access_token="+token)
		wantOK(t, a)
		wantReplayed(t, a, errcode)
	}

	wantProxyError(t, get(t, c.url+list+"&access_token="+token[:len(token)-2]+"xx"), 200, 40014, "")
	wantProxyError(t, get(t, c.url+"/cgi-bin/gettoken?corpid=ww2&corpsecret=x"), 200, 40013, "corpid")
	wantProxyError(t, get(t, c.url+"/cgi-bin/gettoken?corpsecret=x"), 200, 41002, "corpid")
	wantProxyError(t, get(t, c.url+"/cgi-bin/gettoken?corpid="+corpID), 200, 41004, "corpsecret")
	wantProxyError(t, get(t, c.url+"/cgi-bin//user/get"), 400, -1, "")

	if out, _ := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(c.admin, "http://")); strings.Contains(out, "/0 ") {
		t.Errorf("a quota that there is not is shown:\n%s", out)
	}
	var s struct{ Name, Kind, CorpID, AgentID, AppID, State, Method string }
	if err := json.Unmarshal([]byte(get(t, c.admin+"/weixin/accounts/hr").body), &s); err != nil ||
		s.Kind != "wecom" || s.CorpID != corpID || s.AgentID != "1000002" || s.AppID != "" || s.State != "ok" || s.Method != "gettoken" {
		t.Errorf("%v: status %+v", err, s)
	}
}

// A credential that a request brings along goes out as it came.
func TestWeComForeignCredentials(t *testing.T) {
	t.Parallel()
	for name, global := range map[string]string{"alone": hrAccount, "beside others": defaultAccount + hrAccount + salesAccount} {
		t.Run(name, func(t *testing.T) {
			c := startCorp(t, global+"\ncaller both {\nkey {env.BOTH_KEY}\n}", "weixin")
			for _, target := range []string{
				"/cgi-bin/webhook/send?key=of-a-robot",
				"/cgi-bin/service/get_permanent_code?suite_access_token=of-a-suite",
				"/cgi-bin/service/get_login_info?access_token=of-a-provider",
				"/cgi-bin/user/get?suite_access_token=of-a-suite&userid=x",
				"/cgi-bin/license/x?provider_access_token=of-a-provider",
				"/cgi-bin/user/get?%73uite_access_token=of-a-suite",
				"/cgi-bin/openhw/x?model_access_token=a",
				"/cgi-bin/x?device_access_token=a",
			} {
				if a := get(t, c.url+target); a.status != 200 {
					t.Errorf("%s: %s", target, a)
					continue
				}
				path, query, _ := strings.Cut(target, "?")
				if got := c.w.last(path).URL.RawQuery; got != query {
					t.Errorf("%s went out with %s", target, got)
				}
			}
			if a := get(t, c.url+"/cgi-bin/user/get?suite_access_token="); a.status == 200 {
				t.Errorf("an empty token is a key: %s", a)
			}
		})
	}
}

// A credential of somebody else's goes to the API that it is of, and where that is
// not known has nothing put beside it.
func TestForeignCredentialsBesideKinds(t *testing.T) {
	t.Parallel()
	hr := strings.ReplaceAll(hrAccount, "UPSTREAM", "UPSTREAM/wecom")
	for name, global := range map[string]string{"": defaultAccount, "/wecom": defaultAccount + hr} {
		t.Run("robots at "+name, func(t *testing.T) {
			c := startCorp(t, global, "weixin")
			for _, call := range []struct{ at, path, query string }{
				{name, "/cgi-bin/webhook/send", "key=of-a-robot"},
				{"", "/cgi-bin/account/x", "component_access_token=of-a-platform"},
				{"", "/cgi-bin/account/y", "a=b&component_access_token=of-a-platform&access_token=c"},
				{"", "/cgi-bin/account/z", "cloudbase_access_token=of-an-environment"},
			} {
				a := get(t, c.url+call.path+"?"+call.query)
				if got := c.w.last(call.at + call.path).URL.RawQuery; got != call.query {
					t.Errorf("%s went out with %s: %s", call.path, got, a)
				}
			}
		})
	}
}

// Two applications of a corporation, and an official account, at one address.
func TestWeComSideBySide(t *testing.T) {
	t.Parallel()
	c := startCorp(t, defaultAccount+hrAccount+salesAccount, `
	handle_path /qyapi/* {
		weixin sales
	}
	handle {
		weixin
	}`)
	const user = "/cgi-bin/user/get?userid=zhangsan"
	hr, sales := c.mustToken("hr"), c.mustToken(salesSecret)
	calls := func(id string) int { return callsOf(t, c.agent(http.MethodGet, id, "")) }
	for target, id := range map[string]string{
		user + "&access_token=" + hr:    "1000002",
		user + "&access_token=" + sales: "1000003",
		"/qyapi" + user:                 "1000003",
	} {
		before := calls(id)
		wantOK(t, get(t, c.url+target))
		if calls(id) != before+1 {
			t.Errorf("%s was no call of %s", strings.NewReplacer(hr, "HR", sales, "SALES").Replace(target), id)
		}
	}
	if metrics := get(t, c.admin+"/metrics").body; !strings.Contains(metrics, `caddy_weixin_account_info{account="hr",kind="wecom"} 1`) ||
		!strings.Contains(metrics, `caddy_weixin_account_info{account="shop",kind="official"} 1`) {
		t.Error("the metrics do not tell the accounts' kinds")
	}
	wantOK(t, get(t, c.url+"/cgi-bin/user/get?appid="+appID))
	wantOK(t, get(t, c.url+"/wxa/what-official-accounts-alone-have"))
	if got := c.w.last("/wxa/what-official-accounts-alone-have").URL.Query().Get("access_token"); got == "" {
		t.Error("an official account's path took no token")
	}
	wantProxyError(t, get(t, c.url+user), 400, 40035, "weixin <account>")
	wantProxyError(t, c.token("wrong"), 200, 40001, "name")
	c.mustToken("hr:whatever")
	if a := get(t, c.url+"/qyapi"+user+"&access_token="+hr); a.errcode() != 42001 && a.errcode() != 40014 {
		t.Errorf("another application's token: %s", a)
	}
}

func TestWeComCallers(t *testing.T) {
	t.Parallel()
	c := startCorp(t, defaultAccount+hrAccount+salesAccount+`
	caller both {
		key {env.BOTH_KEY}
	}
	caller one {
		key {env.ONE_KEY}
		accounts shop hr
	}`, "weixin")
	const user = "/cgi-bin/user/get?userid=zhangsan&access_token="
	wantOK(t, get(t, c.url+user+c.mustToken("sales:"+callerSecret)))
	wantOK(t, get(t, c.url+user+c.mustToken("key-of-the-caller-one")))
	wantOK(t, get(t, c.url+user+c.mustToken("hr:key-of-the-caller-one")))
	wantProxyError(t, c.token(callerSecret), 200, 40001, "<account name>:<key>")
	wantProxyError(t, c.token("hr"), 200, 40001, "key")
	wantProxyError(t, c.token("hr:wrong"), 200, 40001, "key")
	wantProxyError(t, c.token(hrSecret), 200, 40001, "key")
	wantProxyError(t, c.token("shop:"+callerSecret), 200, 40001, "corpid")
	wantProxyError(t, c.token("sales:key-of-the-caller-one"), 403, 48001, "sales")
	for secret, errcode := range map[string]int{"shop:" + callerSecret: 0, callerSecret: 0, "shop:wrong": 40125, "hr:" + callerSecret: 40125} {
		a := get(t, c.url+"/cgi-bin/token?grant_type=client_credential&appid="+appID+"&secret="+secret)
		if a.errcode() != errcode {
			t.Errorf("%s: %s, want %d", strings.Split(secret, ":")[0], a.body, errcode)
		}
	}
}

// A token that stays dead is told, and is asked for again until another comes.
func TestWeComIdenticalToken(t *testing.T) {
	t.Parallel()
	c := startCorp(t, hrAccount, "weixin")
	const user = "/cgi-bin/user/get?userid=zhangsan"
	token := c.mustToken("x")
	wantOK(t, get(t, c.url+user))
	c.agent(http.MethodPost, "1000002", "/revoke?insist=true")
	if a := get(t, c.url+user); a.errcode() != 40014 {
		t.Errorf("got %s", a)
	}
	if a := get(t, c.url+user+"&access_token="+token); a.status != 503 || a.errcode() != -1 {
		t.Errorf("got %s", a)
	}
	c.agent(http.MethodPost, "1000002", "/revoke")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		a := get(t, c.url+user+"&access_token="+token)
		if a.status == 200 && a.errcode() == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("got %s", a)
		}
	}
}

// What the console has to be changed for is told, and no longer once it was.
func TestWeComTroubles(t *testing.T) {
	t.Parallel()
	c := startCorp(t, hrAccount, "weixin")
	const user = "/cgi-bin/user/get?userid=zhangsan"
	status := func() string { return get(t, c.admin+"/weixin/accounts/hr").body }
	for errcode, advice := range map[int]string{60020: "Add 127.0.0.1 to", 301002: "another agent's token"} {
		c.agent(http.MethodPost, "1000002", fmt.Sprintf("/fail?errcode=%d&times=2", errcode))
		for range 2 {
			if a := get(t, c.url+user); a.errcode() != errcode || strings.Contains(a.body, "weixin proxy") {
				t.Errorf("got %s", a)
			}
		}
		code := fmt.Sprintf(`"code":"errcode_%d"`, errcode)
		if s := status(); !strings.Contains(s, code) || !strings.Contains(s, advice) || !strings.Contains(s, "last_error") || !strings.Contains(s, `"state":"ok"`) {
			t.Errorf("%d: status %s", errcode, s)
		}
		wantOK(t, get(t, c.url+user))
		if s := status(); strings.Contains(s, code) || !strings.Contains(s, "last_error") {
			t.Errorf("%d, afterwards: status %s", errcode, s)
		}
	}
	if n := len(c.logged("WeChat refuses requests of an account for what has to be changed there")); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// A wrong secret is told with -1, without WeCom's hint, and not asked for again at once.
func TestWeComWrongSecret(t *testing.T) {
	t.Parallel()
	c := startCorp(t, strings.ReplaceAll(hrAccount, "{env.HR_SECRET}", "{env.BOTH_KEY}")+salesAccount, "weixin")
	// Who waits for the fetch itself gets 502.
	if !eventually(func() bool { return len(c.logged("token fetch failed")) > 0 }) {
		t.Fatal("no token is fetched")
	}
	a := get(t, c.url+"/cgi-bin/user/get?userid=zhangsan&access_token="+c.mustToken("hr"))
	wantProxyError(t, a, 503, -1, "40001")
	if strings.Contains(a.body, "hint") || strings.Contains(a.body, "from ip") {
		t.Errorf("got %s", a)
	}
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantOK(t, get(t, c.url+"/cgi-bin/user/get?userid=zhangsan&access_token="+c.mustToken("sales")))
}

// A private deployment may be below a path.
func TestWeComPrivateHost(t *testing.T) {
	t.Parallel()
	var c *corp
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c = startCorp(t, strings.ReplaceAll(hrAccount, "UPSTREAM", server.URL+"/private"), "weixin")
	mux.Handle("/private/", http.StripPrefix("/private", c.w))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if a := get(t, c.url+"/cgi-bin/user/get?userid=zhangsan"); a.status == 200 && a.errcode() == 0 {
			return
		} else if time.Now().After(end) {
			t.Fatal(a)
		}
	}
}

func TestWeComConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options  string
		mentions []string
	}{
		"appid":        {"kind wecom\nappid wx1\nsecret {env.S}", []string{"appid", "corpid", ":6"}},
		"token":        {"secret {env.S}\ncorpid ww1\ntoken stable\nkind wecom", []string{"token", "leave it out", ":7"}},
		"corpid":       {"corpid ww1\nsecret {env.S}", []string{"corpid", "kind wecom", ":5"}},
		"agentid":      {"appid wx1\nsecret {env.S}\nagentid 1", []string{"agentid", "kind wecom", ":7"}},
		"a colon":      {"kind wecom\ncorpid ww1\nsecret {env.S}\n}\naccount a:b {\nappid wx1\nsecret {env.S}", []string{"a:b", "without a colon", ":9"}},
		"none":         {"kind wecom\nsecret {env.S}", []string{"corpid {env.CORPID}"}},
		"unknown":      {"kind wework\ncorpid ww1\nsecret {env.S}", []string{"wework", "official or wecom", ":5"}},
		"empty":        {"kind wecom\ncorpid {env.EMPTY}\nsecret {env.S}", []string{"corpid", "EMPTY", ":6"}},
		"agent":        {"kind wecom\ncorpid ww1\nagentid app\nsecret {env.S}", []string{"agentid", "1000002", ":7"}},
		"api_security": {"kind wecom\ncorpid ww1\nsecret {env.S}\napi_security {\nkey x {env.S}\n}", []string{"api_security is no option of kind wecom", "leave it out", ":8"}},
		"the same app": {"kind wecom\ncorpid ww1\nsecret {env.S}\n}\naccount other {\nkind wecom\ncorpid ww1\nsecret {env.S}", []string{"secret", "account app"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/Caddyfile"
			text := "{\nadmin off\nweixin {\naccount app {\n" + c.options + "\n}\n}\n}\n:8080 {\nweixin\n}\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, []string{"S=some-secret-of-an-application"}, "validate", "--config", file, "--adapter", "caddyfile")
			if ok {
				t.Fatalf("it is valid: %s", out)
			}
			for _, mention := range c.mentions {
				if !strings.Contains(out, mention) {
					t.Errorf("%s does not mention %s", out, mention)
				}
			}
		})
	}
}

// Tickets are kept for applications, and pages are signed with them.
func TestWeComTickets(t *testing.T) {
	t.Parallel()
	c := startCorp(t, hrAccount, `
	weixin_jssdk /agent {
		hosts page.example.com
		agent
	}
	weixin_jssdk /jssdk {
		hosts page.example.com
	}
	weixin`)
	const page = "?url=https%3A%2F%2Fpage.example.com%2F"
	var signed struct {
		AppID, CorpID, Signature string
		AgentID                  int
	}
	a := get(t, c.url+"/agent"+page)
	if err := json.Unmarshal([]byte(a.body), &signed); err != nil || signed.AppID != corpID || signed.CorpID != corpID || signed.AgentID != 1000002 || signed.Signature == "" {
		t.Errorf("%v: %s", err, a)
	}
	if a := get(t, c.url+"/jssdk"+page); a.status != 200 || !strings.Contains(a.body, corpID) || strings.Contains(a.body, "agentid") {
		t.Errorf("got %s", a)
	}
	for _, path := range []string{"/cgi-bin/get_jsapi_ticket", "/cgi-bin/ticket/get?type=agent_config", "/cgi-bin/ticket/get?type=wx_card"} {
		a := get(t, c.url+path)
		wantOK(t, a)
		if !strings.Contains(a.body, `"ticket":"`) || !strings.Contains(a.body, `"expires_in":1800`) {
			t.Errorf("%s: %s", path, strings.SplitN(a.body, "ticket", 2)[0])
		}
	}
}

// Whoever insists, WeCom is not asked with a wrong secret so often that it would
// block the address for all.
func TestWeComFailureBudget(t *testing.T) {
	t.Parallel()
	c := startCorp(t, strings.ReplaceAll(hrAccount, "{env.HR_SECRET}", "{env.BOTH_KEY}")+salesAccount, "weixin sales")
	const user = "/cgi-bin/user/get?userid=zhangsan"
	wantOK(t, get(t, c.url+user))
	for range 260 {
		post(t, c.admin+"/weixin/accounts/hr/refresh", "")
	}
	if n := c.w.count("/cgi-bin/gettoken"); n < 50 || n > 102 {
		t.Errorf("gettoken was called %d times", n)
	}
	c.agent(http.MethodPost, "1000003", "/revoke")
	wantOK(t, get(t, c.url+user))
}
