package sandbox_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	aesKey   = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	platform = "/sandbox/platforms/wxisv"
)

// receiver is the platform's authorisation-event URL.
type receiver struct {
	t   *testing.T
	url string

	mu     sync.Mutex
	events []event
	status int // of its answers; 0: 200 with success
	bodies []string
}

type event struct {
	AppID      string `xml:"AppId"`
	CreateTime int64
	InfoType   string
	Ticket     string `xml:"ComponentVerifyTicket"`
	Authorizer string `xml:"AuthorizerAppid"`
	Code       string `xml:"AuthorizationCode"`
	Expires    int64  `xml:"AuthorizationCodeExpiredTime"`
	PreAuth    string `xml:"PreAuthCode"`
}

func newReceiver(t *testing.T) *receiver {
	rc := &receiver{t: t}
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	rc.url = server.URL + "/callback"
	return rc
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	rc.bodies = append(rc.bodies, string(body))
	rc.events = append(rc.events, rc.open(r, body))
	if rc.status != 0 {
		w.WriteHeader(rc.status)
		return
	}
	fmt.Fprint(w, "success")
}

func (rc *receiver) answer(status int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.status = status
}

func (rc *receiver) last() event {
	rc.t.Helper()
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if len(rc.events) == 0 {
		rc.t.Fatal("nothing was pushed")
	}
	return rc.events[len(rc.events)-1]
}

// open verifies and decrypts a push.
func (rc *receiver) open(r *http.Request, body []byte) (e event) {
	var envelope struct {
		AppID   string `xml:"AppId"`
		Encrypt string
	}
	if err := xml.Unmarshal(body, &envelope); err != nil {
		rc.t.Error(err)
		return e
	}
	q := r.URL.Query()
	parts := []string{"push-token", q.Get("timestamp"), q.Get("nonce"), envelope.Encrypt}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, "")))
	if r.Method != http.MethodPost || q.Get("msg_signature") != hex.EncodeToString(sum[:]) || q.Get("encrypt_type") != "aes" || envelope.AppID != "wxisv" {
		rc.t.Errorf("%s %s is not signed", r.Method, r.URL)
	}
	key, _ := base64.StdEncoding.DecodeString(aesKey + "=")
	data, err := base64.StdEncoding.DecodeString(envelope.Encrypt)
	if err != nil || len(data)%32 != 0 {
		rc.t.Errorf("%d bytes, %v", len(data), err)
		return e
	}
	block, _ := aes.NewCipher(key)
	cipher.NewCBCDecrypter(block, key[:16]).CryptBlocks(data, data)
	data = data[16 : len(data)-int(data[len(data)-1])]
	length := binary.BigEndian.Uint32(data)
	if appID := string(data[4+length:]); appID != "wxisv" {
		rc.t.Errorf("it is for %q", appID)
	}
	if err := xml.Unmarshal(data[4:4+length], &e); err != nil || e.AppID != "wxisv" || e.CreateTime == 0 {
		rc.t.Errorf("%s: %v", data, err)
	}
	return e
}

func platformConfig(callback string) sandbox.Config {
	return sandbox.Config{
		Accounts: []sandbox.Account{{AppID: appID, AppSecret: secret}},
		Components: []sandbox.Component{{
			AppID: "wxisv", Secret: "isv-secret", PushToken: "push-token", PushAESKey: aesKey, Callback: callback,
			Authorizers: []string{"wxfirst"},
		}},
	}
}

func (ts tester) componentToken(ticket string) answer {
	return ts.post("/cgi-bin/component/api_component_token",
		`{"component_appid":"wxisv","component_appsecret":"isv-secret","component_verify_ticket":"`+ticket+`"}`)
}

// component calls a path of the platform's with its token.
func (ts tester) component(name, token, members string) answer {
	return ts.post("/cgi-bin/component/"+name+"?component_access_token="+token, `{"component_appid":"wxisv"`+members+`}`)
}

func TestPlatform(t *testing.T) {
	rc := newReceiver(t)
	ts := newTester(t, platformConfig(rc.url))
	ts.componentToken("x").want(61006)
	if a := ts.post(platform+"/push", ""); a.json()["taken"] != true {
		t.Fatalf("%s", a.Body)
	}
	push := rc.last()
	if push.InfoType != "component_verify_ticket" || !strings.HasPrefix(push.Ticket, "ticket@@@") {
		t.Errorf("%+v", push)
	}
	a := ts.componentToken(push.Ticket)
	token := a.text("component_access_token")
	if a.number("expires_in") != 7200 {
		t.Errorf("%s", a.Body)
	}
	ts.component("api_create_preauthcode", token, "").want(0)
	ts.post("/cgi-bin/component/api_create_preauthcode?access_token="+token, `{"component_appid":"wxisv"}`).want(0)
	ts.component("api_create_preauthcode", ts.token(), "").want(40001) // of another kind
	ts.get("/cgi-bin/user/get?access_token=" + token).want(40001)
	ts.get("/cgi-bin/get_api_domain_ip?access_token=" + token).want(0)
	ts.get("/cgi-bin/no/such/path?access_token=" + token).want(40066)
	ts.post("/cgi-bin/component/api_create_preauthcode?component_access_token="+token, `{"component_appid":"wx9"}`).want(61011)
	ts.get("/cgi-bin/token?grant_type=client_credential&appid=wxisv&secret=isv-secret").want(61024)

	// The next one kills the one before; a ticket stays good.
	next := ts.componentToken(push.Ticket).text("component_access_token")
	ts.component("api_create_preauthcode", token, "").want(40001)
	ts.component("api_create_preauthcode", next, "").want(0)

	for body, want := range map[string]int{
		`{}`: 41002,
		`{"component_appid":"wx9","component_appsecret":"x","component_verify_ticket":"x"}`:       61011,
		`{"component_appid":"wxisv","component_verify_ticket":"x"}`:                               41004,
		`{"component_appid":"wxisv","component_appsecret":"x","component_verify_ticket":"x"}`:     40125,
		`{"component_appid":"wxisv","component_appsecret":"isv-secret"}`:                          61006,
		`{"component_appid":"wxisv","component_appsecret":"isv-secret","component_verify_ticket"`: 47001,
	} {
		ts.post("/cgi-bin/component/api_component_token", body).want(want)
	}
	for _, what := range []struct {
		action string
		want   int
	}{{"expire", 42001}, {"revoke", 40001}} {
		ts.post(platform+"/"+what.action, "")
		ts.component("api_create_preauthcode", next, "").want(what.want)
		next = ts.componentToken(push.Ticket).text("component_access_token")
	}
	ts.post(platform+"/fail?errcode=61004", "")
	ts.component("api_create_preauthcode", next, "").want(61004)
	ts.component("api_create_preauthcode", next, "").want(0)
	ts.post(platform+"/rotate_tickets", "")
	ts.componentToken(push.Ticket).want(61006)
	st := ts.get(platform)
	if st.number("pushed") != 1 || st.number("taken") != 1 || st.number("fetches") != 4 || st.number("authorizers") != 1 || strings.Contains(st.Body.String(), push.Ticket) {
		t.Errorf("%s", st.Body)
	}
}

func TestAuthorizations(t *testing.T) {
	rc := newReceiver(t)
	ts := newTester(t, platformConfig(rc.url))
	ts.post(platform+"/push", "")
	component := ts.componentToken(rc.last().Ticket).text("component_access_token")

	made := ts.post(platform+"/authorize", "")
	merchant, code := made.text("authorizer_appid"), made.text("authorization_code")
	if e := rc.last(); e.InfoType != "authorized" || e.Authorizer != merchant || e.Code != code || e.Expires <= e.CreateTime || e.PreAuth == "" {
		t.Errorf("%+v", e)
	}
	list := func() answer { return ts.component("api_get_authorizer_list", component, `,"offset":0,"count":500`) }
	if a := list(); a.number("total_count") != 2 || !strings.Contains(a.Body.String(), `"authorizer_appid":"`+merchant+`","refresh_token":""`) {
		t.Errorf("before its code was used: %s", a.Body)
	}
	var auth struct {
		Info struct {
			AppID   string `json:"authorizer_appid"`
			Token   string `json:"authorizer_access_token"`
			Refresh string `json:"authorizer_refresh_token"`
		} `json:"authorization_info"`
	}
	query := func(code string) answer {
		return ts.component("api_query_auth", component, `,"authorization_code":"`+code+`"`)
	}
	query("x").want(61009)
	decode(t, query(code), &auth)
	query(code).want(61009)
	first := auth.Info
	if first.AppID != merchant || !strings.HasPrefix(first.Refresh, "refreshtoken@@@") {
		t.Errorf("%+v", first)
	}
	if a := list(); !strings.Contains(a.Body.String(), first.Refresh) {
		t.Errorf("%s", a.Body)
	}
	ts.component("api_get_authorizer_list", component, `,"offset":0,"count":501`).want(40170)

	// Its token is like an account's.
	use := func(token string) answer { return ts.get("/cgi-bin/user/get?access_token=" + token) }
	use(first.Token).want(0)
	ts.post("/cgi-bin/message/template/send?access_token="+first.Token, `{"touser":"`+openID+`","template_id":"t"}`).want(0)
	if a := ts.get("/sandbox/messages?appid=" + merchant); !strings.Contains(a.Body.String(), "template/send") {
		t.Errorf("%s", a.Body)
	}
	ts.component("api_get_authorizer_info", first.Token, `,"authorizer_appid":"`+merchant+`"`).want(40001)
	for _, name := range []string{"get_authorizer_option", "api_get_authorizer_option"} {
		ts.component(name, first.Token, `,"option_name":"location_report"`).want(0)
		ts.component(name, component, `,"option_name":"location_report"`).want(40001)
	}

	refresh := func(appID, token string) answer {
		return ts.component("api_authorizer_token", component, `,"authorizer_appid":"`+appID+`","authorizer_refresh_token":"`+token+`"`)
	}
	refresh(merchant, "x").want(61023)
	refresh("wx9", first.Refresh).want(61003)
	a := refresh(merchant, first.Refresh)
	second := a.text("authorizer_access_token")
	if second == first.Token || a.text("authorizer_refresh_token") != first.Refresh {
		t.Errorf("%s", a.Body)
	}
	use(first.Token).want(0) // a little longer
	use(second).want(0)
	ts.post(platform+"/authorizers/"+merchant+"/revoke", "")
	use(second).want(40001)
	ts.post(platform+"/authorizers/"+merchant+"/rotate_refresh_token", "")
	refresh(merchant, first.Refresh).want(61023)
	var info struct {
		Info struct {
			Refresh string `json:"authorizer_refresh_token"`
		} `json:"authorization_info"`
	}
	decode(t, ts.component("api_get_authorizer_info", component, `,"authorizer_appid":"`+merchant+`"`), &info)
	third := refresh(merchant, info.Info.Refresh).text("authorizer_access_token")

	// Again, and by an account of the sandbox's.
	again := ts.post(platform+"/authorize", `{"appid":"`+merchant+`"}`).text("authorization_code")
	if e := rc.last(); e.InfoType != "updateauthorized" {
		t.Errorf("%+v", e)
	}
	refresh(merchant, info.Info.Refresh).want(0)
	query(again).want(0)
	refresh(merchant, info.Info.Refresh).want(61023)
	ts.post(platform+"/authorize", `{"appid":"`+appID+`"}`)
	if n := list().number("total_count"); n != 3 {
		t.Errorf("%d authorizers", n)
	}

	ts.post(platform+"/unauthorize", `{"appid":"`+merchant+`"}`)
	if e := rc.last(); e.InfoType != "unauthorized" || e.Authorizer != merchant {
		t.Errorf("%+v", e)
	}
	use(third).want(61003)
	refresh(merchant, info.Info.Refresh).want(61003)
	ts.component("api_get_authorizer_info", component, `,"authorizer_appid":"`+merchant+`"`).want(61003)
	if n := list().number("total_count"); n != 2 {
		t.Errorf("%d authorizers", n)
	}
	st := ts.get(platform + "/authorizers/" + merchant)
	if st.json()["authorized"] != false || st.number("fetches") != 5 {
		t.Errorf("%s", st.Body)
	}
}

func TestPlatformLogins(t *testing.T) {
	rc := newReceiver(t)
	ts := newTester(t, platformConfig(rc.url))
	ts.post(platform+"/push", "")
	component := ts.componentToken(rc.last().Ticket).text("component_access_token")
	login := "/sns/component/jscode2session?appid=wxfirst&component_appid=wxisv&grant_type=authorization_code&js_code=alice&"
	ts.get(login + "component_access_token=x").want(40014)
	ts.get(login + "access_token=" + component).want(41001) // in its own parameter alone
	if got := ts.get(login + "component_access_token=" + component).text("openid"); !strings.HasPrefix(got, "o") {
		t.Errorf("openid %q", got)
	}
	ts.get(login + "component_access_token=" + component).want(40163)
	ts.get(strings.Replace(login, "wxfirst", appID, 1) + "component_access_token=" + component).want(61003)
}

func TestPushes(t *testing.T) {
	rc := newReceiver(t)
	ts := newTester(t, platformConfig(rc.url))
	rc.answer(http.StatusServiceUnavailable)
	a := ts.post(platform+"/authorize", `{"appid":"wx9"}`)
	if pushed := a.json()["pushed"].(map[string]any); pushed["taken"] != false || pushed["status"] != 503.0 {
		t.Errorf("%s", a.Body)
	}
	ts.post(platform+"/push", "")
	if st := ts.get(platform); st.number("waiting") != 1 || st.number("pushed") != 3 || st.number("taken") != 0 {
		t.Errorf("%s", st.Body)
	}
	rc.answer(0)
	ts.post(platform+"/push", "")
	if st := ts.get(platform); st.number("waiting") != 0 || st.number("taken") != 2 {
		t.Errorf("%s", st.Body)
	}
	if e := rc.events[len(rc.events)-2]; e.InfoType != "authorized" || e.Authorizer != "wx9" {
		t.Errorf("what was not taken did not come again: %+v", e)
	}
	ticket := rc.last()
	ts.post(platform+"/push?repeat=true", "")
	if rc.last() != ticket {
		t.Error("another ticket")
	}
	ts.post(platform+"/push", "")
	if rc.last().Ticket == ticket.Ticket {
		t.Error("the same ticket")
	}

	for target, want := range map[string]int{
		"/sandbox/platforms/wx9/push": 404, "/sandbox/platforms/wx9/authorize": 404, platform + "/push?repeat=maybe": 400,
	} {
		if a := ts.post(target, ""); a.Code != want {
			t.Errorf("%s: %d", target, a.Code)
		}
	}
	for body, want := range map[string]int{`{"appid":"a/b"}`: 400, `{"x":1}`: 400, `{"appid":"wxisv"}`: 400} {
		if a := ts.post(platform+"/authorize", body); a.Code != want {
			t.Errorf("%s: %d", body, a.Code)
		}
	}
	if a := ts.post(platform+"/unauthorize", `{"appid":"wx8"}`); a.Code != http.StatusNotFound {
		t.Errorf("%d", a.Code)
	}
}

func TestComponentConfig(t *testing.T) {
	good := platformConfig("").Components[0]
	for want, change := range map[string]func(*sandbox.Component){
		"no AppID":              func(c *sandbox.Component) { c.AppID = "" },
		"twice":                 func(c *sandbox.Component) { c.AppID = appID },
		"needs a secret":        func(c *sandbox.Component) { c.Secret = "" },
		"a push_token":          func(c *sandbox.Component) { c.PushToken = "" },
		"no EncodingAESKey":     func(c *sandbox.Component) { c.PushAESKey = "short" },
		"callback is no URL":    func(c *sandbox.Component) { c.Callback = "callback" },
		"of an authorizer":      func(c *sandbox.Component) { c.Authorizers = []string{"a/b"} },
		"43 letters and digits": func(c *sandbox.Component) { c.PushAESKey = strings.Repeat("!", 43) },
	} {
		changed := good
		change(&changed)
		_, err := sandbox.New(sandbox.Config{
			Accounts: []sandbox.Account{{AppID: appID, AppSecret: secret}}, Components: []sandbox.Component{changed},
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
