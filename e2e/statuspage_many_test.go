package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// manyAccounts is a proxy with 60 accounts: account-59 is rejected by WeChat's
// APIs, account-41 gets no token, account-42's tokens die because of another
// system, and account-43 cannot reach WeChat.
func manyAccounts(t *testing.T) (*weChat, *caddy) {
	t.Helper()
	var accounts []sandbox.Account
	var global strings.Builder
	var env []string
	for i := range 60 {
		a := sandbox.Account{AppID: fmt.Sprintf("wx%016x", 0xa1b2c3d40+i*7919), AppSecret: fmt.Sprintf("secret-number-%d", i)}
		accounts = append(accounts, a)
		env = append(env, fmt.Sprintf("SECRET_%d=%s", i, a.AppSecret))
		rest := map[int]string{42: "token classic\n", 43: "upstream http://127.0.0.1:1\n"}[i]
		fmt.Fprintf(&global, "account account-%02d {\nappid %s\nsecret {env.SECRET_%d}\n%s}\n", i, a.AppID, i, rest)
	}
	w := startWeChatWith(t, sandbox.Config{Accounts: accounts})
	p := startCaddy(t, w, config{global: global.String(), site: statusSite, env: env})
	call := func(i int) { get(t, p.url+"/cgi-bin/user/get?appid="+accounts[i].AppID) }
	control := func(i int, action, body string) {
		wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/"+accounts[i].AppID+action, strings.NewReader(body))))
	}
	for i := range accounts {
		call(i)
	}
	control(41, "/fail", `{"endpoint":"token","errcode":40164,"times":1000}`)
	control(41, "/revoke", "")
	call(41)
	for range 4 {
		control(42, "/revoke", "")
		call(42)
	}
	control(59, "/fail", `{"endpoint":"api","errcode":40001,"times":1000}`)
	if !eventually(func() bool {
		call(59)
		return statusOf(t, get(t, p.admin+"/weixin/accounts/account-59")).State == "rejected"
	}) {
		t.Error("account-59 is never rejected")
	}
	return w, p
}

// keys sends keys to what has the focus.
func (tab *tab) keys(keys ...string) {
	tab.b.t.Helper()
	for _, key := range keys {
		event := map[string]any{"type": "keyDown", "key": key, "code": key}
		if len(key) == 1 {
			event["text"] = key
		}
		tab.call("Input.dispatchKeyEvent", event, nil)
		event["type"] = "keyUp"
		delete(event, "text")
		tab.call("Input.dispatchKeyEvent", event, nil)
	}
}

// shown returns the names of the accounts that the page shows, in its order.
func (tab *tab) shown() []string {
	tab.b.t.Helper()
	var names []string
	tab.eval(`[...document.querySelectorAll("li[data-name]")].filter(li => li.checkVisibility()).map(li => li.dataset.name)`, &names)
	return names
}

// waitShown waits until the page shows these accounts.
func (tab *tab) waitShown(want ...string) {
	tab.b.t.Helper()
	if !eventually(func() bool { return slices.Equal(tab.shown(), want) }) {
		tab.b.t.Errorf("the page shows %q, not %q", tab.shown(), want)
	}
}

func TestStatusPageWithManyAccounts(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w, p := manyAccounts(t)
	tab := b.open(view{width: 1200, height: 900, language: "en"})
	tab.load(p.url + "/status")
	tab.eval("window.sameDocument = true", nil)

	// What needs attention comes first, and the rest by name.
	first := tab.shown()
	if len(first) != 60 || !slices.Equal(first[:5], []string{"account-59", "account-41", "account-43", "account-42", "account-00"}) || !slices.IsSorted(first[4:]) {
		t.Errorf("the page shows %q", first)
	}
	tab.waitText(".headline", "4 of 60 need attention: account-59 account-41 account-43 account-42")
	tab.waitText(`[data-name="account-59"] .state`, "Rejected")
	tab.waitText(`[data-name="account-59"] .error`, "Since ")
	tab.waitText(`[data-name="account-59"] .advice`, "WeChat's APIs reject the account's tokens")
	tab.waitText(`[data-name="account-43"] .error`, "Unreachable")
	tab.waitText(`[data-name="account-42"] .state`, "OK")
	tab.waitText(`[data-name="account-42"] .state.warn`, "Warning")
	tab.waitText(`[data-name="account-00"] .quota`, "1 / 500,000")
	var amber []string
	tab.eval(`[...document.querySelectorAll(".state.warn")].map(e => e.textContent).filter(text => text.includes("OK"))`, &amber)
	if len(amber) > 0 {
		t.Errorf("%d accounts have an amber OK", len(amber))
	}

	// By name, with the keyboard, over the page's own updates and a reload.
	tab.eval(`document.querySelector(".filter input").focus()`, nil)
	tab.keys("T", "-", "1", "1")
	tab.waitShown("account-11")
	tab.waitText(".shown", "1 of 60 accounts")
	tab.wait("window.sameDocument")
	updated := func() {
		tab.eval("performance.clearResourceTimings()", nil)
		tab.wait(`performance.getEntriesByType("resource").length >= 2`)
	}
	updated()
	tab.waitShown("account-11")
	tab.wait(`document.activeElement === document.querySelector(".filter input") && document.activeElement.value === "T-11"`)
	tab.call("Page.reload", none{}, nil)
	tab.wait(`!window.sameDocument && document.readyState === "complete"`)
	tab.waitShown("account-11")
	tab.wait(`document.querySelector(".filter input").value === "T-11"`)
	// A link to an account that is hidden shows it.
	tab.click(".headline a bdi")
	tab.wait(`document.querySelector('[data-name="account-59"]').checkVisibility() && document.querySelector(".filter input").value === ""`)

	// By state.
	pick := func(state string) {
		tab.eval(fmt.Sprintf(`{ const s = document.querySelector(".filter select"); s.value = %q; s.dispatchEvent(new Event("input", {bubbles: true})) }`, state), nil)
	}
	pick("attention")
	tab.waitShown("account-59", "account-41", "account-43", "account-42")
	tab.screenshot("many-attention")
	pick("rejected")
	tab.waitShown("account-59")
	pick("backoff")
	tab.waitShown("account-41", "account-43")
	pick("ok")
	tab.waitText(".shown", "57 of 60 accounts")
	// An account that comes into a state comes into sight, in its place.
	pick("rejected")
	control := "/sandbox/accounts/" + fmt.Sprintf("wx%016x", 0xa1b2c3d40+7*7919)
	wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+control+"/fail", strings.NewReader(`{"endpoint":"api","errcode":40001,"times":1000}`))))
	if !eventually(func() bool {
		get(t, p.url+"/cgi-bin/user/get?appid="+fmt.Sprintf("wx%016x", 0xa1b2c3d40+7*7919))
		return statusOf(t, get(t, p.admin+"/weixin/accounts/account-07")).State == "rejected"
	}) {
		t.Error("account-07 is never rejected")
	}
	tab.waitShown("account-07", "account-59")
	pick("")
	tab.wait(`document.querySelector("li").dataset.name === "account-07"`)
	tab.wantNoTrouble()

	// An account with an open question stays in sight until that is answered.
	tab.click(`[data-name="account-05"] [data-do=ask]`)
	pick("rejected")
	tab.waitShown("account-07", "account-59", "account-05")
	tab.click(`[data-name="account-05"] [data-do=cancel]`)
	tab.eval(`document.querySelector(".filter input").focus()`, nil)
	tab.waitShown("account-07", "account-59")
	for _, c := range []struct {
		name string
		view
	}{
		{"many", view{width: 1200, height: 900, language: "en"}},
		{"many-dark-chinese", view{width: 1200, height: 900, dark: true, language: "zh-CN"}},
		{"many-narrow", view{width: 320, height: 1600, language: "zh-CN"}},
		{"many-middle", view{width: 800, height: 1200, dark: true, language: "en"}},
	} {
		tab := b.open(c.view)
		tab.load(p.url + "/status")
		var faint []string
		var wide int
		tab.eval("document.documentElement.scrollWidth", &wide)
		tab.eval(contrastCheck, &faint)
		if wide > c.width || len(faint) > 0 {
			t.Errorf("%s: %d wide, hard to read: %q", c.name, wide, faint)
		}
		tab.screenshot(c.name)
		tab.wantNoTrouble()
	}
}

// Programs get the accounts by name, and what needs attention on its own.
func TestStatusPageJSONOfManyAccounts(t *testing.T) {
	t.Parallel()
	_, p := manyAccounts(t)
	a := get(t, p.url+"/status?format=json")
	var s struct {
		Attention []string
		Accounts  []struct {
			Name, Kind string
			LastError  map[string]any `json:"last_error"`
		}
	}
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("got %s, %v", a, err)
	}
	if want := []string{"account-59", "account-41", "account-43", "account-42"}; !slices.Equal(s.Attention, want) {
		t.Errorf("%q need attention, not %q", s.Attention, want)
	}
	if len(s.Accounts) != 60 || s.Accounts[43].Name != "account-43" || s.Accounts[43].Kind != "official" {
		t.Fatalf("got %s", a)
	}
	if e := s.Accounts[43].LastError; e["unreachable"] != true || e["errcode"] != nil {
		t.Errorf("got %v", e)
	}
}

// An update takes neither focus nor question away when the accounts change their
// places.
func TestStatusPageKeepsFocusWhenOrderChanges(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: "wx-shop", AppSecret: "secret-of-the-shop"},
		{AppID: "wx-club", AppSecret: "secret-of-the-club"},
	}})
	p := startCaddy(t, w, config{site: statusSite, global: twoAccounts, env: []string{"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club"}})
	get(t, p.url+"/cgi-bin/user/get?appid=wx-shop")
	get(t, p.url+"/cgi-bin/user/get?appid=wx-club")
	tab := b.open(view{width: 1200, language: "en"})
	tab.load(p.url + "/status")
	tab.waitShown("club", "shop")
	tab.eval(`document.querySelector('[data-name="club"] [data-do=ask]').focus()`, nil)
	wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/wx-shop/fail", strings.NewReader(`{"endpoint":"token","errcode":40164,"times":1000}`))))
	wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/wx-shop/revoke", nil)))
	get(t, p.url+"/cgi-bin/user/get?appid=wx-shop")
	tab.waitShown("shop", "club")
	tab.wait(`document.activeElement === document.querySelector('[data-name="club"] [data-do=ask]')`)
	tab.click(`[data-name="club"] [data-do=ask]`)
	wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/wx-shop/fail", strings.NewReader(`{"endpoint":"token","errcode":40164,"times":0}`))))
	post(t, p.admin+"/weixin/accounts/shop/refresh", "")
	tab.waitText(".headline", "All is well")
	tab.wait(`document.activeElement === document.querySelector('[data-name="club"] [data-do=go]')`)
	tab.waitShown("shop", "club")
	tab.click(`[data-name="club"] [data-do=cancel]`)
	tab.waitShown("club", "shop")
}
