package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	hubKey   = "key-of-the-test-environment-at-the-hub"
	hubKey2  = "another-key-of-the-test-environment"
	ciHubKey = "key-of-the-ci-environment-at-the-hub"
)

const hubCallers = `
	caller test {
		key {env.HUB_KEY}
	}
	caller ci {
		key {env.CI_HUB_KEY}
	}`

// hubKind is a kind of account that is shared through a hub.
type hubKind struct {
	name   string
	hub    string // its account
	spoke  string // the account of those behind it: UPSTREAM is the hub's URL
	path   string // of an API of the account, which takes all methods
	login  string // of the token endpoint, with SECRET
	death  string // the sandbox's path that kills the account's token
	reject string // the errcode that tells it
}

// hubAccount is an official account with options, at the hub or behind it.
func hubAccount(secret, options string) string {
	return "\n account shop {\n appid {env.WEIXIN_APPID}\n secret " + secret + "\n " + options + "\n }"
}

const (
	officialLogin = "/cgi-bin/token?grant_type=client_credential&appid=" + appID + "&secret=SECRET"
	officialDeath = "/sandbox/accounts/" + appID + "/revoke"
	wecomLogin    = "/cgi-bin/gettoken?corpid=" + corpID + "&corpsecret=SECRET"
	wecomDeath    = "/sandbox/corps/" + corpID + "/agents/1000002/revoke"
)

// hubKinds are all of them, and what may differ between the hub and those behind
// it.
var hubKinds = []hubKind{
	{"official account", hubAccount("{env.WEIXIN_SECRET}", ""), hubAccount("{env.KEY}", "upstream UPSTREAM"), "/cgi-bin/hub/test?x=1", officialLogin, officialDeath, "40001"},
	{"classic", hubAccount("{env.WEIXIN_SECRET}", "token classic"), hubAccount("{env.KEY}", "upstream UPSTREAM\n token classic"), "/cgi-bin/hub/test?x=1", officialLogin, officialDeath, "40001"},
	{"mini program, classic at the hub alone", hubAccount("{env.WEIXIN_SECRET}", "token classic"), hubAccount("shop:{env.KEY}", "upstream UPSTREAM"), "/wxa/hub/test?x=1", officialLogin, officialDeath, "40001"},
	{"wecom", strings.ReplaceAll(hrAccount, "UPSTREAM", "WECHAT"), strings.ReplaceAll(hrAccount, "{env.HR_SECRET}", "{env.KEY}"), "/cgi-bin/hub/test?x=1", wecomLogin, wecomDeath, "40014"},
	{"wecom, one of two", strings.ReplaceAll(hrAccount+salesAccount, "UPSTREAM", "WECHAT"), strings.ReplaceAll(hrAccount, "{env.HR_SECRET}", "hr:{env.KEY}"), "/cgi-bin/hub/test?x=1", wecomLogin, wecomDeath, "40014"},
	{"beside other kinds", strings.ReplaceAll(defaultAccount+hrAccount, "UPSTREAM", "WECHAT"), hubAccount("{env.KEY}", "upstream UPSTREAM") + strings.ReplaceAll(hrAccount, "{env.HR_SECRET}", "{env.KEY}"), "/cgi-bin/hub/test?appid=" + appID, officialLogin, officialDeath, "40001"},
}

// hubs is a hub in front of WeChat, with what is behind it.
type hubs struct {
	t    *testing.T
	kind hubKind
	w    *weChat
	port int // the hub's, also after a restart
	dir  string
	hub  *caddy
}

var hubEnv = []string{
	"CORPID=" + corpID, "HR_SECRET=" + hrSecret, "SALES_SECRET=" + salesSecret,
	"HUB_KEY=" + hubKey, "HUB_KEY_2=" + hubKey2, "CI_HUB_KEY=" + ciHubKey,
}

func startHub(t *testing.T, kind hubKind) *hubs {
	t.Helper()
	w := startWeChatWith(t, sandbox.Config{
		Accounts: []sandbox.Account{{AppID: appID, AppSecret: appSecret}},
		Corps: []sandbox.Corp{{CorpID: corpID, Agents: []sandbox.Agent{
			{AgentID: "1000002", Secret: hrSecret}, {AgentID: "1000003", Secret: salesSecret},
		}}},
	})
	// Whatever goes through either has its log searched for them, and for virtual
	// tokens.
	w.secrets = []string{hrSecret, salesSecret, hubKey, hubKey2, ciHubKey, account.VirtualTokenPrefix}
	h := &hubs{t: t, kind: kind, w: w, port: freePort(t), dir: t.TempDir()}
	h.startHub(hubCallers)
	return h
}

// startHub starts the hub, as it was at first or with other callers.
func (h *hubs) startHub(callers string) {
	h.t.Helper()
	h.hub = startCaddy(h.t, h.w, config{global: h.hubConfig(callers), env: hubEnv, dataDir: h.dir, port: h.port})
}

func (h *hubs) hubConfig(callers string) string {
	return strings.ReplaceAll(h.kind.hub, "WECHAT", h.w.URL) + callers
}

// reloadHub has the hub know other callers.
func (h *hubs) reloadHub(callers string) {
	h.t.Helper()
	h.hub.reload(h.w, config{global: h.hubConfig(callers), options: "grace_period 1s"})
}

// spoke is a Caddy behind the hub.
type spoke struct {
	*caddy
	hubs *hubs
}

// spokeConfig is what is behind the hub, with one of its keys.
func (h *hubs) spokeConfig(key string) config {
	global := strings.ReplaceAll(h.kind.spoke, "UPSTREAM", fmt.Sprintf("http://127.0.0.1:%d", h.port))
	return config{
		noUpstream: true, env: append([]string{"KEY=" + key}, hubEnv...), options: "grace_period 1s",
		global: strings.ReplaceAll(global, "{env.KEY}", "{env."+map[string]string{hubKey: "HUB_KEY", hubKey2: "HUB_KEY_2", ciHubKey: "CI_HUB_KEY"}[key]+"}"),
	}
}

func (h *hubs) startSpoke(key string) *spoke {
	h.t.Helper()
	return &spoke{startCaddy(h.t, h.w, h.spokeConfig(key)), h}
}

// call sends a request of an application's that has no token of its own.
func (s *spoke) call() answer {
	s.t.Helper()
	return get(s.t, s.url+s.hubs.kind.path)
}

// login returns the token that an application gets.
func (s *spoke) login() string {
	s.t.Helper()
	return granted(s.t, get(s.t, s.url+strings.ReplaceAll(s.hubs.kind.login, "SECRET", "anything"))).AccessToken
}

// kill has WeChat refuse the account's token.
func (h *hubs) kill() {
	h.t.Helper()
	rec := httptest.NewRecorder()
	h.w.sandbox.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, h.kind.death, nil))
	if rec.Code != http.StatusOK {
		h.t.Fatalf("%s: %d %s", h.kind.death, rec.Code, rec.Body)
	}
}

// fetches returns how often WeChat was asked for a token.
func (h *hubs) fetches() int {
	return h.w.count("/cgi-bin/token") + h.w.count("/cgi-bin/stable_token") + h.w.count("/cgi-bin/gettoken")
}

// settledFetches returns the same once the hub has fetched for each of its accounts,
// which it does unasked.
func (h *hubs) settledFetches() int {
	h.t.Helper()
	want := strings.Count(h.kind.hub, "account ")
	if !eventually(func() bool { return h.fetches() >= want }) || h.fetches() > want {
		h.t.Fatalf("%d fetches at WeChat for %d accounts", h.fetches(), want)
	}
	return want
}

func eachHub(t *testing.T, f func(t *testing.T, h *hubs)) {
	for _, kind := range hubKinds {
		t.Run(kind.name, func(t *testing.T) { f(t, startHub(t, kind)) })
	}
}

// Those behind a hub see no token die: the hub cures it, once for all of them, and
// none of their requests reaches WeChat more often than without a hub.
func TestHub(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		test, ci := h.startSpoke(hubKey), h.startSpoke(ciHubKey)
		wantOK(t, test.call())
		wantOK(t, ci.call())
		before := h.settledFetches()
		token := test.login()
		const each = 10
		for round := 1; round <= 3; round++ {
			h.kill()
			sent := h.sentPosts()
			var wg sync.WaitGroup
			var failed failures
			for _, s := range []*spoke{test, ci} {
				for range each {
					wg.Go(func() {
						if a := post(t, s.url+h.kind.path, `{"a":1}`); a.status != http.StatusOK || a.errcode() != 0 {
							failed.add(a.String())
						}
					})
				}
			}
			wg.Wait()
			failed.report(t)
			if n := h.sentPosts() - sent; n > 2*2*each {
				t.Errorf("WeChat got %d requests for %d", n, 2*each)
			}
			if n := h.fetches(); n != before+round {
				t.Errorf("%d fetches at WeChat after %d deaths, %d before", n, round, before)
			}
		}
		wantOK(t, get(t, test.url+h.kind.path+"&access_token="+token))
		for _, s := range []*spoke{test, ci} {
			if n := len(s.logged("request replayed")); n != 0 {
				t.Errorf("%d requests were replayed behind the hub", n)
			}
			fetches, accounts := func() int { return len(s.logged("token fetched")) }, strings.Count(h.kind.spoke, "account ")
			// An account that nobody uses may still be at its first.
			if eventually(func() bool { return fetches() >= accounts }); fetches() != accounts {
				t.Errorf("%d fetches behind the hub, of %d accounts", fetches(), accounts)
			}
		}
		h.kill()
		wantReplayed(t, test.call(), h.kind.reject) // the client learns it all the same
	})
}

// sentPosts counts the POST requests that WeChat got.
func (h *hubs) sentPosts() int {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	path, _, _ := strings.Cut(h.kind.path, "?")
	n := 0
	for _, req := range h.w.requests {
		if req.Method == http.MethodPost && req.URL.Path == path {
			n++
		}
	}
	return n
}

// What WeChat refuses with every token is not sent again on each level, and what
// knows virtual tokens hears of it in the hub's words.
func TestHubInVain(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		s := h.startSpoke(hubKey)
		wantOK(t, s.call())
		token := s.login()
		h.w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, `{"errcode":`+h.kind.reject+`,"errmsg":"refused"}`)
		})
		a := post(t, s.url+h.kind.path+"&access_token="+token, "{}")
		if a.status != http.StatusServiceUnavailable || a.errcode() != -1 || !strings.Contains(a.body, "weixin proxy: ") {
			t.Errorf("got %s", a)
		}
		if n := h.sentPosts(); n != 2 {
			t.Errorf("WeChat got the request %d times", n)
		}
		h.w.answer(nil)
		s.until("served afterwards", isServed)
	})
}

// A hub that restarts costs nothing but the time it is away: those behind it keep
// their tokens, which say all by themselves.
func TestHubRestarts(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		s := h.startSpoke(hubKey)
		wantOK(t, s.call())
		before := h.settledFetches()
		h.hub.stop()
		if a := s.call(); a.status != http.StatusBadGateway || !strings.Contains(a.body, `"errmsg":"weixin proxy: `) {
			t.Errorf("while the hub is away: %s", a)
		}
		h.startHub(hubCallers)
		wantOK(t, s.call())
		if n := h.fetches(); n != before {
			t.Errorf("%d fetches at WeChat, %d before", n, before)
		}
		h.hub.kill()
		h.dir = t.TempDir()
		h.startHub(hubCallers)
		wantOK(t, s.call())
		if !eventually(func() bool { return h.fetches() >= 2*before }) || h.fetches() > 2*before {
			t.Errorf("%d fetches at WeChat with a new store, %d before", h.fetches(), before)
		}
		if n := len(s.logged("request replayed")); n != 0 {
			t.Errorf("%d requests were replayed", n)
		}
	})
}

// What begins while its hub is away says so, and is served once it is there.
func TestHubIsAway(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		h.hub.stop()
		s := h.startSpoke(hubKey)
		a := s.call()
		if a.status < 500 || a.errcode() != -1 || !strings.Contains(a.body, "cannot be reached") {
			t.Errorf("got %s", a)
		}
		if status := get(t, s.admin+"/weixin/accounts").body; !strings.Contains(status, "unreachable") || !strings.Contains(status, "the account's upstream") {
			t.Errorf("status %s", status)
		}
		h.startHub(hubCallers)
		s.until("served once the hub is there", isServed)
	})
}
