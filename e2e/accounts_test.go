package e2e

import (
	"net/http"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const twoAccounts = `
	account shop {
		appid wx-shop
		secret {env.SHOP_SECRET}
	}
	account club {
		appid wx-club
		secret {env.CLUB_SECRET}
		token classic
	}`

// startTwoAccounts starts a WeChat and a Caddy with two accounts.
func startTwoAccounts(t *testing.T, site string) (*weChat, *caddy) {
	w := startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: "wx-shop", AppSecret: "secret-of-the-shop"},
		{AppID: "wx-club", AppSecret: "secret-of-the-club"},
	}})
	return w, startCaddy(t, w, config{
		global: twoAccounts, site: site,
		env: []string{"SHOP_SECRET=secret-of-the-shop", "CLUB_SECRET=secret-of-the-club"},
	})
}

func TestAccountIsSelected(t *testing.T) {
	t.Parallel()
	w, p := startTwoAccounts(t, `
	handle_path /shop/* {
		weixin shop
	}
	handle_path /by-header/* {
		weixin {header.X-Account}
	}
	handle {
		weixin
	}`)
	calls := func(appID string) int {
		return callsOf(t, get(t, w.URL+"/sandbox/accounts/"+appID))
	}
	for _, c := range []struct{ url, header, want string }{
		{"/shop/cgi-bin/user/get", "", "wx-shop"},
		{"/shop/cgi-bin/user/get?appid=wx-club", "", "wx-shop"}, // the directive's name wins
		{"/by-header/cgi-bin/user/get", "club", "wx-club"},
		{"/cgi-bin/user/get?appid=wx-club", "", "wx-club"},
		{"/cgi-bin/user/get?x=1&appid=wx-shop", "", "wx-shop"},
	} {
		before := calls(c.want)
		req := newRequest(t, http.MethodGet, p.url+c.url, nil)
		req.Header.Set("X-Account", c.header)
		wantOK(t, do(t, req))
		if calls(c.want) != before+1 {
			t.Errorf("%s was not a call of %s", c.url, c.want)
		}
	}
	for _, url := range []string{"/cgi-bin/user/get", "/cgi-bin/user/get?appid=wx-other", "/by-header/cgi-bin/user/get"} {
		wantProxyError(t, get(t, p.url+url), http.StatusBadRequest, 40035, "account")
	}
}

// A death of one account's token is no concern of the other's.
func TestAccountsAreApart(t *testing.T) {
	t.Parallel()
	w, p := startTwoAccounts(t, "weixin")
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-shop"))
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-club"))
	wantOK(t, do(t, newRequest(t, http.MethodPost, w.URL+"/sandbox/accounts/wx-shop/revoke", nil)))
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-club"), "")
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get?appid=wx-shop"), "40001")
}
