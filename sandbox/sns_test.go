package sandbox_test

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

func login(path, codeParam, secret, code string) string {
	return path + "?" + url.Values{
		"appid": {appID}, "secret": {secret}, "grant_type": {"authorization_code"}, codeParam: {code},
	}.Encode()
}

func jscode2session(code string) string {
	return login("/sns/jscode2session", "js_code", secret, code)
}

func TestMiniProgramLogin(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	alice := ts.get(jscode2session("alice:1"))
	if !regexp.MustCompile(`^o[A-Za-z0-9_-]{27}$`).MatchString(alice.text("openid")) {
		t.Errorf("%s", alice.Body)
	}
	if key, err := base64.StdEncoding.DecodeString(alice.text("session_key")); err != nil || len(key) != 16 {
		t.Errorf("%s", alice.Body)
	}
	ts.get(jscode2session("alice:1")).want(40163)

	again := ts.get(jscode2session("alice:2"))
	if again.text("openid") != alice.text("openid") || again.text("session_key") == alice.text("session_key") {
		t.Error("the second login is not the same user with another session")
	}
	if ts.get(jscode2session("bob")).text("openid") == alice.text("openid") {
		t.Error("two users have one openid")
	}
	other := newTester(t, sandbox.Config{})
	if other.get(jscode2session("alice:1")).text("openid") != alice.text("openid") {
		t.Error("the openid depends on more than the account and the code")
	}
}

func TestLoginErrors(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for path, param := range map[string]string{"/sns/jscode2session": "js_code", "/sns/oauth2/access_token": "code"} {
		right := login(path, param, secret, "c")
		for remove, want := range map[string]int{
			"appid": 41002, "secret": 41004, "grant_type": 40002, param: 41008,
		} {
			ts.get(strings.Replace(right, remove+"=", "x=", 1)).want(want)
		}
		ts.get(strings.Replace(right, appID, "wx0000000000000002", 1)).want(40013)
		ts.get(login(path, param, "wrong", "c")).want(40125)
		ts.get(login(path, param, secret, strings.Repeat("x", 129))).want(40029)
		ts.post(right, "").want(43001)
	}
	// None of these has used the code.
	ts.get(jscode2session("c")).want(0)
}

func TestUserTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, sandbox.Config{})
		a := ts.get(login("/sns/oauth2/access_token", "code", secret, "alice"))
		token, refresh, openID := a.text("access_token"), a.text("refresh_token"), a.text("openid")
		if a.number("expires_in") != 7200 || a.text("scope") != "snsapi_userinfo" {
			t.Errorf("%s", a.Body)
		}
		ts.get(login("/sns/oauth2/access_token", "code", secret, "alice")).want(40163)

		user := func(path, token, openID string) answer {
			return ts.get(path + "?access_token=" + token + "&openid=" + openID)
		}
		user("/sns/auth", token, openID).want(0)
		if got := user("/sns/userinfo", token, openID).text("openid"); got != openID {
			t.Errorf("openid %s, want %s", got, openID)
		}
		user("/sns/auth", token, "o"+openID).want(40003)
		user("/sns/auth", "", openID).want(41001)
		user("/sns/auth", "abc", openID).want(40014)
		user("/sns/userinfo", ts.token(), openID).want(40001) // the account's token
		ts.wantCall(token, 40001)                             // and the user's with an API

		renew := func(refresh string) answer {
			return ts.get("/sns/oauth2/refresh_token?grant_type=refresh_token&appid=" + appID + "&refresh_token=" + refresh)
		}
		renew("x").want(40030)
		ts.get("/sns/oauth2/refresh_token?grant_type=refresh_token").want(41002)
		ts.get("/sns/oauth2/refresh_token?grant_type=refresh_token&appid=wx0").want(40013)
		ts.get("/sns/oauth2/refresh_token?appid=" + appID).want(40002)

		time.Sleep(time.Hour)
		if got := renew(refresh).text("access_token"); got != token {
			t.Error("renewing a living token replaced it")
		}
		time.Sleep(2*time.Hour - time.Nanosecond)
		user("/sns/auth", token, openID).want(0)
		time.Sleep(time.Nanosecond)
		user("/sns/auth", token, openID).want(42001)
		next := renew(refresh).text("access_token")
		if next == token {
			t.Error("renewing an expired token did not replace it")
		}
		if renew(refresh).text("access_token") != next {
			t.Error("renewing again replaced the new token")
		}
		user("/sns/auth", next, openID).want(0)
		user("/sns/auth", token, openID).want(42001)
		time.Sleep(30 * 24 * time.Hour)
		renew(refresh).want(42002)
	})
}
