package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Tickets are kept at the hub and behind it: WeChat is asked once for each, and
// pages are signed with one that says when it really ends.
func TestHubTickets(t *testing.T) {
	for _, c := range []struct {
		kind  hubKind
		paths []string
	}{
		{hubKinds[0], []string{"/cgi-bin/ticket/getticket?type=jsapi", "/cgi-bin/ticket/getticket?type=wx_card"}},
		{hubKinds[3], []string{"/cgi-bin/get_jsapi_ticket", "/cgi-bin/ticket/get?type=agent_config"}},
	} {
		t.Run(c.kind.name, func(t *testing.T) {
			h := startHub(t, c.kind)
			spokes := []*spoke{h.startSpoke(hubKey), h.startSpoke(ciHubKey)}
			for _, path := range c.paths {
				tickets := make(map[string]bool)
				for _, s := range spokes {
					for range 2 {
						tickets[ticketOf(t, get(t, s.url+path), 1800)] = true
					}
				}
				if len(tickets) != 1 {
					t.Errorf("%s: %d tickets", path, len(tickets))
				}
				for ticket := range tickets {
					h.w.secrets = append(h.w.secrets, ticket)
				}
			}
			asked := 0
			for _, path := range []string{getTicketPath, "/cgi-bin/get_jsapi_ticket", "/cgi-bin/ticket/get"} {
				asked += h.w.count(path)
			}
			if asked != len(c.paths) {
				t.Errorf("WeChat was asked for %d tickets, there are %d", asked, len(c.paths))
			}
			h.kill()
			signing := h.spokeConfig(hubKey)
			signing.site = "weixin_jssdk /jssdk {\n hosts page.example.com\n }\n weixin"
			p := startCaddy(t, h.w, signing)
			var got struct{ AppID, Signature string }
			a := get(t, p.url+"/jssdk?url=https%3A%2F%2Fpage.example.com%2F")
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK || got.Signature == "" || got.AppID == "" {
				t.Errorf("%v: %s", err, a)
			}
		})
	}
}

// Logins go through with the caller's key in the AppSecret's place, which the hub
// alone puts in.
func TestHubLogins(t *testing.T) {
	for _, i := range []int{0, 2} { // with the key alone, and with the account's name before it
		h := startHub(t, hubKinds[i])
		s := h.startSpoke(hubKey)
		wantOK(t, get(t, s.url+"/sns/jscode2session?grant_type=authorization_code&js_code=1&secret=anything&appid="+appID))
		if got := h.w.last("/sns/jscode2session").URL.Query().Get("secret"); got != appSecret {
			t.Error("WeChat got another secret")
		}
		wantOK(t, post(t, s.url+"/cgi-bin/clear_quota/v2", `{"appid":"`+appID+`"}`))
		// A user's own token needs no key, but an address that may call.
		if a := get(t, s.url+"/sns/auth?access_token=a-users-own&openid=o"); strings.Contains(a.body, "weixin proxy") {
			t.Errorf("got %s", a)
		}
		if got := h.w.last("/sns/auth").URL.Query().Get("access_token"); got != "a-users-own" {
			t.Error("WeChat got another token")
		}
	}
}

// What an answer and a request carry goes through both as through one.
func TestHubHeaders(t *testing.T) {
	h := startHub(t, hubKinds[0])
	s := h.startSpoke(hubKey)
	req := newRequest(t, http.MethodPost, s.url+h.kind.path, strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Weixin-Something", "x")
	req.Header.Set("User-Agent", "an application")
	wantOK(t, do(t, req))
	path, _, _ := strings.Cut(h.kind.path, "?")
	got := h.w.last(path)
	for name := range got.Header {
		if strings.HasPrefix(name, "X-") || name == "Authorization" || name == "Via" || name == "Forwarded" {
			t.Errorf("WeChat got %s", name)
		}
	}
	if got.UserAgent() != "an application" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("WeChat got %v", got.Header)
	}
	if all := got.URL.Query()["access_token"]; len(all) != 1 || all[0] != h.w.currentToken() {
		t.Errorf("WeChat got %d tokens", len(all))
	}
}

// An upload goes through both, whichever token dies on its way: WeChat's, or the
// hub's own, whose end the hub tells only when it has all of the body.
func TestHubUploads(t *testing.T) {
	h := startHub(t, hubKinds[0])
	s := h.startSpoke(hubKey)
	wantOK(t, s.call())
	body := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	var got int
	h.w.answer(func(rw http.ResponseWriter, req *http.Request) {
		data, _ := io.ReadAll(req.Body)
		if req.URL.Query().Get("access_token") != h.w.currentToken() {
			_, _ = io.WriteString(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
			return
		}
		got = len(data)
		_, _ = io.WriteString(rw, `{"errcode":0}`)
	})
	target := s.url + "/cgi-bin/media/upload?type=image"
	for round, die := range []func(){
		func() {},
		func() { h.kill(); h.w.checkable = true },
		func() { h.reloadHub(strings.ReplaceAll(hubCallers, "caller test", "caller renamed")) },
	} {
		die()
		var a answer
		if !eventually(func() bool { a = post(t, target, body); return isServed(a) }) || got != len(body) {
			t.Errorf("round %d: %s, %d bytes", round, a, got)
		}
	}
	if !eventually(func() bool { return len(s.logged("request replayed")) == 1 }) {
		t.Errorf("%d requests were replayed behind the hub", len(s.logged("request replayed")))
	}
}

// A token that lives for a moment at WeChat is the hub's concern.
func TestHubShortLife(t *testing.T) {
	h := startHub(t, hubKinds[0])
	s := h.startSpoke(hubKey)
	g := granted(t, get(t, h.hub.url+strings.ReplaceAll(officialLogin, "SECRET", hubKey)))
	if g.ExpiresIn != 7200 {
		t.Errorf("the hub's token lives for %d s", g.ExpiresIn)
	}
	for range 3 {
		h.w.expire()
		a := s.call()
		wantOK(t, a)
		wantReplayed(t, a, "42001")
	}
	if n := len(s.logged("token rejected")) + len(s.logged("token renewed")); n != 0 {
		t.Errorf("%d tokens of the hub's were replaced", n)
	}
}

// Applications behind a proxy behind the hub may get its real token, which is the
// hub's virtual one: it is good at both.
func TestHubTokensPassedOn(t *testing.T) {
	kind := hubKinds[0]
	kind.spoke = hubAccount("{env.KEY}", "upstream UPSTREAM\n issue real")
	h := startHub(t, kind)
	s := h.startSpoke(hubKey)
	token := s.login()
	for _, at := range []string{s.url, h.hub.url} {
		wantOK(t, get(t, at+kind.path+"&access_token="+token))
	}
	h.kill()
	wantReplayed(t, get(t, s.url+kind.path+"&access_token="+token), "40001")
}

// A hub that gives its real token is none for a test environment, but works: a
// death is cured where it is seen first.
func TestHubThatIssuesReal(t *testing.T) {
	kind := hubKinds[0]
	kind.hub = hubAccount("{env.WEIXIN_SECRET}", "issue real")
	h := startHub(t, kind)
	h.startHubAgain("\n caller test {\n key {env.HUB_KEY}\n }")
	s := h.startSpoke(hubKey)
	wantOK(t, s.call())
	for range 3 {
		h.kill()
		sent := h.sentPosts()
		wantOK(t, post(t, s.url+kind.path, "{}"))
		if n := h.sentPosts() - sent; n > 2 {
			t.Errorf("WeChat got the request %d times", n)
		}
	}
	h.w.fail("token", 40164, 1000)
	h.kill()
	if a := s.call(); a.status < 500 {
		t.Errorf("got %s", a)
	}
}

// startHubAgain starts the hub once more with other callers.
func (h *hubs) startHubAgain(callers string) {
	h.t.Helper()
	h.hub.stop()
	h.startHub(callers)
}

// Two that are each other's hub are found out, and do not go round for long.
func TestHubsOfEachOther(t *testing.T) {
	for _, i := range []int{0, 3} {
		h := startHub(t, hubKinds[i])
		h.hub.stop()
		config := h.spokeConfig(hubKey)
		other := startCaddy(t, h.w, config)
		config.port = h.port
		config.global = strings.ReplaceAll(config.global, fmt.Sprintf("http://127.0.0.1:%d", h.port), other.url)
		startCaddy(t, h.w, config)
		var a answer
		if !eventually(func() bool { a = get(t, other.url+h.kind.path); return a.status == http.StatusLoopDetected }) || !strings.Contains(a.body, "leads back to this proxy") {
			t.Errorf("%s: got %s", h.kind.name, a)
		}
	}
}

// The hub encrypts and signs for those behind it, which hold no key. One that has
// the keys itself may do so, too, and the hub passes it on.
func TestHubAPISecurity(t *testing.T) {
	for name, atTheHub := range map[string]bool{"at the hub": true, "behind it": false} {
		t.Run(name, func(t *testing.T) {
			secure := startSecureWeChat(t)
			secure.w.secrets = append(secure.w.secrets, hubKey)
			env := append(secure.env(), "HUB_KEY="+hubKey)
			hubConfig, spokeConfig := secureAccount(""), hubAccount("{env.HUB_KEY}", "upstream UPSTREAM")
			if !atTheHub {
				hubConfig = defaultAccount
				spokeConfig = strings.Replace(secureAccount(""), "{env.WEIXIN_SECRET}", "{env.HUB_KEY}\n upstream UPSTREAM", 1)
			}
			hub := startCaddy(t, secure.w, config{global: hubConfig + "\n caller test {\n key {env.HUB_KEY}\n }", env: env})
			p := startCaddy(t, secure.w, config{noUpstream: true, global: strings.ReplaceAll(spokeConfig, "UPSTREAM", hub.url), env: env})
			wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
			if got := secure.opened(); len(got) != 1 || string(got[0].fields["openid"]) != `"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM"` {
				t.Errorf("WeChat has opened %d requests", len(got))
			}
			secure.set(func() {
				secure.alter = func(a *sealedAnswer) { a.tamper = func(body []byte) []byte { return append(body, ' ') } }
			})
			wantRefused(t, post(t, p.url+riskPath, riskBody), "")
		})
	}
}
