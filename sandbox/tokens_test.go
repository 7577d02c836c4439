package sandbox_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

// bubble runs a test on a sandbox and on a clock of its own, which begins at
// eight in the morning in Beijing.
func bubble(t *testing.T, config sandbox.Config, test func(t *testing.T, ts tester)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, newTester(t, config))
	})
}

func TestClassicTokens(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		first := ts.classic()
		one := first.text("access_token")
		if got := first.number("expires_in"); got != 7200 {
			t.Errorf("expires_in %d, want 7200", got)
		}
		ts.wantCall(one, 0)

		time.Sleep(time.Minute)
		second := ts.classic()
		two := second.text("access_token")
		if one == two {
			t.Error("a second call returned the same token")
		}
		if got := second.number("expires_in"); got != 7200 {
			t.Errorf("expires_in %d, want 7200", got)
		}

		time.Sleep(5*time.Minute - time.Nanosecond)
		ts.wantCall(one, 0)
		ts.wantCall(two, 0)
		time.Sleep(time.Nanosecond)
		ts.wantCall(one, 40001)
		ts.wantCall(two, 0)

		time.Sleep(2*time.Hour - 5*time.Minute - time.Nanosecond)
		ts.wantCall(two, 0)
		time.Sleep(time.Nanosecond)
		ts.wantCall(two, 42001)
		ts.wantCall(one, 40001)
	})
}

func TestClassicTokenExpiresInTheOverlap(t *testing.T) {
	bubble(t, sandbox.Config{}, func(_ *testing.T, ts tester) {
		token := ts.classic().text("access_token")
		time.Sleep(118 * time.Minute)
		ts.classic()
		ts.wantCall(token, 0)
		time.Sleep(2 * time.Minute)
		ts.wantCall(token, 42001)
	})
}

func TestStableTokens(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		one := ts.token()
		for _, test := range []struct {
			after time.Duration
			want  int // expires_in
		}{{0, 7200}, {time.Second, 7199}, {time.Hour, 3599}, {54*time.Minute + 58500*time.Millisecond, 300}} {
			time.Sleep(test.after)
			a := ts.stable(false)
			if a.text("access_token") != one {
				t.Fatal("normal mode returned another token")
			}
			if got := a.number("expires_in"); got != test.want {
				t.Errorf("expires_in %d, want %d", got, test.want)
			}
		}

		time.Sleep(500 * time.Millisecond)
		a := ts.stable(false)
		two := a.text("access_token")
		if two == one {
			t.Error("the same token in its last five minutes")
		}
		if got := a.number("expires_in"); got != 7200 {
			t.Errorf("expires_in %d, want 7200", got)
		}
		time.Sleep(5*time.Minute - time.Nanosecond)
		ts.wantCall(one, 0)
		ts.wantCall(two, 0)
		time.Sleep(time.Nanosecond)
		ts.wantCall(one, 42001)
		ts.wantCall(two, 0)
	})
}

func TestStableForced(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		one := ts.token()
		two := ts.stable(true).text("access_token")
		if one == two {
			t.Error("forcing returned the same token")
		}
		ts.wantCall(one, 40001)
		ts.wantCall(two, 0)
		if ts.token() != two {
			t.Error("normal mode does not know the forced token")
		}

		time.Sleep(30*time.Second - time.Nanosecond)
		a := ts.stable(true)
		if a.text("access_token") != two {
			t.Error("forcing again within 30 s changed the token")
		}
		if got := a.number("expires_in"); got != 7170 {
			t.Errorf("expires_in %d, want 7170", got)
		}
		time.Sleep(time.Nanosecond)
		if ts.stable(true).text("access_token") == two {
			t.Error("forcing after 30 s did not change the token")
		}
		ts.wantCall(two, 40001)
	})
}

func TestStableForcedKillsAllOthers(t *testing.T) {
	bubble(t, sandbox.Config{}, func(_ *testing.T, ts tester) {
		one := ts.token()
		time.Sleep(116 * time.Minute)
		two := ts.token()
		ts.wantCall(one, 0)
		ts.stable(true)
		ts.wantCall(one, 40001)
		ts.wantCall(two, 40001)
	})
}

func TestStableForcesADay(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		for range 20 {
			ts.stable(true).want(0)
			ts.stable(true).want(0) // changes nothing, and does not count
			time.Sleep(30 * time.Second)
		}
		token := ts.token()
		ts.stable(true).want(45009)
		if ts.token() != token {
			t.Error("a refused force changed the token")
		}
		time.Sleep(16*time.Hour - 10*time.Minute)
		ts.stable(true).want(0) // midnight in Beijing
	})
}

func TestMethodsAreIsolated(t *testing.T) {
	bubble(t, sandbox.Config{}, func(_ *testing.T, ts tester) {
		stable := ts.token()
		classic := ts.classic().text("access_token")
		time.Sleep(10 * time.Minute)
		ts.classic()
		ts.stable(true)
		ts.wantCall(stable, 40001) // by the force
		ts.wantCall(classic, 0)    // five more minutes, from the classic call
		stable = ts.token()
		time.Sleep(10 * time.Minute)
		ts.wantCall(classic, 40001)
		ts.wantCall(stable, 0)
	})
}

func TestShortLifetimes(t *testing.T) {
	bubble(t, sandbox.Config{ExpiresIn: 10 * time.Second}, func(t *testing.T, ts tester) {
		classic, a := ts.classic().text("access_token"), ts.stable(false)
		one := a.text("access_token")
		if got := a.number("expires_in"); got != 10 {
			t.Errorf("expires_in %d, want 10", got)
		}
		time.Sleep(4 * time.Second)
		ts.classic()
		if ts.token() != one {
			t.Error("renewed before the overlap")
		}
		time.Sleep(time.Second)
		two := ts.token()
		if two == one {
			t.Error("not renewed in the overlap")
		}
		time.Sleep(4 * time.Second)
		ts.wantCall(classic, 40001)
		ts.wantCall(one, 0)
		time.Sleep(time.Second)
		ts.wantCall(one, 42001)
		ts.wantCall(two, 0)
	})
}

func TestTokenForm(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{136,157}$`)
	for _, token := range []string{ts.token(), ts.classic().text("access_token")} {
		if !form.MatchString(token) {
			t.Errorf("a token of %d characters is not of WeChat's form", len(token))
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	valid := ts.token()
	for name, test := range map[string]struct {
		query string
		want  int
	}{
		"valid":            {"access_token=" + valid, 0},
		"escaped name":     {"access%5Ftoken=" + valid, 0},
		"the first counts": {"access_token=x&access_token=" + valid, 40014},
		"missing":          {"", 41001},
		"empty":            {"access_token=", 41001},
		"malformed":        {"access_token=abc", 40014},
		"cut off":          {"access_token=" + valid[:20], 40014},
		"of another time":  {"access_token=92_" + strings.Repeat("x", 137), 40001},
		"beyond WeChat's":  {"access_token=92_" + strings.Repeat("x", 513), 40014},
	} {
		t.Run(name, func(t *testing.T) {
			a := ts.get("/cgi-bin/user/get?" + test.query)
			a.t = t
			a.want(test.want)
		})
	}
}

func TestTokenClaims(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	for name, test := range map[string]struct {
		appID, secret, grantType string
		classic, stable          int
	}{
		"right":            {appID, secret, "client_credential", 0, 0},
		"no appid":         {"", secret, "client_credential", 41002, 41002},
		"no secret":        {appID, "", "client_credential", 41004, 41004},
		"unknown appid":    {"wx0000000000000002", secret, "client_credential", 40013, 40013},
		"wrong secret":     {appID, "wrong", "client_credential", 40001, 40125},
		"no grant_type":    {appID, secret, "", 40002, 40002},
		"wrong grant_type": {appID, secret, "authorization_code", 40002, 40002},
	} {
		t.Run(name, func(t *testing.T) {
			ts := tester{t, ts.server}
			query := url.Values{"appid": {test.appID}, "secret": {test.secret}, "grant_type": {test.grantType}}
			ts.get("/cgi-bin/token?" + query.Encode()).want(test.classic)
			ts.post("/cgi-bin/stable_token", fmt.Sprintf(`{"appid":%q,"secret":%q,"grant_type":%q}`,
				test.appID, test.secret, test.grantType)).want(test.stable)
			if test.stable == 0 {
				// A form gets nowhere, whatever is in it.
				ts.post("/cgi-bin/stable_token", query.Encode()).want(41002)
			}
		})
	}
}

func TestTokenRequests(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	query := "?grant_type=client_credential&appid=" + appID + "&secret=" + secret
	ts.post("/cgi-bin/token"+query, "").want(43001)
	ts.get("/cgi-bin/stable_token" + query).want(43002)
	ts.post("/cgi-bin/stable_token"+query, "").want(41002)
	ts.post("/cgi-bin/stable_token", `{"appid":`).want(47001)
	ts.post("/cgi-bin/stable_token", `{"force_refresh":"yes"}`).want(47001)

	// The content type is not what makes it JSON.
	r := httptest.NewRequest(http.MethodPost, "/cgi-bin/stable_token", strings.NewReader(
		`{"grant_type":"client_credential","appid":"`+appID+`","secret":"`+secret+`"}`))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ts.do(r).want(0)
}

func TestSecretsAreNotEchoed(t *testing.T) {
	ts := newTester(t, sandbox.Config{})
	a := ts.get("/cgi-bin/token?grant_type=client_credential&secret=" + secret)
	if strings.Contains(a.Body.String(), secret) {
		t.Errorf("%s", a.Body)
	}
	if text := fmt.Sprintf("%v %+v %#v", sandbox.Account{AppID: "a", AppSecret: "b"}, sandbox.Account{AppID: "a", AppSecret: "b"},
		sandbox.Account{AppID: "a", AppSecret: "b"}); text != "a a a" {
		t.Errorf("an account prints as %s", text)
	}
}

func TestClassicQuota(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		for i := range 2000 {
			if errcode := ts.classic().errcode(); errcode != 0 {
				t.Fatalf("call %d of 2,000 got %d", i+1, errcode)
			}
		}
		ts.classic().want(45009)
		ts.stable(false).want(0)
		time.Sleep(16*time.Hour - time.Nanosecond)
		ts.classic().want(45009)
		time.Sleep(time.Nanosecond)
		ts.classic().want(0)
	})
}

func TestStableMinuteQuota(t *testing.T) {
	bubble(t, sandbox.Config{}, func(t *testing.T, ts tester) {
		for i := range 10_000 {
			if a := ts.stable(false); a.Body.Len() < 100 {
				t.Fatalf("call %d of 10,000 got %s", i+1, a.Body)
			}
		}
		ts.stable(false).want(45011)
		time.Sleep(time.Minute)
		ts.stable(false).want(0)
	})
}

func TestClearQuota(t *testing.T) {
	bubble(t, sandbox.Config{}, func(_ *testing.T, ts tester) {
		target := "/cgi-bin/clear_quota?access_token=" + ts.token()
		ts.post(target, `{}`).want(41002)
		ts.post(target, `{"appid":"wx0000000000000002"}`).want(40013)

		const v2 = "/cgi-bin/clear_quota/v2"
		ts.post(v2, ``).want(41002)
		ts.post(v2, `{"appid":"`+appID+`"}`).want(41004)
		ts.post(v2, `{"appid":"`+appID+`","appsecret":"wrong"}`).want(40125)
		ts.get(v2 + "?appid=" + appID + "&appsecret=" + secret).want(43002)

		// In all spellings together ten times a month.
		for range 20 {
			ts.stable(true).want(0)
			time.Sleep(30 * time.Second)
		}
		ts.stable(true).want(45009)
		ts.post("/cgi-bin/clear_quota?access_token="+ts.token(), `{"appid":"`+appID+`"}`).want(0)
		ts.stable(true).want(0)
		ts.post(v2+"?appid="+appID+"&appsecret="+secret, "").want(0)
		ts.post(v2, "appid="+appID+"&appsecret="+secret).want(0)
		for range 7 {
			ts.post(v2, `{"appid":"`+appID+`","appsecret":"`+secret+`"}`).want(0)
		}
		ts.post(v2, `{"appid":"`+appID+`","appsecret":"`+secret+`"}`).want(48006)
		time.Sleep(31 * 24 * time.Hour)
		ts.post(v2, `{"appid":"`+appID+`","appsecret":"`+secret+`"}`).want(0)
	})
}

func TestAccountsAreIsolated(t *testing.T) {
	ts := newTester(t, sandbox.Config{Accounts: []sandbox.Account{
		{AppID: appID, AppSecret: secret}, {AppID: "wx2", AppSecret: "secret2"},
	}})
	ts.get("/cgi-bin/token?grant_type=client_credential&appid=wx2&secret=" + secret).want(40001)
	other := ts.get("/cgi-bin/token?grant_type=client_credential&appid=wx2&secret=secret2").text("access_token")
	ts.post("/sandbox/accounts/"+appID+"/revoke", "")
	ts.wantCall(other, 0)
	ts.post("/cgi-bin/clear_quota?access_token="+other, `{"appid":"`+appID+`"}`).want(40013)
	if st := ts.status(); st.Calls != 0 {
		t.Errorf("the other account's calls were counted: %+v", st)
	}
}
