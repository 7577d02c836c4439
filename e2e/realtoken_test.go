package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	realShop = "\n account shop {\n appid wx-shop\n secret {env.SHOP_SECRET}\n token %s\n issue real\n }"
	realClub = "\n account club {\n appid wx-club\n secret {env.CLUB_SECRET}\n issue real\n }"
)

func startReal(t *testing.T, global, site string) (*weChat, *caddy) {
	t.Helper()
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: "wx-shop", AppSecret: "secret-of-the-shop"},
		{AppID: "wx-club", AppSecret: "secret-of-the-club"},
	}})
	return w, startCaddy(t, w, config{global: global, site: site, env: []string{
		"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club",
		"ORDERS_KEY=" + ordersKey, "ADMIN_KEY=" + adminKey,
	}})
}

// An account's real token names the account, before and after its renewal.
func TestRealTokenNamesTheAccount(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"stable", "classic"} {
		t.Run(method, func(t *testing.T) {
			w, p := startReal(t, fmt.Sprintf(realShop, method)+realClub, "handle_path /shop/* {\n weixin shop\n }\n handle {\n weixin\n }")
			shop := granted(t, get(t, tokenURL(p, "wx-shop", "x"))).AccessToken
			club := granted(t, get(t, tokenURL(p, "wx-club", "x"))).AccessToken
			calls := func(appID string) int { return callsOf(t, get(t, w.URL+"/sandbox/accounts/"+appID)) }
			before := calls("wx-shop")
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+shop))
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-club&access_token="+shop))
			wantOK(t, get(t, p.url+"/shop/cgi-bin/user/get?access_token="+shop))
			if n := calls("wx-shop") - before; n != 3 {
				t.Errorf("%d calls of the shop", n)
			}
			for name, url := range map[string]string{
				"at another's site":    p.url + "/shop/cgi-bin/user/get?access_token=" + club,
				"two accounts' tokens": p.url + "/cgi-bin/user/get?access_token=" + club + "&access_token=" + shop,
			} {
				if a := get(t, url); a.status != http.StatusOK || a.errcode() != 42001 {
					t.Errorf("%s: got %s", name, a)
				}
			}
			wantProxyError(t, get(t, p.url+"/cgi-bin/user/get?access_token=none"), http.StatusBadRequest, 40035, "appid in the query")

			do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/wx-shop/revoke", nil))
			wantReplayed(t, get(t, p.url+"/cgi-bin/user/get?access_token="+shop), "40001")
			fresh := granted(t, get(t, tokenURL(p, "wx-shop", "x"))).AccessToken
			if fresh == shop {
				t.Fatal("the token was not renewed")
			}
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+fresh))
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+shop)) // an SDK may hold it still

			// A reload forgets neither.
			p.reload(w, config{global: fmt.Sprintf(realShop, method) + realClub, site: "handle {\n weixin\n }"})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+fresh))
			wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+shop))
			// Nor does a restart forget the current one.
			p.stop()
			again := startCaddy(t, w, config{
				global: fmt.Sprintf(realShop, method) + realClub, dataDir: p.dataDir,
				env: []string{"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club"},
			})
			if !eventually(func() bool { return get(t, again.url+"/cgi-bin/user/get?access_token="+fresh).status == http.StatusOK }) {
				t.Error("the token is not known after a restart")
			}
		})
	}
}

// With callers, a real token proves a caller where only one can have it.
func TestRealTokenOfACaller(t *testing.T) {
	t.Parallel()
	shop := fmt.Sprintf(realShop, "stable")
	for _, c := range []struct {
		name, callers string
		status        int
		mentions      []string
	}{
		{"the only caller", "caller orders {\n key {env.ORDERS_KEY}\n }", 200, nil},
		{"the only caller, from its address", "caller orders {\n key {env.ORDERS_KEY}\n ips 127.0.0.0/8\n }", 200, nil},
		{"the only one for the account", "caller orders {\n key {env.ORDERS_KEY}\n accounts shop\n }\n caller admin {\n key {env.ADMIN_KEY}\n accounts club\n }", 200, nil},
		{"from another address", "caller orders {\n key {env.ORDERS_KEY}\n ips 203.0.113.0/24\n }", 403, []string{"caller orders", "ips"}},
		{"with allow", "caller orders {\n key {env.ORDERS_KEY}\n allow /cgi-bin/*\n }", 403, []string{"caller orders", "allow", "Authorization: Bearer", "issue virtual"}},
		{"one of two", "caller orders {\n key {env.ORDERS_KEY}\n }\n caller admin {\n key {env.ADMIN_KEY}\n }", 403, []string{"admin, orders", "Authorization: Bearer"}},
		{"nobody's", "caller orders {\n key {env.ORDERS_KEY}\n accounts club\n }", 403, []string{"no caller", "account shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, plain := startReal(t, shop+realClub, "weixin")
			token := granted(t, get(t, tokenURL(plain, "wx-shop", "x"))).AccessToken
			plain.stop()
			p := startCaddy(t, w, config{global: shop + realClub + "\n" + c.callers, dataDir: plain.dataDir, env: []string{
				"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club", "ORDERS_KEY=" + ordersKey, "ADMIN_KEY=" + adminKey,
			}})
			// The token is in the store, and is looked for at the start.
			if !eventually(func() bool { return !strings.Contains(get(t, p.admin+"/weixin/accounts/shop").body, `"state":"empty"`) }) {
				t.Fatal("the account has no token")
			}
			for range 3 {
				a := get(t, p.url+"/cgi-bin/user/get?access_token="+token)
				if a.status != c.status || c.status == 200 && a.errcode() != 0 {
					t.Fatalf("got %s", a)
				}
				for _, m := range c.mentions {
					if !strings.Contains(a.body, m) {
						t.Errorf("%q is not mentioned: %s", m, a)
					}
				}
			}
			if a := get(t, p.url+"/cgi-bin/user/get?access_token="+token+"x"); a.status != http.StatusOK || a.errcode() != 42001 {
				t.Errorf("a token of nobody's: got %s", a)
			}
			// A key says more than a token.
			if strings.Contains(c.callers, "caller admin {\n key {env.ADMIN_KEY}\n }") {
				wantOK(t, withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get?access_token="+token, adminKey))
			}
			warned := len(p.logged("allow and ips do not bind a caller that gets the account's real token: it may call WeChat directly: write issue virtual, or take the account from the caller")) > 0
			if want := strings.Contains(c.callers, "allow") || strings.Contains(c.callers, "ips"); warned != want {
				t.Errorf("warned: %v", warned)
			}
		})
	}
}

// Where tokens are virtual, a real one proves nothing.
func TestRealTokenWhereVirtualOnesAreIssued(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		global: defaultAccount + "\n caller orders {\n key {env.ORDERS_KEY}\n }",
		env:    []string{"ORDERS_KEY=" + ordersKey},
	})
	wantOK(t, withBearer(t, http.MethodGet, p.url+"/cgi-bin/user/get", ordersKey))
	if a := get(t, p.url+"/cgi-bin/user/get?access_token="+w.currentToken()); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("got %s", a)
	}
}

// A proxy in front of another may issue the other's tokens, which look like its
// own virtual ones.
func TestRealTokenOfAHub(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	hub := startCaddy(t, w, config{
		global: defaultAccount + "\n caller ci {\n key {env.ORDERS_KEY}\n }",
		env:    []string{"ORDERS_KEY=" + ordersKey},
	})
	p := startCaddy(t, w, config{
		global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.ORDERS_KEY}\n upstream " + hub.url + "\n issue real\n }",
		env:    []string{"ORDERS_KEY=" + ordersKey},
	})
	token := granted(t, get(t, tokenURL(p, appID, "x"))).AccessToken
	wantOK(t, get(t, hub.url+"/cgi-bin/user/get?access_token="+token))
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+token))
	if a := get(t, p.url+"/cgi-bin/user/get?access_token="+token[:40]); a.status != http.StatusOK || a.errcode() != 42001 {
		t.Errorf("got %s", a)
	}
}
