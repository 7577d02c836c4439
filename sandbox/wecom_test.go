package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const agentControl = "/sandbox/corps/ww1/agents/1000002"

func weComConfig() sandbox.Config {
	return sandbox.Config{
		Accounts: []sandbox.Account{{AppID: appID, AppSecret: secret}},
		Corps: []sandbox.Corp{
			{CorpID: "ww1", Agents: []sandbox.Agent{{AgentID: "1000002", Secret: "s2"}, {AgentID: "1000003", Secret: "s3"}}},
			{CorpID: "ww2", Agents: []sandbox.Agent{{AgentID: "1000002", Secret: "t2"}}},
		},
	}
}

func (ts tester) weComToken(corpID, secret string) string {
	ts.t.Helper()
	return ts.get("/cgi-bin/gettoken?corpid=" + corpID + "&corpsecret=" + secret).text("access_token")
}

// wantWeCom checks an answer of WeCom's: its header, and the end of an errmsg.
func (a answer) wantWeCom(errcode int) {
	a.t.Helper()
	a.want(errcode)
	if got := a.Header().Get("Error-Code"); got != a.json2("errcode") {
		a.t.Errorf("the header says %q: %s", got, a.Body)
	}
	if got := a.Header().Get("Error-Msg"); got != a.text("errmsg") {
		a.t.Errorf("the header says %q: %s", got, a.Body)
	}
	form := regexp.MustCompile(`, hint: \[\d+_\d+_[0-9a-f]{16}\], from ip: 192\.0\.2\.1, ` +
		`more info at https://open\.work\.weixin\.qq\.com/devtool/query\?e=` + a.json2("errcode") + `$`)
	if got := a.text("errmsg"); errcode != 0 && !form.MatchString(got) {
		a.t.Errorf("errmsg %q", got)
	}
}

// json2 returns a number as it is written.
func (a answer) json2(key string) string {
	_, rest, _ := strings.Cut(a.Body.String(), `"`+key+`":`)
	return regexp.MustCompile(`^-?\d+`).FindString(rest)
}

func TestWeComTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, weComConfig())
		fetch := "/cgi-bin/gettoken?corpid=ww1&corpsecret=s2"
		first := ts.get(fetch)
		first.wantWeCom(0)
		token := first.text("access_token")
		use := "/cgi-bin/user/get?userid=zhangsan&access_token="
		time.Sleep(time.Hour)
		again := ts.get(fetch)
		if again.text("access_token") != token || again.number("expires_in") != 7200 {
			t.Errorf("after an hour: %s", again.Body)
		}
		if other := ts.weComToken("ww1", "s3"); other == token {
			t.Error("two apps have one token")
		}
		ts.get(use + token).wantWeCom(0)
		time.Sleep(time.Hour)
		ts.get(use + token).wantWeCom(42001)
		next := ts.weComToken("ww1", "s2")
		if next == token {
			t.Error("the same token after its end")
		}
		ts.get(use + next).wantWeCom(0)

		for target, want := range map[string]int{
			"":                         41002,
			"corpid=ww1":               41004,
			"corpid=ww9&corpsecret=s2": 40013,
			"corpid=ww1&corpsecret=x":  40001,
			"corpid=ww1&corpsecret=t2": 40091,
		} {
			ts.get("/cgi-bin/gettoken?" + target).wantWeCom(want)
		}
		ts.post(fetch, "").wantWeCom(43001)
	})
}

func TestWeComControl(t *testing.T) {
	ts := newTester(t, weComConfig())
	use := "/cgi-bin/department/list?access_token="
	token := ts.weComToken("ww1", "s2")
	for what, want := range map[string]int{"expire": 42001, "revoke": 40014} {
		ts.post(agentControl+"/"+what, "")
		ts.get(use + token).wantWeCom(want)
		next := ts.weComToken("ww1", "s2")
		if next == token {
			t.Errorf("%s: the dead token is handed out", what)
		}
		token = next
		ts.get(use + token).wantWeCom(0)
	}
	ts.post(agentControl+"/revoke?insist=true", "")
	if ts.weComToken("ww1", "s2") != token {
		t.Error("gettoken does not insist")
	}
	ts.post(agentControl+"/revoke", "")
	token = ts.weComToken("ww1", "s2")

	for _, errcode := range []string{"60020", "45009", "301002"} {
		ts.post(agentControl+"/fail?errcode="+errcode+"&times=2", "")
		for range 2 {
			if a := ts.get(use + token); a.json2("errcode") != errcode {
				t.Errorf("%s, want %s", a.Body, errcode)
			}
		}
		ts.get(use + token).wantWeCom(0)
	}
	ts.post(agentControl+"/fail", `{"errcode":60020}`)
	a := ts.get(use + token)
	a.wantWeCom(60020)
	if !strings.HasPrefix(a.text("errmsg"), "not allow to access from your ip, hint: [") {
		t.Errorf("%s", a.Body)
	}
	ts.post(agentControl+"/fail?endpoint=token&errcode=45009", "")
	ts.get("/cgi-bin/gettoken?corpid=ww1&corpsecret=s2").wantWeCom(45009)

	st := ts.get(agentControl)
	if st.number("fetches") == 0 || st.number("calls") != 12 || st.number("rejected") != 2 || st.number("fetches_refused") != 1 {
		t.Errorf("%s", st.Body)
	}
	if n := ts.get("/sandbox/corps/ww1/agents/1000003").number("calls"); n != 0 {
		t.Errorf("the other app has %d calls", n)
	}
	for target, want := range map[string]int{
		"/sandbox/corps": 200, "/sandbox/corps/ww1": 200, "/sandbox/corps/ww9": 404,
		"/sandbox/corps/ww1/agents/9": 404, "/sandbox/corps/ww9/agents/1000002": 404,
	} {
		if a := ts.get(target); a.Code != want || strings.Contains(a.Body.String(), token) {
			t.Errorf("%s: %d %s", target, a.Code, a.Body)
		}
	}
	if a := ts.post(agentControl+"/fail?errcode=1&tiems=1", ""); a.Code != http.StatusBadRequest {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

func TestBothAPIsSideBySide(t *testing.T) {
	ts := newTester(t, weComConfig())
	official, weCom := ts.token(), ts.weComToken("ww1", "s2")
	for _, test := range []struct {
		target string
		want   int
		weCom  bool
	}{
		{"/cgi-bin/user/get?access_token=" + official, 0, false},
		{"/cgi-bin/user/get?userid=lisi&access_token=" + weCom, 0, true},
		{"/cgi-bin/get_api_domain_ip?access_token=" + official, 0, false},
		{"/cgi-bin/get_api_domain_ip?access_token=" + weCom, 0, true},
		{"/cgi-bin/department/list?access_token=" + official, 40014, true},
		{"/cgi-bin/department/list", 41001, true},
		{"/cgi-bin/user/get", 41001, false},
		{"/wxa/getwxacode?access_token=" + weCom, 40014, false},
		{"/cgi-bin/tags/get?access_token=" + weCom, 40066, true},
		{"/cgi-bin/department/lists?access_token=" + weCom, 40066, true},
		{"/cgi-bin/department/lists?access_token=" + official, 40066, false},
		{"/cgi-bin/user/get?access_token=" + weCom[1:] + "x", 40014, true},
		{"/cgi-bin/user/get?access_token=92_" + strings.Repeat("x", 211), 40001, false},
	} {
		a := ts.get(test.target)
		a.want(test.want)
		if is := a.Header().Get("Error-Code") != ""; is != test.weCom {
			t.Errorf("%s: answered by WeCom: %t", test.target[:30], is)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "https://qyapi.weixin.qq.com/cgi-bin/user/get", nil)
	ts.do(r).wantWeCom(41001)

	alone := newTester(t, sandbox.Config{Corps: weComConfig().Corps})
	alone.get("/cgi-bin/user/get").wantWeCom(41001)
	none := newTester(t, sandbox.Config{})
	none.get("/cgi-bin/gettoken?corpid=ww1&corpsecret=s2").want(41001)
}

func TestWeComMessages(t *testing.T) {
	ts := newTester(t, weComConfig())
	target := "/cgi-bin/message/send?access_token=" + ts.weComToken("ww1", "s2")
	text := `"msgtype":"text","text":{"content":"hi"}}`
	for _, test := range []struct {
		body string
		want int
	}{
		{`{"touser":"zhangsan|nobody","agentid":1000002,` + text, 0},
		{`{"touser":"@all","agentid":"1000002",` + text, 0},
		{`{"toparty":"1","agentid":1000002,` + text, 0},
		{`{"touser":"zhangsan","agentid":1000003,` + text, 301002},
		{`{"touser":"zhangsan","agentid":9,` + text, 40056},
		{`{"touser":"zhangsan",` + text, 41011},
		{`{"agentid":1000002,` + text, 82001},
		{`{"touser":"nobody","agentid":1000002,` + text, 81013},
		{`{"touser":"zhangsan","agentid":1000002,"msgtype":"x"}`, 40008},
		{`{"touser":"zhangsan","agentid":1000002,"msgtype":"text"}`, 44004},
		{`{"touser":"zhangsan","agentid":1000002,"msgtype":"image","image":{"media_id":"x"}}`, 40007},
		{`{"touser":"zhangsan","agentid":1000002,"msgtype":"textcard"}`, 44004},
	} {
		ts.post(target, test.body).wantWeCom(test.want)
	}
	if got := ts.post(target, `{"touser":"zhangsan|nobody","agentid":1000002,`+text).text("invaliduser"); got != "nobody" {
		t.Errorf("invaliduser %q", got)
	}
	sent := ts.get("/sandbox/messages?appid=ww1").Body.String()
	if strings.Count(sent, `"path":"/cgi-bin/message/send"`) != 4 || !strings.Contains(sent, `"agentid":"1000002"`) {
		t.Errorf("%s", sent)
	}
}

func TestWeComMedia(t *testing.T) {
	ts := newTester(t, weComConfig())
	token := ts.weComToken("ww1", "s2")
	r := ts.formRequest("/cgi-bin/media/upload?type=file&access_token="+token, nil, "a.pdf", []byte("0123456789"))
	up := ts.do(r)
	up.want(0)
	if up.text("type") != "file" || up.text("created_at") == "" {
		t.Errorf("%s", up.Body)
	}
	target := "/cgi-bin/media/get?access_token=" + token + "&media_id=" + up.text("media_id")
	down := ts.get(target)
	if down.Body.String() != "0123456789" || down.Header().Get("Error-Code") != "0" || !strings.HasSuffix(down.Header().Get("Content-Disposition"), `.pdf"`) {
		t.Errorf("%v %s", down.Header(), down.Body)
	}
	r = httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Range", "bytes=2-4")
	part := ts.do(r)
	if part.Code != http.StatusPartialContent || part.Body.String() != "234" || part.Header().Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("%d %v %s", part.Code, part.Header(), part.Body)
	}
	ts.get("/cgi-bin/media/get?media_id=x&access_token=" + token).wantWeCom(40007)
}

func TestWeComLogin(t *testing.T) {
	ts := newTester(t, weComConfig())
	token := ts.weComToken("ww1", "s2")
	login := "/cgi-bin/auth/getuserinfo?access_token=" + token + "&code="
	if got := ts.get(login + "zhangsan:1").text("userid"); got != "zhangsan" {
		t.Errorf("userid %q", got)
	}
	ts.get(login + "zhangsan:1").wantWeCom(40029)
	if got := ts.get(login + "customer").text("openid"); got == "" {
		t.Error("a stranger has no openid")
	}
	if got := ts.get("/cgi-bin/user/getuserinfo?access_token=" + token + "&code=lisi").text("UserId"); got != "lisi" {
		t.Errorf("UserId %q", got)
	}
	ts.get("/cgi-bin/user/getuserinfo?access_token=" + token).wantWeCom(41008)

	// The token is checked before the code is used.
	ts.post(agentControl+"/expire", "")
	ts.get(login + "wangwu").wantWeCom(42001)
	ts.get("/cgi-bin/auth/getuserinfo?access_token=" + ts.weComToken("ww1", "s2") + "&code=wangwu").wantWeCom(0)
}

func TestWeComTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, weComConfig())
		tickets := func() (list []string) {
			for _, app := range []string{"s2", "s3"} {
				query := "access_token=" + ts.weComToken("ww1", app)
				for _, path := range []string{"/cgi-bin/get_jsapi_ticket?", "/cgi-bin/ticket/get?type=agent_config&", "/cgi-bin/ticket/get?type=wx_card&"} {
					a := ts.get(path + query)
					a.wantWeCom(0)
					if a.number("expires_in") != 7200 {
						t.Errorf("%s", a.Body)
					}
					list = append(list, a.text("ticket"))
				}
			}
			return list
		}
		before := tickets()
		if before[0] != before[3] || before[1] == before[4] || before[1] == before[2] {
			t.Error("the corporation has one ticket, each app another")
		}
		time.Sleep(time.Hour)
		for i, ticket := range tickets() {
			if ticket != before[i] {
				t.Error("a ticket changed in its life")
			}
		}
		ts.post(agentControl+"/rotate_tickets", "")
		after := tickets()
		if after[0] == before[0] || after[1] == before[1] || after[4] != before[4] {
			t.Error("the tickets did not change on request")
		}
		ts.get("/cgi-bin/ticket/get?access_token=" + ts.weComToken("ww1", "s2")).wantWeCom(91040)
	})
}

func TestCorpConfig(t *testing.T) {
	agent := []sandbox.Agent{{AgentID: "1", Secret: "s"}}
	for name, test := range map[string]struct {
		corps []sandbox.Corp
		want  string
	}{
		"no corpid":     {[]sandbox.Corp{{Agents: agent}}, "no CorpID"},
		"no agent":      {[]sandbox.Corp{{CorpID: "ww1"}}, "agent <agentid> <secret>"},
		"corp, twice":   {[]sandbox.Corp{{CorpID: "ww1", Agents: agent}, {CorpID: "ww1", Agents: agent}}, "twice"},
		"agent, twice":  {[]sandbox.Corp{{CorpID: "ww1", Agents: append(agent, agent...)}}, "twice"},
		"no number":     {[]sandbox.Corp{{CorpID: "ww1", Agents: []sandbox.Agent{{AgentID: "x", Secret: "s"}}}}, "no AgentID"},
		"agent, no key": {[]sandbox.Corp{{CorpID: "ww1", Agents: []sandbox.Agent{{AgentID: "1"}}}}, "no secret"},
	} {
		if _, err := sandbox.New(sandbox.Config{Corps: test.corps}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
}
