package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const statusSite = `
	weixin_status /status
	weixin_status /watch {
		read_only
	}
	weixin`

// ask sends a request with headers, which are given as name and value.
func ask(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	req := newRequest(t, method, url, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	return do(t, req)
}

var statusToken = regexp.MustCompile(`data-token="([0-9a-f]*)"`)

// tokenOf returns what the page's buttons prove themselves with.
func tokenOf(t *testing.T, page answer) string {
	t.Helper()
	m := statusToken.FindStringSubmatch(page.body)
	if m == nil {
		t.Fatalf("there is no token: %s", page)
	}
	return m[1]
}

// press does what a browser does when the button is pressed.
func press(t *testing.T, url, token, account string, headers ...string) answer {
	t.Helper()
	body, err := json.Marshal(map[string]string{"account": account})
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, http.MethodPost, url, string(body), append([]string{
		"Content-Type", "application/json", "X-Weixin-Status", token, "Origin", url[:strings.Index(url[7:], "/")+7],
	}, headers...)...)
}

// pressAgain presses a button of a page that was just pressed: it is told to
// wait, and waits.
func pressAgain(t *testing.T, url, token, account string, headers ...string) answer {
	t.Helper()
	a := press(t, url, token, account, headers...)
	for range 3 {
		var message struct{ Message string }
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil || a.status != http.StatusTooManyRequests || seconds < 1 || seconds > 10 || json.Unmarshal([]byte(a.body), &message) != nil || message.Message == "" {
			return a
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		a = press(t, url, token, account, headers...)
	}
	return a
}

func TestStatusPage(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: statusSite})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	page := ask(t, http.MethodGet, p.url+"/status", "", "Accept", "text/html,*/*;q=0.8")
	s := statusOf(t, get(t, p.admin+"/weixin/accounts/shop"))
	for _, part := range []string{
		`<html lang="en">`, "<h2><bdi>shop</bdi></h2>", appID, s.Fingerprint, "stable", "All is well", `<title>All is well – WeChat tokens</title>`,
		s.ExpiresAt.UTC().Format("2006-01-02 15:04:05") + " UTC", "<progress ", "<noscript>",
	} {
		if !strings.Contains(page.body, part) {
			t.Errorf("the page does not have %q", part)
		}
	}
	if len(page.body) > 30_000 {
		t.Errorf("the page has %d bytes", len(page.body))
	}
	for name, value := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Language": "en", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := page.header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if vary := page.header.Values("Vary"); !slices.Contains(vary, "Accept") || !slices.Contains(vary, "Accept-Language") {
		t.Errorf("Vary is %q", vary)
	}
	wantCovered(t, page)

	chinese := ask(t, http.MethodGet, p.url+"/status", "", "Accept-Language", "fr, zh-TW;q=0.9, en;q=0.5")
	if !strings.Contains(chinese.body, `<html lang="zh-CN">`) || !strings.Contains(chinese.body, "一切正常") || chinese.header.Get("Content-Language") != "zh-CN" {
		t.Errorf("got %s", chinese)
	}
	wantCovered(t, chinese)

	// The page's script asks for no more than it needs.
	part := get(t, p.url+"/status?format=part")
	if strings.Contains(part.body, "<html") || !strings.HasPrefix(strings.TrimSpace(part.body), "<main ") || strings.Contains(part.body, tokenOf(t, page)) {
		t.Errorf("got %s", part)
	}
	head := ask(t, http.MethodHead, p.url+"/status", "")
	if head.status != http.StatusOK || head.body != "" || head.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: got %s, %v", head, head.header)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch, http.MethodTrace} {
		if a := ask(t, method, p.url+"/status", ""); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: got %s, %v", method, a, a.header)
		}
	}
	for _, a := range []answer{page, chinese, part, ask(t, http.MethodGet, p.url+"/status", "", "Accept", "application/json")} {
		for _, secret := range append(w.issuedTokens(), appSecret) {
			if strings.Contains(a.body, secret) || strings.Contains(fmt.Sprint(a.header), secret) {
				t.Error("a secret is shown")
			}
		}
	}
	// It is none of the requests that are counted.
	if metrics := get(t, p.admin+"/metrics").body; strings.Count(metrics, "caddy_weixin_requests_total{") != 1 {
		t.Error("the page counts as a request to WeChat")
	}
}

var inline = regexp.MustCompile(`(?s)<(style|script)>(.*?)</(?:style|script)>`)

// wantCovered checks that the policy has the digests of what is in the page, and
// that nothing in the page needs more.
func wantCovered(t *testing.T, page answer) {
	t.Helper()
	policy := page.header.Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'", "img-src data:"} {
		if !slices.Contains(strings.Split(policy, "; "), directive) {
			t.Errorf("the policy has no %s: %s", directive, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	for _, m := range inline.FindAllStringSubmatch(page.body, -1) {
		sum := sha256.Sum256([]byte(m[2]))
		if !strings.Contains(policy, m[1]+"-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
			t.Errorf("the policy does not cover the %s", m[1])
		}
	}
	rest := inline.ReplaceAllString(page.body, "")
	for _, bad := range []string{"<style", "<script", " style=", " onclick=", " src=", "javascript:", "//", "ZgotmplZ"} {
		if strings.Contains(strings.ReplaceAll(rest, "http://www.w3.org/2000/svg", ""), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestStatusPageJSON(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: statusSite})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.fail("token", 40164, 1000)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	for _, c := range []struct{ query, accept, language, advice string }{
		{"?format=json", "*/*", "en", "Add 1.2.3.4 to"},
		{"", "application/json", "zh-CN,zh;q=0.9", "加入 1.2.3.4"},
	} {
		inBackoff(t, p)
		a := ask(t, http.MethodGet, p.url+"/status"+c.query, "", "Accept", c.accept, "Accept-Language", c.language)
		var s struct {
			Now       string
			Attention []string
			Accounts  []struct {
				accountStatus
				Usable        *bool
				SecondsLeft   *float64 `json:"seconds_left"`
				RetryAt       string   `json:"retry_at"`
				FetchHistory  []int    `json:"fetch_history"`
				ReplayHistory []int    `json:"replay_history"`
				Quota         struct{ Fetches struct{ Used, Limit int } }
			}
		}
		if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.header.Get("Content-Type") != "application/json; charset=utf-8" || len(s.Accounts) != 1 {
			t.Fatalf("got %s", a)
		}
		shop := s.Accounts[0]
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("no account works, and the status is %d", a.status)
		}
		if s.Now == "" || !slices.Equal(s.Attention, []string{"shop"}) || shop.Name != "shop" || shop.AppID != appID || shop.State != "backoff" || shop.RetryAt == "" ||
			shop.Usable == nil || *shop.Usable || shop.SecondsLeft == nil || shop.Quota.Fetches.Used < 3 || shop.Quota.Fetches.Limit != 500_000 {
			t.Errorf("got %s", a)
		}
		if len(shop.FetchHistory) != 30 || shop.FetchHistory[29]+shop.FetchHistory[28] != 2 || len(shop.ReplayHistory) != 30 || shop.ReplayHistory[29]+shop.ReplayHistory[28] != 1 {
			t.Errorf("the history is %v, %v", shop.FetchHistory, shop.ReplayHistory)
		}
		if e := shop.LastError; e == nil || e.Errcode != 40164 || !strings.Contains(e.Advice, c.advice) {
			t.Errorf("got %s", a)
		}
	}
}

func TestStatusPageButton(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: statusSite})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	url := p.url + "/status"
	token := tokenOf(t, get(t, url))
	origin := strings.TrimSuffix(url, "/status")
	fingerprint := func() string { return statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint }

	first := fingerprint()
	if a := press(t, url, token, "shop"); a.status != http.StatusOK || !strings.Contains(a.body, "WeChat says that "+first+" is the current token.") {
		t.Errorf("got %s", a)
	}
	w.revoke()
	fetched := w.status().Fetches
	for range 20 { // whoever presses
		if a := press(t, url, token, "shop"); a.status != http.StatusTooManyRequests || !strings.Contains(a.body, "try again in") {
			t.Errorf("got %s", a)
		}
	}
	if n := w.status().Fetches; n != fetched {
		t.Errorf("%d fetches within ten seconds of one", n-fetched)
	}
	a := pressAgain(t, url, token, "shop", "Sec-Fetch-Site", "same-origin", "Accept-Language", "zh")
	if second := fingerprint(); a.status != http.StatusOK || second == first || !strings.Contains(a.body, "新的 token："+second) {
		t.Errorf("got %s", a)
	}
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "")

	fetches := w.status().Fetches
	kind := "application/json"
	body := `{"account":"shop"}`
	for _, c := range []struct {
		name    string
		status  int
		body    string
		headers []string
	}{
		{"no token", 403, body, []string{"Content-Type", kind, "Origin", origin}},
		{"an empty token", 403, body, []string{"Content-Type", kind, "Origin", origin, "X-Weixin-Status", ""}},
		{"another token", 403, body, []string{"Content-Type", kind, "Origin", origin, "X-Weixin-Status", strings.Repeat("0", len(token))}},
		{"no Origin", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token}},
		{"another Origin", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", "http://evil.example"}},
		{"no site's Origin", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", "null"}},
		{"two Origins", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin, "Origin", "http://evil.example"}},
		{"another port", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin + "0"}},
		{"cross-site", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin, "Sec-Fetch-Site", "cross-site"}},
		{"same-site", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin, "Sec-Fetch-Site", "same-site"}},
		{"typed in", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin, "Sec-Fetch-Site", "none"}},
		{"a form", 403, body, []string{"Content-Type", "text/plain", "X-Weixin-Status", token, "Origin", origin}},
		{"a link", 403, body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}},
		{"no JSON", 400, `account=shop`, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin}},
		{"too much", 400, strings.Repeat(" ", 10_000) + body, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin}},
		{"no such account", 404, `{"account":"shopp"}`, []string{"Content-Type", kind, "X-Weixin-Status", token, "Origin", origin}},
	} {
		a := ask(t, http.MethodPost, url, c.body, c.headers...)
		var message struct{ Message string }
		if err := json.Unmarshal([]byte(a.body), &message); err != nil || a.status != c.status || message.Message == "" {
			t.Errorf("%s: got %s, want %d", c.name, a, c.status)
		}
	}
	if n := w.status().Fetches; n != fetches {
		t.Errorf("%d fetches by requests that were refused", n-fetches)
	}

	// Where there is no button, there is nothing to press one with.
	watch := get(t, p.url+"/watch")
	if tokenOf(t, watch) != "" || strings.Contains(watch.body, "<button") || !strings.Contains(watch.body, "<h2><bdi>shop</bdi></h2>") {
		t.Errorf("got %s", watch)
	}
	if a := press(t, p.url+"/watch", token, "shop"); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("got %s", a)
	}

	// WeChat's refusal is told, with what to do.
	w.fail("token", 40164, 1)
	w.revoke()
	if a := pressAgain(t, url, token, "shop"); a.status != http.StatusBadGateway || !strings.Contains(a.body, "40164") || !strings.Contains(a.body, "Add 1.2.3.4") {
		t.Errorf("got %s", a)
	}
	// A page that was open before a restart still works.
	dataDir := p.dataDir
	p.stop()
	p = startCaddy(t, w, config{site: statusSite, dataDir: dataDir})
	if a := pressAgain(t, p.url+"/status", token, "shop"); a.status != http.StatusOK {
		t.Errorf("got %s", a)
	}
}

// anyName returns a site that has further directives in another, which Caddy
// serves under whatever name, and that one's URL.
func anyName(t *testing.T, directives string) (site, url string) {
	port := freePort(t)
	return fmt.Sprintf("weixin\n }\n :%d {\n log\n %s", port, directives), fmt.Sprintf("http://127.0.0.1:%d", port)
}

// The page opens for people, and for links on other web sites, but not for the
// web sites themselves.
func TestStatusPageAndOtherWebSites(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	site, url := anyName(t, "weixin_status /status\n weixin_status /named {\n hosts status.example.com\n }")
	startCaddy(t, w, config{site: site})
	port := url[strings.LastIndex(url, ":"):]
	link := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for _, c := range []struct {
		path    string
		headers []string
		allowed bool
	}{
		{"/status", []string{"Sec-Fetch-Site", "none"}, true},
		{"/status", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"/status", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"/status", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"/status", append([]string{"Sec-Fetch-Site", "cross-site"}, link...), true},
		{"/status", append([]string{"Sec-Fetch-Site", "same-site"}, link...), true},
		{"/status", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
		{"/status", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		{"/status", []string{"Origin", "http://evil.example"}, false},
		{"/status", []string{"Origin", "null"}, false},
		{"/status", []string{"Origin", url}, true},
		// Any web site can give its name the proxy's address.
		{"/status", []string{"Host", "evil.example" + port}, false},
		{"/status", []string{"Host", "evil.example" + port, "Origin", "http://evil.example" + port, "X-Forwarded-Proto", "https"}, false},
		{"/status", []string{"Host", "127.0.0.1.evil.example" + port}, false},
		{"/status", []string{"Host", "localhost" + port}, true},
		{"/status", []string{"Host", "weixin.localhost"}, true},
		{"/status", []string{"Host", "[::1]" + port}, true},
		{"/status", []string{"Host", "10.1.2.3"}, true},
		{"/status", []string{"Host", "proxy"}, true},
		{"/status", []string{"Host", "weixin.prod.svc.cluster.local:8080"}, true},
		{"/status", []string{"Host", "0.0.0.0" + port}, false},
		{"/status", []string{"Host", "0" + port}, false},
		{"/status", []string{"Host", "[::]" + port}, false},
		{"/named", []string{"Host", "Status.Example.com" + port}, true},
		{"/named", []string{"Host", "status.example.com."}, true},
		{"/named", []string{"Host", "evil.example"}, false},
	} {
		a := ask(t, http.MethodGet, url+c.path, "", c.headers...)
		if want := map[bool]int{true: 200, false: 403}[c.allowed]; a.status != want {
			t.Errorf("%s with %q: got %d, want %d", c.path, c.headers, a.status, want)
		}
		if a.status == http.StatusForbidden {
			wantCovered(t, a)
		}
	}
	if a := ask(t, http.MethodGet, url+"/status", "", "Host", "evil.example"+port); !strings.Contains(a.body, "hosts evil.example</p>") {
		t.Errorf("it does not say what to write: %s", a)
	}
}

func TestStatusPageAllowIPs(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		options: "servers {\n trusted_proxies static 127.0.0.1\n }",
		site:    "weixin_status /status\n weixin_status /public {\n allow_ips 203.0.113.0/24\n }\n weixin",
	})
	for _, c := range []struct {
		path, client string
		status       int
	}{
		{"/status", "192.168.1.1", 200},
		{"/status", "203.0.113.9", 403},
		{"/public", "203.0.113.9", 200},
		{"/public", "192.168.1.1", 403},
	} {
		a := ask(t, http.MethodGet, p.url+c.path, "", "X-Forwarded-For", c.client)
		if a.status != c.status || c.status == 403 && !strings.Contains(a.body, "allow_ips") {
			t.Errorf("%s from %s: got %s", c.path, c.client, a)
		}
	}
}

func TestStatusPageForCallers(t *testing.T) {
	t.Parallel()
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: "wx-shop", AppSecret: "secret-of-the-shop"},
		{AppID: "wx-club", AppSecret: "secret-of-the-club"},
	}})
	keys := map[string]string{"all": "the-key-of-all-accounts", "club": "the-key-of-the-club", "paths": "the-key-of-some-paths", "open": "the-key-of-an-open-one", "far": "the-key-of-a-far-one"}
	env := []string{"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club"}
	for name, key := range keys {
		env = append(env, "KEY_"+name+"="+key)
	}
	site, url := anyName(t, "weixin_status /status")
	p := startCaddy(t, w, config{site: site, env: env, global: twoAccounts + `
	caller all {
		key {env.KEY_all}
	}
	caller club {
		key {env.KEY_club}
		accounts club
	}
	caller paths {
		key {env.KEY_paths}
		allow /cgi-bin/*
	}
	caller open {
		key {env.KEY_open}
		allow /cgi-bin/* /status
	}
	caller far {
		key {env.KEY_far}
		ips 10.0.0.0/8
	}`})
	url += "/status"
	basic := func(key string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+key)) }
	for _, c := range []struct {
		authorization string
		status        int
		accounts      []string
	}{
		{"", 401, nil},
		{"Bearer nobody", 401, nil},
		{basic("nobody"), 401, nil},
		{basic(""), 401, nil},
		{"Bearer " + keys["all"], 200, []string{"club", "shop"}},
		{basic(keys["all"]), 200, []string{"club", "shop"}},
		{basic(keys["club"]), 200, []string{"club"}},
		{"Bearer " + keys["club"], 200, []string{"club"}},
		{basic(keys["paths"]), 403, nil},
		{basic(keys["open"]), 200, []string{"club", "shop"}},
		{basic(keys["far"]), 403, nil},
	} {
		// With a key, the name does not matter.
		a := ask(t, http.MethodGet, url, "", "Authorization", c.authorization, "Host", "status.example.com")
		var shown []string
		for _, m := range regexp.MustCompile(`<h2><bdi>(.*?)</bdi>`).FindAllStringSubmatch(a.body, -1) {
			shown = append(shown, m[1])
		}
		if a.status != c.status || !slices.Equal(shown, c.accounts) {
			t.Errorf("%s: got %d with %v", c.authorization, a.status, shown)
		}
		if challenge := a.header.Get("WWW-Authenticate"); (c.status == 401) != strings.HasPrefix(challenge, `Basic realm="weixin"`) {
			t.Errorf("%s: WWW-Authenticate is %q", c.authorization, challenge)
		}
		for _, key := range slices.Collect(maps.Values(keys)) {
			if strings.Contains(a.body, key) {
				t.Error("a key is shown")
			}
		}
	}
	// A browser does not ask for a password again and again in the background.
	if a := get(t, url+"?format=part"); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("got %s", a)
	}

	// The button is the caller's, for the accounts of the caller.
	page := func(key string) string {
		return tokenOf(t, ask(t, http.MethodGet, url, "", "Authorization", basic(key)))
	}
	for _, c := range []struct {
		name, key, token, account string
		status                    int
	}{
		{"its account", keys["club"], page(keys["club"]), "club", 200},
		{"another's account", keys["club"], page(keys["club"]), "shop", 404},
		{"another's token", keys["club"], page(keys["all"]), "club", 403},
		{"no key", "", page(keys["all"]), "club", 401},
		{"any account", keys["open"], page(keys["open"]), "shop", 200},
		{"no such path", keys["paths"], page(keys["all"]), "shop", 403},
	} {
		var headers []string
		if c.key != "" {
			headers = []string{"Authorization", basic(c.key)}
		}
		if a := press(t, url, c.token, c.account, headers...); a.status != c.status {
			t.Errorf("%s: got %s, want %d", c.name, a, c.status)
		}
	}
	if lines := p.logged("token refresh asked for on the status page"); len(lines) != 2 || lines[0]["caller"] != "club" || lines[0]["account"] != "club" || lines[1]["caller"] != "open" {
		t.Errorf("the log says %v", lines)
	}
	if log := p.logs.String(); slices.ContainsFunc(slices.Collect(maps.Values(keys)), func(key string) bool { return strings.Contains(log, key) }) {
		t.Error("a key is in the log")
	}
}

// A name can be anything, and is no markup.
func TestStatusPageNames(t *testing.T) {
	t.Parallel()
	const name = `<b>&"'微信%2F?#</b>`
	w := startWeChat(t)
	global := fmt.Sprintf("account `%s` {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n }", strings.ReplaceAll(name, "/", "|"))
	shown := strings.ReplaceAll(name, "/", "|")
	p := startCaddy(t, w, config{global: global, site: "handle_path /ops/* {\n weixin_status\n }\n weixin"})
	// It works beneath any path.
	page := get(t, p.url+"/ops/status/")
	if page.status != http.StatusOK || strings.Contains(page.body, "<b>&") || !strings.Contains(page.body, "<h2><bdi>&lt;b&gt;&amp;&#34;&#39;微信%2F?#&lt;|b&gt;</bdi></h2>") {
		t.Errorf("got %s", page)
	}
	wantCovered(t, page)
	if a := press(t, p.url+"/ops/status/", tokenOf(t, page), shown); a.status != http.StatusOK {
		t.Errorf("got %s", a)
	}
}
