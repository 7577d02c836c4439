package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// tokenURL asks for a token as SDKs do.
func tokenURL(p *caddy, appID, secret string) string {
	return p.url + "/cgi-bin/token?" + url.Values{
		"grant_type": {"client_credential"}, "appid": {appID}, "secret": {secret},
	}.Encode()
}

func stableBody(appID, secret string, force bool) string {
	return fmt.Sprintf(`{"grant_type":"client_credential","appid":%q,"secret":%q,"force_refresh":%v}`, appID, secret, force)
}

type grant struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
}

func granted(t *testing.T, a answer) grant {
	t.Helper()
	var g grant
	if err := json.Unmarshal([]byte(a.body), &g); err != nil || a.status != http.StatusOK || g.AccessToken == "" {
		t.Fatalf("got %s", a)
	}
	return g
}

func TestVirtualTokens(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	classic := granted(t, get(t, tokenURL(p, appID, "anything")))
	stable := granted(t, post(t, p.url+"/cgi-bin/stable_token", stableBody(appID, "anything", false)))
	forced := granted(t, post(t, p.url+"/cgi-bin/stable_token", stableBody(appID, "anything", true)))
	for name, g := range map[string]grant{"classic": classic, "stable": stable, "forced": forced} {
		if g.ExpiresIn != 7200 || len(g.AccessToken) > 512 || g.AccessToken == w.currentToken() {
			t.Errorf("%s: %d characters, expires in %d", name, len(g.AccessToken), g.ExpiresIn)
		}
		a := get(t, p.url+"/cgi-bin/user/get?access_token="+g.AccessToken)
		wantOK(t, a)
		if w.last("/cgi-bin/user/get").URL.Query().Get("access_token") != w.currentToken() {
			t.Error("WeChat did not get the account's token")
		}
	}
	if forced.AccessToken == stable.AccessToken {
		t.Error("force_refresh gives the same token")
	}
	if s := w.status(); s.Fetches != 1 || s.Forced != 0 {
		t.Errorf("%d fetches, %d forced", s.Fetches, s.Forced)
	}

	// It is good after a restart, and on another node.
	p.stop()
	again := startCaddy(t, w, config{})
	wantOK(t, get(t, again.url+"/cgi-bin/user/get?access_token="+classic.AccessToken))
	for name, token := range map[string]string{
		"of line breaks": "cwx1_" + classic.AccessToken[5:17] + strings.Repeat("%0A", len(classic.AccessToken)-17),
		"truncated":      classic.AccessToken[:40],
		"tampered":       classic.AccessToken[:30] + "AAAA" + classic.AccessToken[34:],
		"lengthened":     classic.AccessToken + "AAAA",
	} {
		a := get(t, again.url+"/cgi-bin/user/get?access_token="+token)
		if a.status != http.StatusOK || a.errcode() != 42001 || !strings.Contains(a.body, "access_token expired") {
			t.Errorf("%s: got %s", name, a)
		}
	}
	// Of any form but the proxy's own, it is none.
	for _, token := range []string{"", "a-real-one-from-before", strings.Repeat("x", 10_000), "%00", "cwx1"} {
		wantOK(t, get(t, again.url+"/cgi-bin/user/get?access_token="+token))
	}
	if again.logs.contains(classic.AccessToken) {
		t.Error("a virtual token is in the log")
	}
}

func TestTokenRequestsThatAreWrong(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for _, c := range []struct {
		name, method, path, body string
		errcode                  int
	}{
		{"no grant_type", "GET", "/cgi-bin/token?appid=" + appID + "&secret=x", "", 40002},
		{"wrong grant_type", "GET", "/cgi-bin/token?grant_type=password&appid=" + appID + "&secret=x", "", 40002},
		{"no appid", "GET", "/cgi-bin/token?grant_type=client_credential&secret=x", "", 41002},
		{"unknown appid", "GET", "/cgi-bin/token?grant_type=client_credential&appid=wx9&secret=x", "", 40013},
		{"no secret", "GET", "/cgi-bin/token?grant_type=client_credential&appid=" + appID, "", 41004},
		{"wrong method", "POST", "/cgi-bin/token?grant_type=client_credential&appid=" + appID + "&secret=x", "", 43001},
		{"stable, wrong method", "GET", "/cgi-bin/stable_token?appid=" + appID, "", 43002},
		{"stable, a form", "POST", "/cgi-bin/stable_token", "grant_type=client_credential&appid=" + appID + "&secret=x", 41002},
		{"stable, no body", "POST", "/cgi-bin/stable_token", "", 41002},
		{"stable, broken", "POST", "/cgi-bin/stable_token", `{"grant_type":`, 47001},
		{"stable, of other types", "POST", "/cgi-bin/stable_token", `{"grant_type":"client_credential","appid":1}`, 47001},
		{"stable, no secret", "POST", "/cgi-bin/stable_token", `{"grant_type":"client_credential","appid":"` + appID + `"}`, 41004},
		{"stable, unknown appid", "POST", "/cgi-bin/stable_token", `{"grant_type":"client_credential","appid":"wx9\u0000","secret":"x"}`, 40013},
	} {
		a := do(t, newRequest(t, c.method, p.url+c.path, strings.NewReader(c.body)))
		if a.status != http.StatusOK || a.errcode() != c.errcode {
			t.Errorf("%s: got %s, want errcode %d", c.name, a, c.errcode)
		}
	}
	large := strings.Repeat(" ", 10<<20) + "{}"
	wantProxyError(t, post(t, p.url+"/cgi-bin/stable_token", large), http.StatusRequestEntityTooLarge, 45001, "")
	// The first of several counts.
	granted(t, get(t, tokenURL(p, appID, "x")+"&appid=wx9"))
	if n := w.count("/cgi-bin/token"); n != 0 {
		t.Errorf("WeChat got %d of these", n)
	}
}

func TestIssueReal(t *testing.T) {
	for _, method := range []string{"stable", "classic"} {
		w := startWeChat(t)
		p := startCaddy(t, w, config{global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n token " + method + "\n issue real\n }"})
		for range 3 {
			g := granted(t, get(t, tokenURL(p, appID, "x")))
			if g.AccessToken != w.currentToken() || g.ExpiresIn < 7190 || g.ExpiresIn > 7200 {
				t.Errorf("not the account's token, or it expires in %d", g.ExpiresIn)
			}
		}
		w.revoke()
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
		if g := granted(t, post(t, p.url+"/cgi-bin/stable_token", stableBody(appID, "x", true))); g.AccessToken != w.currentToken() {
			t.Error("not the account's token")
		}
		if s := w.status(); s.Fetches != 2 || s.Forced != 0 {
			t.Errorf("%d fetches, %d forced", s.Fetches, s.Forced)
		}
	}
}

func TestIssueOff(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n issue off\n }"})
	wantProxyError(t, get(t, tokenURL(p, appID, "x")), http.StatusForbidden, 48001, "not issued")
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
}

const callers = `
	caller orders {
		key {env.ORDERS_KEY}
		accounts shop
		allow /cgi-bin/message/* /cgi-bin/user/get
	}
	caller admin {
		key {env.ADMIN_KEY}
	}
	caller remote {
		key {env.REMOTE_KEY}
		ips 203.0.113.0/24
	}`

const (
	ordersKey = "the-key-of-orders"
	adminKey  = "the-key-of-admin"
	remoteKey = "the-key-of-remote"
)

func startCallers(t *testing.T) (*weChat, *caddy) {
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: "wx-shop", AppSecret: "secret-of-the-shop"},
		{AppID: "wx-club", AppSecret: "secret-of-the-club"},
	}})
	p := startCaddy(t, w, config{
		global: twoAccounts + callers,
		env: []string{
			"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club",
			"ORDERS_KEY=" + ordersKey, "ADMIN_KEY=" + adminKey, "REMOTE_KEY=" + remoteKey,
		},
	})
	t.Cleanup(func() {
		for _, secret := range []string{ordersKey, adminKey, remoteKey, "secret-of-the-"} {
			if p.logs.contains(secret) {
				t.Errorf("%s… is in the log", secret[:10])
			}
		}
	})
	return w, p
}

// What an SDK has as its secret is good for logins, too: the key alone, or with the
// account's name before it.
func TestCallersLogin(t *testing.T) {
	w, p := startCallers(t)
	code := 0
	login := func(appID, secret string) answer {
		code++
		return get(t, fmt.Sprintf("%s/sns/jscode2session?grant_type=authorization_code&js_code=%d&appid=%s&secret=%s", p.url, code, appID, secret))
	}
	for _, secret := range []string{adminKey, "shop:" + adminKey} {
		wantOK(t, login("wx-shop", secret))
	}
	if got := w.last("/sns/jscode2session").URL.Query().Get("secret"); got != "secret-of-the-shop" {
		t.Error("the AppSecret is not injected")
	}
	wantProxyError(t, login("wx-shop", "club:"+adminKey), 200, 40125, "account club has another appid")
	for _, secret := range []string{"shop:wrong", "nobody:" + adminKey, "shop"} {
		wantProxyError(t, login("wx-shop", secret), 403, 48001, "no caller's key")
	}
	wantProxyError(t, login("wx-shop", "shop:"+ordersKey), 403, 48001, "orders")
	if n := w.count("/sns/jscode2session"); n != 2 {
		t.Errorf("WeChat got %d logins", n)
	}
}

func withBearer(t *testing.T, method, url, key string) answer {
	t.Helper()
	req := newRequest(t, method, url, nil)
	req.Header.Set("Authorization", "Bearer "+key)
	return do(t, req)
}

func TestCallers(t *testing.T) {
	w, p := startCallers(t)
	orders := granted(t, get(t, tokenURL(p, "wx-shop", ordersKey))).AccessToken
	adminShop := granted(t, get(t, tokenURL(p, "wx-shop", adminKey))).AccessToken
	adminClub := granted(t, post(t, p.url+"/cgi-bin/stable_token", stableBody("wx-club", adminKey, false))).AccessToken
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+orders))
	wantOK(t, get(t, p.url+"/cgi-bin/menu/get2?access_token="+adminShop))
	wantOK(t, get(t, p.url+"/cgi-bin/menu/get2?access_token="+adminClub))
	wantOK(t, withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?appid=wx-shop", ordersKey))
	if v := w.last("/cgi-bin/user/get").Header.Get("Authorization"); v != "" {
		t.Error("WeChat saw the caller's key")
	}

	for name, c := range map[string]struct {
		a        answer
		mentions []string
	}{
		"another account":              {get(t, tokenURL(p, "wx-club", ordersKey)), []string{"caller orders", "account club"}},
		"another account, by key":      {withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?appid=wx-club", ordersKey), []string{"caller orders", "account club"}},
		"another path":                 {get(t, p.url+"/cgi-bin/menu/get?access_token="+orders), []string{"caller orders", "allow"}},
		"another path, in capitals":    {get(t, p.url+"/CGI-BIN/menu/get?access_token="+orders), []string{"caller orders", "allow"}},
		"another address":              {get(t, tokenURL(p, "wx-shop", remoteKey)), []string{"caller remote", "ips"}},
		"no key":                       {get(t, p.url+"/cgi-bin/user/get?appid=wx-shop"), []string{"no caller's key"}},
		"an empty token":               {get(t, p.url+"/cgi-bin/user/get?appid=wx-shop&access_token="), []string{"no caller's key"}},
		"a wrong key":                  {withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?appid=wx-shop", ordersKey+"x"), []string{"no caller's"}},
		"an empty key":                 {withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?appid=wx-shop", ""), []string{"no caller's"}},
		"another's token":              {withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?access_token="+adminShop, ordersKey), []string{"another caller"}},
		"a user's token, a wrong key":  {withBearer(t, http.MethodGet, p.url+"/sns/userinfo?access_token=a-user-token", ordersKey+"x"), []string{"no caller's"}},
		"a user's token, another path": {withBearer(t, http.MethodGet, p.url+"/sns/userinfo?access_token=a-user-token&appid=wx-shop", ordersKey), []string{"caller orders", "allow"}},
	} {
		if c.a.status != http.StatusForbidden || c.a.errcode() != 48001 {
			t.Errorf("%s: got %s", name, c.a)
		}
		for _, m := range c.mentions {
			if !strings.Contains(c.a.body, m) {
				t.Errorf("%s: %q is not mentioned in %s", name, m, c.a)
			}
		}
		for _, secret := range []string{ordersKey, adminKey, remoteKey} {
			if strings.Contains(c.a.body, secret) {
				t.Errorf("%s: the answer shows a key", name)
			}
		}
	}
	if a := get(t, p.url+"/sns/userinfo?access_token="+orders); a.status != http.StatusBadRequest {
		t.Errorf("an account's token in place of a user's: got %s", a)
	}
	if a := get(t, p.url+"/cgi-bin/user/get?access_token="+orders+"&access_token="+adminShop); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("two callers' tokens: got %s", a)
	}
	if a := withBearer(t, http.MethodGet, p.url+"/sns/userinfo?access_token=a-user-token&openid=o", adminKey); a.status != http.StatusOK {
		t.Errorf("a user's token: got %s", a)
	}
	// So that an SDK's handling of errors works.
	if a := get(t, tokenURL(p, "wx-shop", "no-key")); a.status != http.StatusOK || a.errcode() != 40125 {
		t.Errorf("a wrong secret: got %s", a)
	}
	if a := get(t, p.url+"/cgi-bin/user/get?access_token=a-real-one-from-before"); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("a real token: got %s", a)
	}
}

// A token ends with the key or the secret it was issued under.
func TestTokensEndWithTheirKeys(t *testing.T) {
	env := func(secret, key string) []string { return []string{"WEIXIN_SECRET=" + secret, "ORDERS_KEY=" + key} }
	global := defaultAccount + "\n caller orders {\n key {env.ORDERS_KEY}\n }"
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: global, env: env(appSecret, "the-first-key-of-orders")})
	token := granted(t, get(t, tokenURL(p, appID, "the-first-key-of-orders"))).AccessToken
	for name, c := range map[string]struct {
		global, secret, key string
		errcode             int
	}{
		"the same":            {global, appSecret, "the-first-key-of-orders", 0},
		"another key":         {global, appSecret, "another-key-of-orders", 42001},
		"another secret":      {global, "another-secret-of-the-account", "the-first-key-of-orders", 42001},
		"another name":        {defaultAccount + "\n caller renamed {\n key {env.ORDERS_KEY}\n }", appSecret, "the-first-key-of-orders", 42001},
		"no callers any more": {defaultAccount, appSecret, "the-first-key-of-orders", 42001},
	} {
		other := startCaddy(t, w, config{global: c.global, env: env(c.secret, c.key)})
		if a := get(t, other.url+"/cgi-bin/user/get?access_token="+token); a.status != http.StatusOK || a.errcode() != c.errcode {
			t.Errorf("%s: got %s", name, a)
		}
	}
	// From before there were callers.
	before := startCaddy(t, w, config{})
	token = granted(t, get(t, tokenURL(before, appID, "x"))).AccessToken
	if a := get(t, p.url+"/cgi-bin/user/get?access_token="+token); a.errcode() != 42001 {
		t.Errorf("a token of no caller: got %s", a)
	}
}

// The token selects the account, where several are behind one address.
func TestTokenSelectsTheAccount(t *testing.T) {
	w, p := startTwoAccounts(t, `
	handle_path /shop/* {
		weixin shop
	}
	handle {
		weixin
	}`)
	shop := granted(t, get(t, tokenURL(p, "wx-shop", "x"))).AccessToken
	club := granted(t, get(t, tokenURL(p, "wx-club", "x"))).AccessToken
	for _, c := range []struct{ token, want string }{{shop, "wx-shop"}, {club, "wx-club"}} {
		before := callsOf(t, get(t, w.URL+"/sandbox/accounts/"+c.want))
		wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-other&access_token="+c.token))
		if callsOf(t, get(t, w.URL+"/sandbox/accounts/"+c.want)) != before+1 {
			t.Errorf("it was not a call of %s", c.want)
		}
	}
	if a := get(t, p.url+"/shop/cgi-bin/user/get?access_token="+club); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("the club's token at the shop's address: got %s", a)
	}
	if a := get(t, p.url+"/cgi-bin/user/get?access_token="+club+"&access_token="+shop); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("two accounts' tokens: got %s", a)
	}
	if a := get(t, strings.Replace(tokenURL(p, "wx-club", "x"), p.url, p.url+"/shop", 1)); a.errcode() != 40013 {
		t.Errorf("the club's token asked for at the shop's address: got %s", a)
	}
	wantProxyError(t, get(t, p.url+"/cgi-bin/user/get"), http.StatusBadRequest, 40035, "appid in the query")
}

// The APIs that take the AppSecret get it from the proxy.
func TestSecretIsInjected(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	var path, query, contentType, body string
	var received atomic.Int32
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		received.Add(1)
		data, _ := io.ReadAll(req.Body)
		path, query, contentType, body = req.URL.Path, req.URL.RawQuery, req.Header.Get("Content-Type"), string(data)
		if req.ContentLength != int64(len(data)) || len(req.TransferEncoding) > 0 {
			t.Errorf("%s: Content-Length is %d of %d", path, req.ContentLength, len(data))
		}
		fmt.Fprint(rw, `{"errcode":40001,"errmsg":"x"}`)
	})
	virtual := granted(t, get(t, tokenURL(p, appID, "x"))).AccessToken
	mine := "appid=" + appID + "&secret=" + appSecret
	for _, c := range []struct {
		name, method, path, query, contentType, body string
		wantQuery, wantBody                          string
	}{
		{"login", "GET", "/sns/jscode2session", "appid=" + appID + "&secret=y&js_code=1%2F2&grant_type=authorization_code", "", "", mine + "&js_code=1%2F2&grant_type=authorization_code", ""},
		{"login, appid alone", "GET", "/sns/jscode2session", "js_code=1&appid=" + appID, "", "", "js_code=1&" + mine, ""},
		{"login, in another spelling", "GET", "/sns/jscode2session", "%73ecret=y&js_code=1&secret=z&appid=" + appID, "", "", "secret=" + appSecret + "&js_code=1&secret=" + appSecret + "&appid=" + appID, ""},
		{"user's token", "GET", "/sns/oauth2/access_token", "appid=" + appID + "&secret=y&code=1", "", "", mine + "&code=1", ""},
		{"quota", "POST", "/cgi-bin/clear_quota/v2", "appid=" + appID + "&appsecret=y", "", "", "appid=" + appID + "&appsecret=" + appSecret, ""},
		{"quota, JSON", "POST", "/cgi-bin/clear_quota/v2", "", "application/json", `{"n":12345678901234567890,"appid":"` + appID + `","appsecret":"y","z":[1,{"a":"<>"}]}`, "", `{"appid":"` + appID + `","appsecret":"` + appSecret + `","n":12345678901234567890,"z":[1,{"a":"<>"}]}`},
		{"quota, JSON without secret", "POST", "/cgi-bin/clear_quota/v2", "", "text/plain", `{"appid":"` + appID + `"}`, "", `{"appid":"` + appID + `","appsecret":"` + appSecret + `"}`},
		{"quota, form", "POST", "/cgi-bin/clear_quota/v2", "", "application/x-www-form-urlencoded", "a=%20&appid=" + appID + "&appsecret=y&b=+", "", "a=%20&appid=" + appID + "&appsecret=" + appSecret + "&b=+"},
		{"quota, in both", "POST", "/cgi-bin/clear_quota/v2", "appid=" + appID, "application/x-www-form-urlencoded", "appsecret=y", "appid=" + appID, "appsecret=" + appSecret + "&appid=" + appID},
		{"quota, form of no type", "POST", "/cgi-bin/clear_quota/v2", "", "", "appid=" + appID + "&appsecret=y", "", "appid=" + appID + "&appsecret=" + appSecret},
		{"quota, form of another type", "POST", "/cgi-bin/clear_quota/v2", "", "text/plain", "appsecret=y", "", "appsecret=" + appSecret + "&appid=" + appID},
		{"quota, JSON after a mark", "POST", "/cgi-bin/clear_quota/v2", "", "application/json", "\ufeff" + `{"AppID":"` + appID + `","AppSecret":"y"}`, "", `{"appid":"` + appID + `","appsecret":"` + appSecret + `"}`},
		{"quota, another name", "POST", "/cgi-bin/clear_quota/v2", "appid=" + appID + "&secret=my-key", "", "", "appid=" + appID + "&secret=" + appSecret + "&appsecret=" + appSecret, ""},
		{"login with a token", "GET", "/sns/jscode2session", "js_code=1&access_token=VIRTUAL", "", "", "js_code=1&access_token=&" + mine, ""},
		{"quota, empty JSON", "POST", "/cgi-bin/clear_quota/v2", "", "application/json", `{}`, "appid=" + appID + "&appsecret=" + appSecret, `{}`},
		{"login, no appid", "GET", "/sns/jscode2session", "js_code=1&secret=y", "", "", "js_code=1&secret=" + appSecret + "&appid=" + appID, ""},
		{"login, an empty appid", "GET", "/sns/jscode2session", "appid=&secret=y&js_code=1", "", "", mine + "&js_code=1", ""},
		{"quota, no appid but null", "POST", "/cgi-bin/clear_quota/v2", "", "application/json", `{"appid":null,"appsecret":"y"}`, "", `{"appid":"` + appID + `","appsecret":"` + appSecret + `"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			received.Store(0)
			sent := strings.Replace(c.query, "VIRTUAL", virtual, 1)
			req := newRequest(t, c.method, p.url+c.path+"?"+sent, strings.NewReader(c.body))
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			a := do(t, req)
			if a.errcode() != 40001 || a.header.Get("X-Weixin-Replayed") != "" || received.Load() != 1 {
				t.Errorf("got %s after %d requests", a, received.Load())
			}
			if path != c.path || !sameParams(query, c.wantQuery) || body != c.wantBody && !sameParams(body, c.wantBody) || contentType != c.contentType {
				t.Errorf("WeChat saw %s?%s (%s) %s", path, query, contentType, body)
			}
		})
	}
}

// An AppID that means another account is not replaced: WeChat would answer for an
// account that the application does not know of.
func TestAppIDIsChecked(t *testing.T) {
	w, p := startTwoAccounts(t, `
	handle_path /shop/* {
		weixin shop
	}
	handle {
		weixin
	}`)
	club := granted(t, get(t, tokenURL(p, "wx-club", "x"))).AccessToken
	received := func() int {
		return w.count("/sns/jscode2session") + w.count("/sns/oauth2/access_token") + w.count("/cgi-bin/clear_quota/v2")
	}
	for _, c := range []struct{ name, method, path, contentType, body string }{
		{"no account's", "GET", "/sns/jscode2session?appid=wx-other&js_code=1", "", ""},
		{"no account's, at a site of one", "GET", "/shop/sns/jscode2session?appid=wx-other&js_code=1", "", ""},
		{"another's", "GET", "/shop/sns/jscode2session?appid=wx-club&js_code=1", "", ""},
		{"another's, user login", "GET", "/shop/sns/oauth2/access_token?appid=wx-club&code=1&secret=x", "", ""},
		{"another's, beside its own", "GET", "/shop/sns/jscode2session?appid=wx-shop&js_code=1&appid=wx-club", "", ""},
		{"another's, in another spelling", "GET", "/shop/sns/jscode2session?%61ppid=wx-clu%62&js_code=1", "", ""},
		{"another's, in a form", "POST", "/shop/cgi-bin/clear_quota/v2", "application/x-www-form-urlencoded", "appid=wx-club&appsecret=x"},
		{"another's, in a form beside its own", "POST", "/shop/cgi-bin/clear_quota/v2?appid=wx-shop", "application/x-www-form-urlencoded", "appsecret=x&appid=wx-club"},
		{"another's, as JSON", "POST", "/shop/cgi-bin/clear_quota/v2", "application/json", `{"appid":"wx-club","appsecret":"x"}`},
		{"another's, as JSON in capitals", "POST", "/shop/cgi-bin/clear_quota/v2", "application/json", `{"AppId":"wx-club"}`},
		{"a number", "POST", "/shop/cgi-bin/clear_quota/v2", "application/json", `{"appid":1}`},
		{"in other letters", "GET", "/sns/jscode2session?appid=WX-SHOP&js_code=1", "", ""},
		{"another's than the token's", "GET", "/sns/jscode2session?appid=wx-shop&js_code=1&access_token=" + club, "", ""},
	} {
		req := newRequest(t, c.method, p.url+c.path, strings.NewReader(c.body))
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		if a := do(t, req); a.status != http.StatusOK || a.errcode() != 40013 {
			t.Errorf("%s: got %s", c.name, a)
		}
	}
	if n := received(); n != 0 {
		t.Errorf("WeChat got %d of them", n)
	}
	for _, path := range []string{"/sns/jscode2session?appid=wx-club&js_code=alice", "/shop/sns/jscode2session?js_code=alice", "/shop/sns/jscode2session?appid=wx-shop&js_code=bob"} {
		if a := get(t, p.url+path+"&grant_type=authorization_code"); !strings.Contains(a.body, `"openid"`) {
			t.Errorf("%s: got %s", path, a)
		}
	}
	wantProxyError(t, get(t, p.url+"/sns/jscode2session?js_code=alice"), http.StatusBadRequest, 40035, "appid in the query")
}

// A user's own credential needs no caller's key, but an address.
func TestUserLoginsWithCallers(t *testing.T) {
	const one = defaultAccount + "\n caller orders {\n key {env.ORDERS_KEY}\n ips 127.0.0.1\n }"
	const trusting = "servers {\n trusted_proxies static 127.0.0.1\n }"
	for _, c := range []struct {
		name, allow, client string
		allowed, withKey    bool
	}{
		{"loopback", "", "", true, false},
		{"a private address", "", "10.1.2.3", true, false},
		{"a public address", "", "203.0.113.9", false, false},
		{"a public address on the list", "203.0.113.0/24", "203.0.113.9", true, false},
		{"a private address that is not", "203.0.113.0/24", "10.1.2.3", false, false},
		{"with a key", "", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWeChat(t)
			site := "weixin"
			if c.allow != "" {
				site = "weixin {\n allow_ips " + c.allow + "\n }"
			}
			p := startCaddy(t, w, config{global: one, site: site, options: trusting, env: []string{"ORDERS_KEY=" + ordersKey}})
			for _, path := range []string{
				"/sns/userinfo?access_token=a-user-token&openid=o", "/sns/auth?access_token=a-user-token&openid=o",
				"/sns/oauth2/refresh_token?appid=wx-of-nobody&grant_type=refresh_token&refresh_token=r",
			} {
				req := newRequest(t, http.MethodGet, p.url+path, nil)
				if c.client != "" {
					req.Header.Set("X-Forwarded-For", c.client)
				}
				if c.withKey {
					req.Header.Set("Authorization", "Bearer "+ordersKey)
				}
				before := w.count(strings.SplitN(path, "?", 2)[0])
				a := do(t, req)
				if c.allowed && (a.status != http.StatusOK || w.count(strings.SplitN(path, "?", 2)[0]) != before+1) {
					t.Errorf("%s: got %s", path, a)
				}
				if !c.allowed {
					wantProxyError(t, a, http.StatusForbidden, 48001, "allow_ips")
				}
			}
			if !c.allowed {
				return
			}
			req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
			req.Header.Set("X-Forwarded-For", c.client)
			wantProxyError(t, do(t, req), http.StatusForbidden, 48001, "no caller's key")
		})
	}
}

// sameParams compares queries, where the order of what was added is of no
// importance.
func sameParams(a, b string) bool {
	x, errX := url.ParseQuery(a)
	y, errY := url.ParseQuery(b)
	return errX == nil && errY == nil && x.Encode() == y.Encode() && len(a) == len(b)
}

// What is no form and no JSON may hold a key that WeChat must not see.
func TestSecretIsNotForwarded(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for contentType, body := range map[string]string{
		"multipart/form-data; boundary=b": "--b\r\nContent-Disposition: form-data; name=\"appsecret\"\r\n\r\nkey\r\n--b--\r\n",
		"application/json":                `["appsecret","key"]`,
		"text/xml":                        `<appsecret>key</appsecret>`,
	} {
		req := newRequest(t, http.MethodPost, p.url+"/cgi-bin/clear_quota/v2", strings.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		if a := do(t, req); a.errcode() != 47001 {
			t.Errorf("%s: got %s", contentType, a)
		}
	}
	if n := w.count("/cgi-bin/clear_quota/v2"); n != 0 {
		t.Errorf("WeChat got %d of them", n)
	}
}

// A key is in no log line, wherever Caddy's own handlers stand around ours.
func TestKeysAreNotLogged(t *testing.T) {
	for _, site := range []string{"handle_path /shop/* {\n weixin\n }", "handle_path /shop/* {\n reverse_proxy UPSTREAM {\n transport weixin shop\n }\n }"} {
		w := startWeChat(t)
		p := startCaddy(t, w, config{
			global: defaultAccount + "\n caller orders {\n key {env.ORDERS_KEY}\n }",
			site:   site,
			env:    []string{"ORDERS_KEY=" + ordersKey},
		})
		shop := p.url + "/shop"
		token := granted(t, get(t, shop+strings.TrimPrefix(tokenURL(p, appID, ordersKey), p.url))).AccessToken
		wantOK(t, get(t, shop+"/cgi-bin/user/get?access_token="+token))
		wantOK(t, withBearer(t, http.MethodGet, shop+"/cgi-bin/user/get", ordersKey))
		p.stop()
		if p.logs.contains(ordersKey) || p.logs.contains(token) {
			t.Error("a key or a virtual token is in the log")
		}
	}
}

func TestLoginThroughTheProxy(t *testing.T) {
	_, p := startCallers(t)
	login := p.url + "/sns/jscode2session?appid=wx-club&js_code=alice&grant_type=authorization_code&secret="
	if a := get(t, login+adminKey); a.errcode() != 0 || !strings.Contains(a.body, `"openid"`) {
		t.Errorf("got %s", a)
	}
	if a := get(t, login+"no-key"); a.status != http.StatusForbidden {
		t.Errorf("a wrong key: got %s", a)
	}
	if a := get(t, login+ordersKey); a.status != http.StatusForbidden || !strings.Contains(a.body, "account club") {
		t.Errorf("another's account: got %s", a)
	}
}

// A client with a virtual token never hears of the real one's death.
func TestNoLoopForSDKs(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	token := granted(t, get(t, tokenURL(p, appID, "x"))).AccessToken
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+token))
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `{"errcode":42001,"errmsg":"access_token expired"}`)
	})
	for range 60 {
		wantProxyError(t, get(t, p.url+"/x?access_token="+token), http.StatusServiceUnavailable, -1, "42001")
	}
	// Without one, WeChat's answer is the client's.
	if a := get(t, p.url+"/x"); a.errcode() != 42001 {
		t.Errorf("got %s", a)
	}
}

// A page in PHP keeps nothing: each fetches a token, uses it, and ends.
func TestOneTokenPerPage(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	var wg sync.WaitGroup
	var pages atomic.Int32
	for range 8 {
		wg.Go(func() {
			for pages.Add(1) <= 200 {
				if pages.Load() == 100 {
					w.revoke()
				}
				page := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				res, err := page.Get(tokenURL(p, appID, "secret"))
				if err != nil {
					t.Error(err)
					return
				}
				var g grant
				err = json.NewDecoder(res.Body).Decode(&g)
				res.Body.Close()
				if err != nil {
					t.Error(err)
					return
				}
				res, err = page.Post(p.url+"/cgi-bin/message/template/send?access_token="+g.AccessToken, "application/json", strings.NewReader(`{"touser":"`+openID+`","template_id":"t","data":{}}`))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if !strings.Contains(string(body), `"errcode":0`) {
					t.Errorf("got %s", body)
				}
			}
		})
	}
	wg.Wait()
	if n := w.status().Fetches; n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// openID has the form of one.
const openID = "omu4GG3BHC0jL6n5q9r_GJFkIcSL"
