package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// The page shows a token's death, WeChat's refusal with what to do about it, and
// the recovery, without being loaded again.
func TestStatusPageLives(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: statusSite})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	tab := b.open(view{width: 1200, language: "en"})
	tab.load(p.url + "/status")
	tab.eval("window.sameDocument = true", nil)
	tab.waitText("li .state", "OK")
	tab.waitText(".headline", "All is well")
	first := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	tab.waitText("li .time", first)

	// The time left counts down.
	var before, after string
	tab.eval(`document.querySelector(".time b").textContent`, &before)
	if !eventually(func() bool {
		tab.eval(`document.querySelector(".time b").textContent`, &after)
		return after != before
	}) || !strings.HasPrefix(before, "1:59:") || !strings.HasPrefix(after, "1:59:") {
		t.Errorf("the time left went from %q to %q", before, after)
	}

	// A death that nobody else noticed.
	w.revoke()
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
	second := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	tab.waitText("li .time", second)
	tab.waitText(".activity", "Fetches 2 · Replays 1")
	var bars string
	tab.eval(`document.querySelector(".spark .replay").getAttribute("d")`, &bars)
	if bars == "" {
		t.Error("there is no bar for the replay")
	}

	// WeChat refuses.
	w.fail("token", 40164, 1000)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	tab.waitText("li .state", "Backing off")
	tab.waitText(".headline", "1 of 1 need attention: shop")
	tab.waitText("#announce", "shop: Backing off")
	tab.waitText("li .error", "Error 40164")
	s := statusOf(t, get(t, p.admin+"/weixin/accounts/shop"))
	if ip := "1.2.3.4"; s.LastError == nil || !strings.Contains(s.LastError.Advice, ip) {
		t.Errorf("got %+v", s.LastError)
	} else {
		tab.waitText("li .advice", "Add "+ip+" to the account's IP whitelist")
	}
	tab.wait(`document.title.startsWith("1 of 1 need attention")`)

	// And the button says so, without asking WeChat again.
	refused := w.status().FetchesRefused
	tab.click("li [data-do=ask]")
	tab.click("li [data-do=go]")
	tab.waitText("output", "is asked again in")
	tab.waitText("output", "40164")
	tab.waitText("output", "IP whitelist")
	if n := w.status().FetchesRefused - refused; n > 2 { // the proxy asks by itself
		t.Errorf("%d fetches", n)
	}
	// It refuses with status 429, which the browser reports.
	if trouble := tab.takeTrouble(); len(trouble) != 1 || !strings.Contains(trouble[0], "429") {
		t.Errorf("the page reports %v", trouble)
	}

	// Recovery.
	w.fail("token", 40164, 0)
	third := statusOf(t, post(t, p.admin+"/weixin/accounts/shop/refresh", "")).Fingerprint
	tab.click("li [data-do=ask]")
	tab.click("li [data-do=go]")
	tab.waitText("output", "is the current token")
	tab.waitText("output", third)
	tab.waitText("li .time", third)
	tab.waitText("li .state", "OK")
	tab.waitText(".headline", "All is well")
	tab.waitText("li .error", "Last error 40164")
	tab.wait("window.sameDocument")

	// A question can be taken back, with the keyboard as well.
	tab.click("li [data-do=ask]")
	tab.wait(`document.activeElement === document.querySelector("[data-do=go]")`)
	time.Sleep(2500 * time.Millisecond) // an update does not disturb it
	tab.wait(`document.activeElement === document.querySelector("[data-do=go]")`)
	for _, event := range []string{"keyDown", "keyUp"} {
		tab.call("Input.dispatchKeyEvent", map[string]any{"type": event, "key": "Escape"}, nil)
	}
	tab.wait(`document.querySelector(".confirm").hidden && document.activeElement === document.querySelector("[data-do=ask]")`)
	if lines := p.logged("token refresh asked for on the status page"); len(lines) != 2 || lines[0]["account"] != "shop" || lines[0]["client"] != "127.0.0.1" {
		t.Errorf("the log says %v", lines)
	}

	// A page that nobody looks at asks for nothing.
	tab.eval(`Object.defineProperty(document, "hidden", {value: true, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"));
		performance.clearResourceTimings()`, nil)
	tab.waitText("#link", "Paused")
	time.Sleep(3 * time.Second)
	var requests int
	tab.eval(`performance.getEntriesByType("resource").length`, &requests)
	if requests > 0 {
		t.Errorf("%d requests while the page is hidden", requests)
	}
	tab.eval(`delete document.hidden; document.dispatchEvent(new Event("visibilitychange"))`, nil)
	tab.waitText("#link", "Live")
	tab.wantNoTrouble()

	// The proxy cannot be reached for a moment.
	connect := func(is bool) {
		tab.call("Network.emulateNetworkConditions", map[string]any{"offline": !is, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}, nil)
	}
	connect(false)
	tab.waitText("#link", "The proxy cannot be reached")
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	connect(true)
	tab.waitText("#link", "Live")
	tab.waitText("li .time", statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint)
	tab.wait("window.sameDocument")
	tab.takeTrouble() // requests have failed
}

func TestStatusPageReadOnlyInBrowser(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: statusSite})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	tab := b.open(view{width: 1200, language: "en"})
	tab.load(p.url + "/watch")
	tab.waitText("li .state", "OK")
	var buttons int
	tab.eval(`document.querySelectorAll("button").length`, &buttons)
	if buttons > 0 {
		t.Errorf("there are %d buttons", buttons)
	}
}

// Browsers tell less of a request to a name over plain HTTP, and a name can be
// anybody's.
func TestStatusPageUnderNames(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	site, url := anyName(t, "weixin_status /status")
	p := startCaddy(t, w, config{site: site})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	tab := b.open(view{width: 1200, language: "en"})
	tab.load(strings.Replace(url, "127.0.0.1", "proxy.internal", 1) + "/status")
	tab.waitText("li .state", "OK")
	w.revoke()
	tab.click("li [data-do=ask]")
	tab.click("li [data-do=go]")
	tab.waitText("output", "There is a new token: ")
	tab.waitText("output", statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint)
	tab.waitText("#link", "Live")
	tab.wantNoTrouble()

	// A web site that says it is where the proxy is.
	tab.load(strings.Replace(url, "127.0.0.1", "evil.example", 1) + "/status")
	tab.waitText(".refusal", "hosts evil.example")
	tab.screenshot("refused")
	tab.takeTrouble() // status 403
}

// A caller's key is the password, and the page goes on with it.
func TestStatusPageWithPassword(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		site: statusSite, env: []string{"OPS_KEY=the-key-of-the-ops"},
		global: defaultAccount + "\n caller ops {\n key {env.OPS_KEY}\n }",
	})
	tab := b.open(view{width: 1200, language: "en"})
	tab.load(strings.Replace(p.url, "http://", "http://me:the-key-of-the-ops@", 1) + "/status")
	tab.waitText("li .state", "OK")
	before := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	w.revoke()
	tab.click("li [data-do=ask]")
	tab.click("li [data-do=go]")
	tab.waitText("output", "There is a new token: ")
	after := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	tab.waitText("li .time", after)
	if before == after {
		t.Error("there is no new token")
	}
	tab.waitText("#link", "Live")
	tab.wantNoTrouble()
}

// The page with all that it can show, in every way it can be looked at.
func TestStatusPageViews(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	names := []string{"shop", "club", "campus", "events", "mini<&\"程序", "press"}
	var accounts []sandbox.Account
	var global strings.Builder
	env := []string{}
	for i, name := range names {
		accounts = append(accounts, sandbox.Account{AppID: fmt.Sprintf("wx%016x", 0xa1b2c3d40+i*7919), AppSecret: fmt.Sprintf("secret-number-%d", i)})
		env = append(env, fmt.Sprintf("SECRET_%d=%s", i, accounts[i].AppSecret))
		method := "stable"
		if i%2 == 1 {
			method = "classic"
		}
		fmt.Fprintf(&global, "account %s {\nappid %s\nsecret {env.SECRET_%d}\ntoken %s\n}\n", name, accounts[i].AppID, i, method)
	}
	w := startWeChatWith(t, sandbox.Config{Accounts: accounts})
	p := startCaddy(t, w, config{global: global.String(), site: statusSite, env: env})
	call := func(i int) { get(t, p.url+"/cgi-bin/user/get?appid="+accounts[i].AppID) }
	control := func(i int, action, body string) {
		wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/"+accounts[i].AppID+action, strings.NewReader(body))))
	}
	for i := range names {
		call(i)
	}
	// club's tokens die and die.
	for range 4 {
		control(1, "/revoke", "")
		call(1)
	}
	control(0, "/revoke", "")
	call(0)
	// campus is not on the whitelist, and events was not for a moment.
	control(2, "/fail", `{"endpoint":"token","errcode":40164,"times":1000}`)
	control(2, "/revoke", "")
	for range 3 {
		call(2)
	}
	control(3, "/fail", `{"endpoint":"token","errcode":-1,"times":1}`)
	control(3, "/revoke", "")
	call(3)
	time.Sleep(500 * time.Millisecond)
	call(3)

	for _, v := range []struct {
		name string
		view
		headline string
	}{
		{"light", view{width: 1200, height: 700, language: "en-GB,en;q=0.9"}, "2 of 6 need attention: campus club"},
		{"dark", view{width: 1200, height: 700, dark: true, language: "en"}, "2 of 6 need attention: campus club"},
		{"chinese", view{width: 1200, height: 700, language: "zh-CN,zh;q=0.9,en;q=0.8"}, "6 个账号中有 2 个需要处理： campus club"},
		{"narrow", view{width: 320, height: 1800, language: "en"}, "2 of 6 need attention: campus club"},
		{"narrow-dark-chinese", view{width: 320, height: 1800, dark: true, language: "zh"}, "6 个账号中有 2 个需要处理： campus club"},
		{"middle", view{width: 800, height: 1300, language: "en"}, "2 of 6 need attention: campus club"},
	} {
		t.Run(v.name, func(t *testing.T) {
			tab := b.open(v.view)
			tab.load(p.url + "/status")
			tab.waitText(".headline", v.headline)
			if v.name == "light" {
				tab.click(`[data-name="press"] [data-do=ask]`)
			}
			tab.screenshot(v.name)
			var wide int
			tab.eval("document.documentElement.scrollWidth", &wide)
			if wide > v.width {
				t.Errorf("the page is %d wide in a window of %d", wide, v.width)
			}
			var shown []string
			tab.eval(`[...document.querySelectorAll("h2")].map(h => h.textContent)`, &shown)
			if len(shown) != len(names) || shown[3] != names[4] {
				t.Errorf("the accounts are %q", shown)
			}
			var lang, ground string
			tab.eval("document.documentElement.lang", &lang)
			tab.eval("getComputedStyle(document.body).backgroundColor", &ground)
			if chinese := strings.Contains(v.headline, "账号"); (lang == "zh-CN") != chinese {
				t.Errorf("the page's language is %s", lang)
			}
			if dark := ground == "rgb(16, 20, 19)"; dark != v.dark {
				t.Errorf("the page's ground is %s", ground)
			}
			// Every text can be read: WCAG AA.
			var faint []string
			tab.eval(contrastCheck, &faint)
			if len(faint) > 0 {
				t.Errorf("hard to read: %q", faint)
			}
			tab.wantNoTrouble()
		})
	}
}

// contrastCheck returns the texts whose contrast is below 4.5.
const contrastCheck = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
	const luminance = (c) => {
		const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
	const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = walker.nextNode();) {
		const e = n.parentElement;
		if (!n.textContent.trim() || !e.checkVisibility() || e.closest("svg, script, noscript")) continue;
		const a = luminance(parse(getComputedStyle(e).color)), b = luminance(ground(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faint.push(n.textContent.trim().slice(0, 40) + " " + ratio.toFixed(2));
	}
	return faint;
})()`
