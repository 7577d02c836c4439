package sandbox_test

import (
	"bytes"
	"image/jpeg"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const openID = "o123456789012345678901234567"

func TestUsers(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	target := "/cgi-bin/user/get?access_token=" + ts.token()
	var all struct {
		Total, Count int
		Data         struct{ OpenID []string }
		NextOpenID   string `json:"next_openid"`
	}
	decode(t, ts.get(target), &all)
	if all.Total != 5 || all.Count != 5 || len(all.Data.OpenID) != 5 || all.NextOpenID != all.Data.OpenID[4] {
		t.Fatalf("%+v", all)
	}
	if a := ts.get(target + "&next_openid=" + all.Data.OpenID[2]); a.number("count") != 2 {
		t.Errorf("the rest after the third: %s", a.Body)
	}
	if a := ts.get(target + "&next_openid=" + all.NextOpenID); a.Body.String() != `{"total":5,"count":0,"next_openid":""}` {
		t.Errorf("after the last: %s", a.Body)
	}
	ts.get(target + "&next_openid=x").want(40003)

	target = "/cgi-bin/user/info?access_token=" + ts.token()
	if got := ts.get(target + "&openid=" + all.NextOpenID).number("subscribe"); got != 1 {
		t.Errorf("subscribe %d of a follower, want 1", got)
	}
	if got := ts.get(target + "&openid=" + openID).number("subscribe"); got != 0 {
		t.Errorf("subscribe %d of a stranger, want 0", got)
	}
	ts.get(target).want(40003)
}

func TestBusinessErrors(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	token := ts.token()
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"/cgi-bin/message/custom/send", `{"touser":"` + openID + `","msgtype":"text","text":{"content":"hi"}}`, 0},
		{"/cgi-bin/message/custom/send", `{"touser":"` + openID + `","msgtype":"news","news":{}}`, 0},
		{"/cgi-bin/message/custom/send", `{"msgtype":"text","text":{"content":"hi"}}`, 40003},
		{"/cgi-bin/message/custom/send", `{"touser":"somebody","msgtype":"text","text":{"content":"hi"}}`, 40003},
		{"/cgi-bin/message/custom/send", `{"touser":"` + openID + `"}`, 40008},
		{"/cgi-bin/message/custom/send", `{"touser":"` + openID + `","msgtype":"text","text":{}}`, 44004},
		{"/cgi-bin/message/custom/send", `{"touser":"` + openID + `","msgtype":"image","image":{"media_id":"x"}}`, 40007},
		{"/cgi-bin/message/custom/send", `{"touser":1}`, 47001},
		{"/cgi-bin/message/template/send", `{"template_id":"t"}`, 40003},
		{"/cgi-bin/message/template/send", `{"touser":"` + openID + `"}`, 40037},
		{"/cgi-bin/message/subscribe/send", `{"touser":"` + openID + `"}`, 40037},
		{"/cgi-bin/menu/create", `{}`, 40016},
		{"/cgi-bin/menu/create", `{"button":[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"}]}`, 40016},
		{"/cgi-bin/menu/create", `{"button":[{"type":"click"}]}`, 40018},
		{"/cgi-bin/qrcode/create", `{"action_name":"QR"}`, 40053},
		{"/cgi-bin/qrcode/create", `{"action_name":"QR_SCENE"}`, 40053},
		{"/cgi-bin/qrcode/create", `{"action_name":"QR_STR_SCENE","action_info":{"scene":{"scene_id":1}}}`, 40053},
		{"/wxa/getwxacode", `{}`, 40159},
		{"/wxa/getwxacode", `{"path":"` + strings.Repeat("x", 1025) + `"}`, 40159},
		{"/wxa/getwxacodeunlimit", `{"page":"p"}`, 40129},
		{"/wxa/getwxacodeunlimit", `{"scene":"` + strings.Repeat("x", 33) + `"}`, 40129},
		{"/wxa/business/getuserphonenumber", `{}`, 40029},
		{"/wxa/msg_sec_check", `{}`, 40097},
		{"/wxa/msg_sec_check", `{"content":"hi"}`, 0},
		{"/wxa/msg_sec_check", `{"content":"a 特3456书yuuo莞6543李zxcz蒜7782法fgnv级 b"}`, 87014},
		{"/wxa/msg_sec_check", `{"content":"hi","version":2}`, 40003},
	} {
		t.Run(test.path+" "+test.body, func(t *testing.T) {
			a := ts.post(test.path+"?access_token="+token, test.body)
			a.t = t
			a.want(test.want)
		})
	}
	ts.get("/cgi-bin/ticket/getticket?access_token=" + token).want(40097)
}

func TestMessageIDsCount(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	send := func() int {
		a := ts.post("/cgi-bin/message/template/send?access_token="+ts.token(),
			`{"touser":"`+openID+`","template_id":"t","data":{}}`)
		a.want(0)
		return a.number("msgid")
	}
	one, two := send(), send()
	if two != one+1 {
		t.Errorf("msgid %d after %d", two, one)
	}
	if got := ts.status().Messages; got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
}

func TestMenu(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	query := "?access_token=" + ts.token()
	ts.get("/cgi-bin/menu/get" + query).want(46003)
	ts.post("/cgi-bin/menu/create"+query, `{"button":[{"type":"view","name":"a & b","url":"https://example.com/?a=1&b=2"}]}`).want(0)
	want := `{"menu":{"button":[{"type":"view","name":"a & b","url":"https://example.com/?a=1&b=2"}]}}`
	if a := ts.get("/cgi-bin/menu/get" + query); a.Body.String() != want {
		t.Errorf("%s, want %s", a.Body, want)
	}
	ts.get("/cgi-bin/menu/delete" + query).want(0)
	ts.get("/cgi-bin/menu/get" + query).want(46003)
}

func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, sandbox.Config{})
		target := "/cgi-bin/ticket/getticket?access_token=" + ts.token() + "&type="
		jsapi := ts.get(target + "jsapi").text("ticket")
		if ts.get(target+"wx_card").text("ticket") == jsapi {
			t.Error("one ticket for two types")
		}
		time.Sleep(time.Hour)
		a := ts.get(target + "jsapi")
		if a.text("ticket") != jsapi || a.number("expires_in") != 7200 {
			t.Errorf("%s", a.Body) // it says so however old the ticket is
		}
		time.Sleep(time.Hour)
		target = "/cgi-bin/ticket/getticket?access_token=" + ts.token() + "&type="
		if ts.get(target+"jsapi").text("ticket") == jsapi {
			t.Error("an expired ticket")
		}
	})
}

func TestQRCodes(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	target := "/cgi-bin/qrcode/create?access_token=" + ts.token()
	a := ts.post(target, `{"expire_seconds":600,"action_name":"QR_SCENE","action_info":{"scene":{"scene_id":1}}}`)
	if a.number("expire_seconds") != 600 || a.text("ticket") == "" || a.text("url") == "" {
		t.Errorf("%s", a.Body)
	}
	a = ts.post(target, `{"action_name":"QR_LIMIT_STR_SCENE","action_info":{"scene":{"scene_str":"s"}}}`)
	if _, ok := a.json()["expire_seconds"]; ok {
		t.Errorf("a permanent code expires: %s", a.Body)
	}
}

func TestMiniProgramCodes(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for path, body := range map[string]string{
		"/wxa/getwxacode":        `{"path":"pages/index"}`,
		"/wxa/getwxacodeunlimit": `{"scene":"a=1"}`,
	} {
		a := ts.post(path+"?access_token="+ts.token(), body)
		if got := a.Header().Get("Content-Type"); got != "image/jpeg" {
			t.Errorf("%s: content type %q", path, got)
		}
		if _, err := jpeg.Decode(bytes.NewReader(a.Body.Bytes())); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPhoneNumbers(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	target := "/wxa/business/getuserphonenumber?access_token=" + ts.token()
	var one, two struct {
		Phone struct{ PhoneNumber string } `json:"phone_info"`
	}
	decode(t, ts.post(target, `{"code":"alice:1"}`), &one)
	decode(t, ts.post(target, `{"code":"alice:2"}`), &two)
	if len(one.Phone.PhoneNumber) != 11 || one != two {
		t.Errorf("%+v and %+v", one, two)
	}
	ts.post(target, `{"code":"alice:1"}`).want(40163)
}

func TestTextCheck(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	target := "/wxa/msg_sec_check?access_token=" + ts.token()
	for content, want := range map[string]string{
		"hi": "pass",
		"a 特3456书yuuo莞6543李zxcz蒜7782法fgnv级 b": "risky",
	} {
		var verdict struct{ Result struct{ Suggest string } }
		decode(t, ts.post(target, `{"version":2,"scene":1,"openid":"`+openID+`","content":"`+content+`"}`), &verdict)
		if verdict.Result.Suggest != want {
			t.Errorf("%s: %q, want %q", content, verdict.Result.Suggest, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for _, path := range []string{"/cgi-bin/get_api_domain_ip", "/cgi-bin/getcallbackip"} {
		a := ts.get(path + "?access_token=" + url.QueryEscape(ts.token()))
		if got := a.Body.String(); got != `{"ip_list":["203.0.113.1"]}` {
			t.Errorf("%s: %s", path, got)
		}
	}
}
