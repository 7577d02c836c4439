package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// secureSites are the ways in which a request can go through the proxy.
var secureSites = map[string]string{
	"handler":   "weixin",
	"net_http":  "weixin {\n round_tripper net_http\n }",
	"transport": "reverse_proxy UPSTREAM {\n transport weixin shop\n }",
}

// wantPlain checks that an answer looks as it would have without API security.
func wantPlain(t *testing.T, a answer, want string) {
	t.Helper()
	if a.status != http.StatusOK || a.body != want {
		t.Errorf("got %s", a)
	}
	if got := a.header.Get("Content-Length"); got != "" && got != fmt.Sprint(len(want)) {
		t.Errorf("Content-Length is %s, and there are %d bytes", got, len(want))
	}
	for name := range a.header {
		if strings.HasPrefix(name, "Wechatmp-") {
			t.Errorf("the client sees %s", name)
		}
	}
}

// wantRefused checks that an answer of WeChat's is not shown.
func wantRefused(t *testing.T, a answer, mentions string) {
	t.Helper()
	wantProxyError(t, a, http.StatusBadGateway, -1, mentions)
	if strings.Contains(a.body, "risk_rank") || strings.Contains(a.body, "authtag") {
		t.Errorf("something of the answer is shown: %s", a)
	}
}

// An application that knows nothing of API security calls as always.
func TestAPISecurity(t *testing.T) {
	t.Parallel()
	for name, site := range secureSites {
		t.Run(name, func(t *testing.T) {
			s := startSecureWeChat(t)
			p := s.start("", config{site: site})
			a := post(t, p.url+riskPath+"?access_token=mine&client_ip=127.0.0.1&scene=7", riskBody)
			wantPlain(t, a, riskAnswer)
			got := s.opened()[0]
			want := map[string]string{
				"openid": `"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM"`, "scene": "0", "big": "12345678901234567890", "text": `"<a&b> 你好"`, "client_ip": `"127.0.0.1"`,
			}
			for field, value := range want {
				if string(got.fields[field]) != value {
					t.Errorf("%s is %s inside, want %s", field, got.fields[field], value)
				}
			}
			if len(got.fields) != len(want) {
				t.Errorf("inside there are %d fields", len(got.fields))
			}
			if got.query != "access_token="+s.w.currentToken() {
				t.Error("the query is not the token alone")
			}
			if strings.Contains(got.body, "oEWzBfmd") || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("WeChat got %q as %s", got.body, got.header.Get("Content-Type"))
			}
			for _, secret := range append(s.w.secrets, s.w.currentToken()) {
				if strings.Contains(fmt.Sprint(got.header), secret) {
					t.Error("a secret is in the header")
				}
			}
		})
	}
}

// What is sent may be of any form that WeChat takes.
func TestAPISecurityBodies(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{})
	long := `{"openid":"` + strings.Repeat("x", 300_000) + `"}`
	for name, body := range map[string]string{
		"none": "", "blank": " \n", "empty object": "{}", "white space": "\n { \"a\" : 1 }\n", "byte order mark": "\xef\xbb\xbf{\"a\":1}", "long": long,
	} {
		for _, chunked := range []bool{false, true} {
			var r io.Reader = strings.NewReader(body)
			if chunked {
				r = io.MultiReader(r)
			}
			before := len(s.opened())
			wantPlain(t, do(t, newRequest(t, http.MethodPost, p.url+riskPath, r)), riskAnswer)
			if got := s.opened(); len(got) != before+1 {
				t.Errorf("%s: WeChat has opened %d requests", name, len(got)-before)
			}
		}
	}
	tooLong := `{"openid":"` + strings.Repeat("x", 1<<20) + `"}`
	wantProxyError(t, post(t, p.url+riskPath, tooLong), http.StatusRequestEntityTooLarge, 45001, "encrypted")
	wantProxyError(t, post(t, p.url+riskPath+"?a=%zz", "{}"), http.StatusBadRequest, 40035, "query")
}

// Answers look as they would have, however long they are and in how many pieces
// they come.
func TestAPISecurityAnswers(t *testing.T) {
	t.Parallel()
	for name, site := range secureSites {
		t.Run(name, func(t *testing.T) {
			s := startSecureWeChat(t)
			p := s.start("", config{site: site})
			for _, answer := range []string{"{}", riskAnswer, `{"list":"` + strings.Repeat("y", 5000) + `"}`, `{"list":"` + strings.Repeat("y", 200_000) + `"}`} {
				for _, chunked := range []bool{false, true} {
					s.set(func() {
						s.answer = answer
						s.alter = func(a *sealedAnswer) { a.chunked = chunked }
					})
					wantPlain(t, post(t, p.url+riskPath, riskBody), answer)
				}
			}
		})
	}
}

// A request that is refused for its token is encrypted anew.
func TestAPISecurityReplay(t *testing.T) {
	t.Parallel()
	for name, site := range secureSites {
		t.Run(name, func(t *testing.T) {
			s := startSecureWeChat(t)
			p := s.start("", config{site: site})
			wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
			var refused []string
			s.w.revoke()
			s.set(func() {
				dead := s.w.currentToken()
				s.instead = func(rw http.ResponseWriter, req *http.Request) bool {
					if req.URL.Query().Get("access_token") != dead {
						return false
					}
					body, _ := io.ReadAll(req.Body)
					refused = append(refused, string(body))
					_, _ = io.WriteString(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
					return true
				}
			})
			a := post(t, p.url+riskPath, riskBody)
			wantPlain(t, a, riskAnswer)
			wantReplayed(t, a, "40001")
			got := s.opened()
			last := got[len(got)-1]
			if len(refused) != 1 || last.body == refused[0] || strings.Contains(refused[0], last.iv) {
				t.Errorf("%d requests were refused, or the second has the first's envelope", len(refused))
			}
			if string(last.fields["openid"]) != `"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM"` {
				t.Errorf("inside is %s", last.fields["openid"])
			}
		})
	}
}

// A token error that comes encrypted is one all the same.
func TestAPISecurityEncryptedTokenError(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{})
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	s.set(func() {
		s.answer = `{"errcode":40001,"errmsg":"invalid credential"}`
		s.alter = func(*sealedAnswer) {
			if len(s.received) > 2 {
				s.answer = riskAnswer
			}
		}
	})
	s.w.revoke()
	a := post(t, p.url+riskPath, riskBody)
	wantPlain(t, a, riskAnswer)
	wantReplayed(t, a, "40001")
}

// What does not verify is not shown.
func TestAPISecurityWrongAnswers(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{})
	flip := func(field string) func([]byte) []byte {
		return func(body []byte) []byte {
			i := bytes.Index(body, []byte(`"`+field+`":"`)) + len(field) + 4
			if body[i] == 'A' {
				body[i] = 'B'
			} else {
				body[i] = 'A'
			}
			return body
		}
	}
	for name, c := range map[string]struct {
		alter    func(*sealedAnswer)
		mentions string
	}{
		"data":                 {func(a *sealedAnswer) { a.tamper = flip("data") }, "signature"},
		"iv":                   {func(a *sealedAnswer) { a.tamper = flip("iv") }, "signature"},
		"tag":                  {func(a *sealedAnswer) { a.tamper = flip("authtag") }, "signature"},
		"white space":          {func(a *sealedAnswer) { a.tamper = func(b []byte) []byte { return append(b, ' ') } }, "signature"},
		"salt":                 {func(a *sealedAnswer) { a.salt = 20 }, "signature"},
		"another's key":        {func(a *sealedAnswer) { a.signer = s.next }, "signature"},
		"unknown number":       {func(a *sealedAnswer) { a.serial = "4711" }, "verify \\\"4711\\\""},
		"late":                 {func(a *sealedAnswer) { a.at = a.at.Add(-310 * time.Second) }, "300 s"},
		"another path":         {func(a *sealedAnswer) { a.path = "/wxa/msg_sec_check" }, "signature"},
		"another appid":        {func(a *sealedAnswer) { a.appID = "wx0000000000000002" }, ""},
		"another appid inside": {func(a *sealedAnswer) { a.inner = map[string]string{"_appid": `"wx2"`} }, "another appid"},
		"another time inside":  {func(a *sealedAnswer) { a.inner = map[string]string{"_timestamp": "1"} }, "another time"},
		"plain":                {func(a *sealedAnswer) { a.tamper = func([]byte) []byte { return []byte(`{"risk_rank":0}`) } }, "plain_answers"},
		"plain with errcode 0": {func(a *sealedAnswer) { a.tamper = func([]byte) []byte { return []byte(riskAnswer) } }, "plain_answers"},
		"plain after white space": {func(a *sealedAnswer) {
			a.tamper = func([]byte) []byte { return []byte("\r\n\t {\"risk_rank\":0}") }
		}, "plain_answers"},
		"encoded": {func(a *sealedAnswer) { a.extraHeaders.Set("Content-Encoding", "gzip") }, "Content-Encoding"},
		"endless": {func(a *sealedAnswer) {
			a.tamper = func([]byte) []byte { return []byte(`{"risk_rank":"` + strings.Repeat("x", 9<<20) + `"}`) }
		}, "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			s.set(func() { s.alter = c.alter })
			wantRefused(t, post(t, p.url+riskPath, riskBody), c.mentions)
		})
	}
	s.set(func() { s.alter = nil })
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	// A clock that is ahead is no attack.
	s.set(func() { s.alter = func(a *sealedAnswer) { a.at = a.at.Add(time.Hour) } })
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
}

// An answer that stops midway, or does not go on, is none.
func TestAPISecurityBrokenAnswers(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{site: "weixin {\n timeout 300ms\n }"})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for _, stall := range []bool{false, true} {
		s.set(func() {
			s.instead = func(rw http.ResponseWriter, _ *http.Request) bool {
				rw.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(rw, `{"risk_rank":0`)
				_ = http.NewResponseController(rw).Flush()
				if stall {
					<-release
				}
				panic(http.ErrAbortHandler)
			}
		})
		want := http.StatusBadGateway
		if stall {
			want = http.StatusGatewayTimeout
		}
		if a := post(t, p.url+riskPath, riskBody); a.status != want || strings.Contains(a.body, "risk_rank") {
			t.Errorf("got %s, want status %d", a, want)
		}
	}
}

// Errors come plain, and so may what is no JSON or has another status.
func TestAPISecurityPlainAnswers(t *testing.T) {
	t.Parallel()
	picture := "\x89PNG\r\n\x1a\n" + strings.Repeat("{picture}", 1000)
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"error":          {200, `{"errcode":40234,"errmsg":"invalid signature rid: 1-2"}`},
		"error as text":  {200, `{"errcode":"45009","errmsg":"reach max api daily quota limit"}`},
		"picture":        {200, picture},
		"short":          {200, "{"},
		"nothing":        {200, ""},
		"list":           {200, `[{"risk_rank":0}]`},
		"another status": {500, `{"risk_rank":0}`},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := startSecureWeChat(t)
				p := s.start("", config{})
				s.set(func() {
					s.instead = func(rw http.ResponseWriter, _ *http.Request) bool {
						rw.Header().Set("Wechatmp-Appid", "x")
						rw.WriteHeader(c.status)
						if chunked {
							_ = http.NewResponseController(rw).Flush()
						}
						_, _ = io.WriteString(rw, c.body)
						return true
					}
				})
				a := post(t, p.url+riskPath, riskBody)
				if a.status != c.status || a.body != c.body || a.header.Get("Wechatmp-Appid") != "" {
					t.Errorf("got %d, %d bytes, %v", a.status, len(a.body), a.header)
				}
			})
		}
	}
	t.Run("plain_answers", func(t *testing.T) {
		s := startSecureWeChat(t)
		p := s.start("plain_answers", config{})
		s.set(func() {
			s.alter = func(a *sealedAnswer) { a.tamper = func([]byte) []byte { return []byte(riskAnswer) } }
		})
		wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
		s.set(func() {
			s.alter = func(a *sealedAnswer) { a.signer = s.next }
		})
		wantRefused(t, post(t, p.url+riskPath, riskBody), "signature")
	})
}

// A picture is passed on as it comes.
func TestAPISecurityPictureIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{})
	goOn := make(chan struct{})
	s.set(func() {
		s.instead = func(rw http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(rw, strings.Repeat("x", 10_000))
			_ = http.NewResponseController(rw).Flush()
			<-goOn
			_, _ = io.WriteString(rw, "end")
			return true
		}
	})
	res, err := client.Post(p.url+"/wxa/getwxacode", "application/json", strings.NewReader(`{"path":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, err = io.ReadFull(res.Body, make([]byte, 10_000))
	close(goOn)
	rest, restErr := io.ReadAll(res.Body)
	if err != nil || restErr != nil || string(rest) != "end" {
		t.Errorf("%v, %v, %q", err, restErr, rest)
	}
}

// What is not for API security goes out as it is.
func TestAPISecurityUntouched(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("", config{})
	var got http.Header
	var gotBody, gotQuery string
	s.set(func() {
		s.instead = func(rw http.ResponseWriter, req *http.Request) bool {
			body, _ := io.ReadAll(req.Body)
			got, gotBody, gotQuery = req.Header, string(body), req.URL.RawQuery
			rw.Header().Set("Wechatmp-Signature", "of-the-answer")
			_, _ = io.WriteString(rw, `{"iv":"a","data":"b","authtag":"c"}`)
			return true
		}
	})
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, _ := m.CreateFormFile("media", "a.json")
	_, _ = io.WriteString(part, `{"a":1}`)
	m.Close()
	signed := http.Header{"Wechatmp-Signature": {"mine"}, "Wechatmp-Timestamp": {"1"}, "Wechatmp-Appid": {appID}}
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
	}{
		"signed by the application": {"POST", riskPath, `{"iv":"x","data":"y","authtag":"z"}`, signed},
		"another path":              {"POST", "/cgi-bin/menu/create", riskBody, nil},
		"below a path":              {"POST", riskPath + "/x", riskBody, nil},
		"another method":            {"GET", riskPath, "", nil},
		"PUT":                       {"PUT", riskPath, riskBody, nil},
		"list":                      {"POST", riskPath, `[1]`, nil},
		"form":                      {"POST", riskPath, `openid=1`, nil},
		"broken":                    {"POST", riskPath, `{"openid":`, nil},
		"large and no object":       {"POST", riskPath, strings.Repeat("x", 3<<20), nil},
		"multipart":                 {"POST", riskPath, form.String(), http.Header{"Content-Type": {m.FormDataContentType()}}},
	} {
		t.Run(name, func(t *testing.T) {
			req := newRequest(t, c.method, p.url+c.path+"?a=1", strings.NewReader(c.body))
			maps.Copy(req.Header, c.header)
			a := do(t, req)
			if a.status != 200 || a.body != `{"iv":"a","data":"b","authtag":"c"}` || a.header.Get("Wechatmp-Signature") != "of-the-answer" {
				t.Errorf("got %s", a)
			}
			if gotBody != c.body || !strings.HasPrefix(gotQuery, "a=1&access_token=") || got.Get("Wechatmp-Signature") != c.header.Get("Wechatmp-Signature") {
				t.Errorf("WeChat got %d bytes, %d of the query", len(gotBody), len(gotQuery))
			}
		})
	}
}

// The sandbox verifies what the proxy sends, and the proxy the sandbox's answers.
func TestAPISecurityWithSandbox(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t) // for its keys
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{{
		AppID: appID, AppSecret: appSecret,
		APISecurity: &sandbox.APISecurity{Keys: []sandbox.SecurityKey{{SN: securityKeySN, Key: s.keyText()}}, PublicKey: s.publicPEM()},
	}}})
	w.secrets = s.w.secrets
	rec := httptest.NewRecorder()
	w.sandbox.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/sandbox/certificate", nil))
	number := rec.Header().Get("Wechatmp-Serial")
	global := strings.ReplaceAll(secureAccount(""), "verify "+platformSN, "verify {env.PLATFORM_SN}")
	env := slices.Concat(s.env(), []string{"PLATFORM_SN=" + number, "PLATFORM_PEM=" + rec.Body.String()})
	for name, site := range secureSites {
		t.Run(name, func(t *testing.T) {
			p := startCaddy(t, w, config{global: global, env: env, site: site})
			body := `{"content":"hello","version":2,"scene":1,"openid":"o0000000000000000000000000001"}`
			a := post(t, p.url+"/wxa/msg_sec_check", body)
			if a.status != 200 || a.header.Get("Wechatmp-Signature") != "" || strings.Contains(a.body, "authtag") {
				t.Errorf("got %s", a)
			}
			if sent := w.last("/wxa/msg_sec_check"); sent.Header.Get("Wechatmp-Signature") == "" {
				t.Error("the request is not signed")
			}
			w.revoke()
			a = post(t, p.url+"/wxa/msg_sec_check", body)
			wantReplayed(t, a, "40001")
			if a.status != 200 || strings.Contains(a.body, "authtag") {
				t.Errorf("got %s", a)
			}
		})
	}
}

// A proxy behind a proxy: the inner one encrypts, and the outer one passes it on.
func TestAPISecurityThroughHub(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	hub := s.start("", config{})
	env := slices.Concat(s.env(), []string{"HUB_SECRET=shop"})
	global := strings.ReplaceAll(secureAccount(""), "secret {env.WEIXIN_SECRET}", "secret {env.HUB_SECRET}\n upstream "+hub.url)
	p := startCaddy(t, s.w, config{global: global, env: env, noUpstream: true})
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
}

// reverse_proxy may send a request to another upstream, whole.
func TestAPISecurityFailover(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := s.start("", config{site: "reverse_proxy " + dead + " UPSTREAM {\n transport weixin shop {\n trust_upstream\n }\n lb_policy round_robin\n lb_try_duration 5s\n }"})
	for _, size := range []int{10, 10, 10, 200_000, 200_000, 200_000} {
		wantPlain(t, post(t, p.url+riskPath, `{"openid":"`+strings.Repeat("x", size)+`"}`), riskAnswer)
	}
}
