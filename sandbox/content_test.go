package sandbox_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// form sends a file with other fields beside it.
func (ts tester) form(path string, fields map[string]string, name string, data []byte) answer {
	ts.t.Helper()
	return ts.do(ts.formRequest(path+"?access_token="+ts.token(), fields, name, data))
}

func (ts tester) formRequest(target string, fields map[string]string, name string, data []byte) *http.Request {
	ts.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("media", name)
	if err != nil {
		ts.t.Fatal(err)
	}
	_, _ = part.Write(data)
	for key, value := range fields {
		_ = w.WriteField(key, value) // behind the file
	}
	_ = w.Close()
	r := httptest.NewRequest(http.MethodPost, target, &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

const png = "\x89PNG\r\n\x1a\n"

func TestUploadTypeInTheForm(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for _, path := range []string{"/cgi-bin/media/upload", "/cgi-bin/material/add_material"} {
		if id := ts.form(path, map[string]string{"type": "image"}, "a.png", []byte(png)).text("media_id"); id == "" {
			t.Error(path)
		}
		ts.form(path, map[string]string{"type": "picture"}, "a.png", []byte(png)).want(40004)
		ts.form(path, nil, "a.png", []byte(png)).want(40004)
	}
}

func TestTags(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	query := "?access_token=" + ts.token()
	var made struct{ Tag struct{ ID int } }
	decode(t, ts.post("/cgi-bin/tags/create"+query, `{"tag":{"name":"vip"}}`), &made)
	if made.Tag.ID != 100 {
		t.Errorf("the first tag is %d", made.Tag.ID)
	}
	openID := ts.get("/cgi-bin/user/get" + query).json()["data"].(map[string]any)["openid"].([]any)[0].(string)
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"create", `{"tag":{"name":"vip"}}`, 45157},
		{"create", `{"tag":{"name":"` + strings.Repeat("x", 31) + `"}}`, 45158},
		{"update", `{"tag":{"id":2,"name":"x"}}`, 45058},
		{"update", `{"tag":{"id":999,"name":"x"}}`, 45159},
		{"update", `{"tag":{"id":100,"name":"vip"}}`, 0}, // its own name
		{"members/batchtagging", `{"openid_list":["x"],"tagid":100}`, 40003},
		{"members/batchtagging", `{"openid_list":["` + openID[:27] + `x"],"tagid":100}`, 49003},
		{"members/batchtagging", `{"openid_list":[` + strings.Repeat(`"x",`, 50) + `"x"],"tagid":100}`, 40032},
		{"members/batchtagging", `{"openid_list":["` + openID + `"],"tagid":999}`, 45159},
		{"members/batchtagging", `{"openid_list":["` + openID + `"],"tagid":"100"}`, 0},
	} {
		ts.post("/cgi-bin/tags/"+test.path+query, test.body).want(test.want)
	}
	for path, body := range map[string]string{
		"/cgi-bin/tags/getidlist": `{"openid":"` + openID + `"}`, "/cgi-bin/user/tag/get": `{"tagid":100}`,
	} {
		if a := ts.post(path+query, body); !strings.Contains(a.Body.String(), "100") && !strings.Contains(a.Body.String(), openID) {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	if a := ts.get("/cgi-bin/user/info" + query + "&openid=" + openID); !strings.Contains(a.Body.String(), `"tagid_list":[100]`) {
		t.Errorf("%s", a.Body)
	}
	ts.post("/cgi-bin/tags/members/batchuntagging"+query, `{"openid_list":["`+openID+`"],"tagid":100}`).want(0)
	if n := ts.post("/cgi-bin/user/tag/get"+query, `{"tagid":100}`).number("count"); n != 0 {
		t.Errorf("%d have the tag that was taken away", n)
	}
	ts.post("/cgi-bin/tags/delete"+query, `{"tag":{"id":100}}`).want(0)
	ts.post("/cgi-bin/tags/delete"+query, `{"tag":{"id":100}}`).want(45159)
}

func TestDraftsAndMaterial(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	query := "?access_token=" + ts.token()
	up := ts.form("/cgi-bin/material/add_material", map[string]string{"type": "image"}, "a.png", []byte(png))
	id := up.text("media_id")
	if !strings.HasPrefix(up.text("url"), "http://mmbiz.qpic.cn/") {
		t.Errorf("%s", up.Body)
	}
	down := ts.post("/cgi-bin/material/get_material"+query, `{"media_id":"`+id+`"}`)
	if down.Body.String() != png || down.Header().Get("Content-Disposition") != `attachment; filename="`+id+`.png"` {
		t.Errorf("%v %q", down.Header(), down.Body)
	}
	ts.form("/cgi-bin/material/add_material", map[string]string{"type": "video"}, "a.mp4", []byte("x")).want(47001)
	video := ts.form("/cgi-bin/material/add_material",
		map[string]string{"type": "video", "description": `{"title":"T","introduction":"I"}`}, "a.mp4", []byte("x")).text("media_id")
	if got := ts.post("/cgi-bin/material/get_material"+query, `{"media_id":"`+video+`"}`).text("title"); got != "T" {
		t.Errorf("the video's title is %q", got)
	}
	a := ts.get("/cgi-bin/material/get_materialcount" + query)
	if a.number("image_count") != 1 || a.number("video_count") != 1 || a.number("voice_count") != 0 {
		t.Errorf("%s", a.Body)
	}
	a = ts.post("/cgi-bin/material/batchget_material"+query, `{"type":"image","offset":0,"count":20}`)
	if a.number("total_count") != 1 || a.number("item_count") != 1 || !strings.Contains(a.Body.String(), id) {
		t.Errorf("%s", a.Body)
	}
	ts.post("/cgi-bin/material/batchget_material"+query, `{"type":"image","offset":0,"count":21}`).want(40097)

	article := `{"title":"T","content":"C","thumb_media_id":"` + id + `"}`
	ts.post("/cgi-bin/draft/add"+query, `{"articles":[{"title":"T","content":"C","thumb_media_id":"x"}]}`).want(40007)
	draft := ts.post("/cgi-bin/draft/add"+query, `{"articles":[`+article+`]}`).text("media_id")
	ts.post("/cgi-bin/draft/update"+query, `{"media_id":"`+draft+`","index":1,"articles":`+article+`}`).want(40114)
	ts.post("/cgi-bin/draft/update"+query, `{"media_id":"`+draft+`","index":0,"articles":`+strings.Replace(article, "T", "New", 1)+`}`).want(0)
	if a := ts.post("/cgi-bin/draft/get"+query, `{"media_id":"`+draft+`"}`); !strings.Contains(a.Body.String(), `"title":"New"`) {
		t.Errorf("%s", a.Body)
	}
	if a := ts.post("/cgi-bin/draft/batchget"+query, `{"offset":0,"count":1,"no_content":1}`); a.number("total_count") != 1 || strings.Contains(a.Body.String(), "title") {
		t.Errorf("%s", a.Body)
	}
	ts.post("/cgi-bin/message/mass/sendall"+query, `{"filter":{"is_to_all":true},"mpnews":{"media_id":"`+draft+`"},"msgtype":"mpnews"}`).want(0)
	ts.post("/cgi-bin/draft/delete"+query, `{"media_id":"`+draft+`"}`).want(0)
	ts.post("/cgi-bin/draft/get"+query, `{"media_id":"`+draft+`"}`).want(40007)
	ts.post("/cgi-bin/material/del_material"+query, `{"media_id":"`+id+`"}`).want(0)
	ts.post("/cgi-bin/material/get_material"+query, `{"media_id":"`+id+`"}`).want(40007)
}

func TestDatacube(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) { // it is 2000-01-01
		query := "?access_token=" + ts.token()
		for body, want := range map[string]int{
			`{"begin_date":"1999-12-25","end_date":"1999-12-31"}`: 0,
			`{"begin_date":"19991231","end_date":"19991231"}`:     0,
			`{"begin_date":"1999-12-24","end_date":"1999-12-31"}`: 61501,
			`{"begin_date":"1999-12-31","end_date":"1999-12-30"}`: 61501,
			`{"begin_date":"1999-12-31","end_date":"2000-01-01"}`: 61501, // today
			`{"begin_date":"yesterday","end_date":"1999-12-31"}`:  61500,
		} {
			ts.post("/datacube/getusersummary"+query, body).want(want)
		}
		a := ts.post("/datacube/getusercumulate"+query, `{"begin_date":"1999-12-30","end_date":"1999-12-31"}`)
		if want := `{"list":[{"cumulate_user":0,"ref_date":"1999-12-30"},{"cumulate_user":0,"ref_date":"1999-12-31"}]}`; a.Body.String() != want {
			t.Errorf("%s", a.Body)
		}
		ts.post("/datacube/getarticlesummary"+query, `{"begin_date":"1999-12-30","end_date":"1999-12-31"}`).want(61501)
	})
}

func TestQuotaAndRID(t *testing.T) {
	ts := newTester(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: appID, AppSecret: secret}, {AppID: "wx2", AppSecret: "secret2"},
	}})
	query := "?access_token=" + ts.token()
	for range 3 {
		ts.get("/cgi-bin/user/get" + query).want(0)
	}
	var quota struct {
		Quota struct{ Used, Remain, DailyLimit int }
	}
	decode(t, ts.post("/cgi-bin/openapi/quota/get"+query, `{"cgi_path":"/cgi-bin/user/get"}`), &quota)
	if quota.Quota.Used != 3 || quota.Quota.Remain == 0 {
		t.Errorf("%+v", quota)
	}
	ts.post("/cgi-bin/openapi/quota/get"+query, `{"cgi_path":"/cgi-bin/user/gett"}`).want(76021)
	ts.post("/cgi-bin/openapi/quota/get"+query, `{"cgi_path":"/sns/userinfo"}`).want(76022)

	_, rid, _ := strings.Cut(ts.post("/cgi-bin/tags/create"+query, `{"tag":{}}`).text("errmsg"), " rid: ")
	a := ts.post("/cgi-bin/openapi/rid/get"+query, `{"rid":"`+rid+`"}`)
	if !strings.Contains(a.Body.String(), `/cgi-bin/tags/create`) || !strings.Contains(a.Body.String(), `{\"tag\":{}}`) || strings.Contains(a.Body.String(), query[14:]) {
		t.Errorf("%s", a.Body)
	}
	ts.post("/cgi-bin/openapi/rid/get"+query, `{"rid":"00000000-00000000-00000000"}`).want(76001)
	ts.post("/cgi-bin/openapi/rid/get"+query, `{"rid":"x"}`).want(76002)
	other := ts.get("/cgi-bin/token?grant_type=client_credential&appid=wx2&secret=secret2").text("access_token")
	ts.post("/cgi-bin/openapi/rid/get?access_token="+other, `{"rid":"`+rid+`"}`).want(76003)
}

func TestMessagesCanBeReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, sandbox.Config{})
		query := "?access_token=" + ts.token()
		if got := ts.get("/sandbox/messages").Body.String(); got != "[]\n" {
			t.Errorf("before anything: %s", got)
		}
		body := `{"touser":"` + openID + `","msgtype":"text","text":{"content":"<hi> & 你好"}}`
		ts.post("/cgi-bin/message/custom/send"+query, body).want(0)
		ts.post("/cgi-bin/message/custom/send"+query, `{"touser":"x","msgtype":"text","text":{"content":"hi"}}`).want(40003)
		ts.post("/cgi-bin/tags/create"+query, `{"tag":{"name":"no message"}}`).want(0)
		want := fmt.Sprintf(`[{"path":"/cgi-bin/message/custom/send","appid":%q,"at":%q,"body":%s}]`+"\n",
			appID, time.Now().UTC().Format(time.RFC3339Nano), body)
		for _, target := range []string{"/sandbox/messages", "/sandbox/messages?appid=" + appID} {
			if got := ts.get(target).Body.String(); got != want {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
		}
		if got := ts.get("/sandbox/messages?appid=wx0").Body.String(); got != "[]\n" {
			t.Errorf("of another account: %s", got)
		}
		for range 1000 {
			ts.post("/cgi-bin/message/template/send"+query, `{"touser":"`+openID+`","template_id":"t"}`)
		}
		if got := ts.get("/sandbox/messages").Body.String(); strings.Contains(got, "custom/send") || strings.Count(got, `"path"`) != 1000 {
			t.Error("the oldest is still there")
		}
	})
}

// WeChat writes errcode and errmsg before anything else.
func TestErrcodeComesFirst(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	a := ts.get("/cgi-bin/ticket/getticket?type=jsapi&access_token=" + ts.token())
	want := fmt.Sprintf(`{"errcode":0,"errmsg":"ok","expires_in":7200,"ticket":%q}`, a.text("ticket"))
	if got := a.Body.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestMassMessages(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	query := "?access_token=" + ts.token()
	text := `"text":{"content":"hi"},"msgtype":"text"}`
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"sendall", `{"filter":{"is_to_all":false,"tag_id":2},` + text, 0},
		{"sendall", `{"filter":{"is_to_all":false,"tag_id":9},` + text, 45159},
		{"sendall", `{"filter":{"is_to_all":true},"msgtype":"text"}`, 44004},
		{"sendall", `{"filter":{"is_to_all":true},"mpnews":{"media_id":"x"},"msgtype":"mpnews"}`, 40007},
		{"send", `{"touser":["` + openID + `"],` + text, 40130},
		{"send", `{"touser":["` + openID + `","x"],` + text, 40003},
		{"send", `{"touser":["` + openID + `","` + openID + `"],` + text, 0},
		{"preview", `{` + text, 40003},
		{"preview", `{"towxname":"somebody",` + text, 0},
	} {
		ts.post("/cgi-bin/message/mass/"+test.path+query, test.body).want(test.want)
	}
}
