package e2e

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// accountStatus is an account as the admin API shows it.
type accountStatus struct {
	Name, AppID, Method, State, Fingerprint string

	FetchedAt time.Time `json:"fetched_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Fetches   int
	Replays   int

	EarlyDeaths int `json:"early_deaths"`
	Warnings    []struct{ Code, Advice string }
	LastError   *struct {
		Errcode        int
		Errmsg, Advice string
		At             time.Time
	} `json:"last_error"`
}

func statusOf(t *testing.T, a answer) accountStatus {
	t.Helper()
	var s accountStatus
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK {
		t.Fatalf("got %s", a)
	}
	return s
}

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	shop := p.admin + "/weixin/accounts/shop"

	var all []accountStatus
	a := get(t, p.admin+"/weixin/accounts")
	if err := json.Unmarshal([]byte(a.body), &all); err != nil || len(all) != 1 {
		t.Fatalf("got %s", a)
	}
	s := statusOf(t, get(t, shop))
	if !reflect.DeepEqual(s, all[0]) || s.Name != "shop" || s.AppID != appID || s.Method != "stable" || s.State != "ok" || len(s.Fingerprint) != 8 ||
		s.Fetches != 1 || s.Replays != 0 || s.LastError != nil || time.Until(s.ExpiresAt) < 7190*time.Second || time.Since(s.FetchedAt) > time.Minute {
		t.Errorf("got %+v", s)
	}

	// A replay is counted.
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	s = statusOf(t, get(t, shop))
	if s.Fetches != 2 || s.Replays != 1 {
		t.Errorf("got %+v", s)
	}

	// Somebody else has found the token rejected.
	w.revoke()
	renewed := statusOf(t, post(t, shop+"/refresh", `{"rejected":"`+s.Fingerprint+`"}`))
	if renewed.Fingerprint == s.Fingerprint || renewed.Fetches != 3 {
		t.Errorf("got %+v", renewed)
	}
	// Another has found the same.
	again := statusOf(t, post(t, shop+"/refresh", `{"rejected":"`+s.Fingerprint+`"}`))
	if again.Fingerprint != renewed.Fingerprint || again.Fetches != 3 {
		t.Errorf("got %+v", again)
	}
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "")

	// WeChat refuses: the cause and what to do are told, and a refresh ends the
	// back-off.
	w.fail("token", 40164, 1000)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	inBackoff(t, p)
	s = statusOf(t, get(t, shop))
	if s.State != "backoff" || s.LastError == nil || s.LastError.Errcode != 40164 || !strings.Contains(s.LastError.Advice, "whitelist") || s.LastError.At.IsZero() {
		t.Errorf("got %+v", s)
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "shop") {
		t.Errorf("got %s", a)
	}
	if a := post(t, shop+"/refresh", ""); a.status != http.StatusBadGateway || !strings.Contains(a.body, "40164") {
		t.Errorf("got %s", a)
	}
	w.fail("token", 40164, 0)
	if s := statusOf(t, post(t, shop+"/refresh", "")); s.State != "ok" || s.LastError == nil {
		t.Errorf("got %+v", s)
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusOK {
		t.Errorf("got %s", a)
	}
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))

	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPost, "/weixin/accounts", "", http.StatusMethodNotAllowed},
		{http.MethodPost, "/weixin/accounts/shop", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "/weixin/accounts/shop/refresh", "", http.StatusMethodNotAllowed},
		{http.MethodPost, "/weixin/health", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "/weixin/accounts/shopp", "", http.StatusNotFound},
		{http.MethodGet, "/weixin/accounts/shop/other", "", http.StatusNotFound},
		{http.MethodPost, "/weixin/accounts/shop/refresh", `{"rejected":`, http.StatusBadRequest},
		{http.MethodPost, "/weixin/accounts/shop/refresh", `{"fingerprint":"00000000"}`, http.StatusBadRequest},
		{http.MethodPost, "/weixin/accounts/shop/refresh", `{"rejected":"00000000"} {}`, http.StatusBadRequest},
		{http.MethodPost, "/weixin/accounts/shop/refresh", `["00000000"]`, http.StatusBadRequest},
		{http.MethodPost, "/weixin/accounts/shop/refresh", strings.Repeat(" ", 10_000), http.StatusBadRequest},
	} {
		if a := do(t, newRequest(t, c.method, p.admin+c.path, strings.NewReader(c.body))); a.status != c.status {
			t.Errorf("%s %s: got %s", c.method, c.path, a)
		}
	}
}

// The newest configuration answers, and after a reload too.
func TestAdminAPIAfterReload(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	p.reload(w, config{global: strings.Replace(defaultAccount, "account shop", "account renamed", 1)})
	if s := statusOf(t, get(t, p.admin+"/weixin/accounts/renamed")); s.State != "ok" || s.Fetches != 1 {
		t.Errorf("got %+v", s)
	}
	if a := get(t, p.admin+"/weixin/accounts/shop"); a.status != http.StatusNotFound {
		t.Errorf("got %s", a)
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	address := "--address=" + strings.TrimPrefix(p.admin, "http://")

	out, ok := run(t, nil, "weixin", "status", address)
	if !ok || !strings.Contains(out, "ACCOUNT") || !strings.Contains(out, "shop") || !strings.Contains(out, "ok") {
		t.Errorf("status: %v\n%s", ok, out)
	}
	before := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	w.revoke()
	out, ok = run(t, nil, "weixin", "refresh", "shop", address)
	after := statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Fingerprint
	if !ok || !strings.Contains(out, "new token "+after) || before == after {
		t.Errorf("refresh: %v\n%s", ok, out)
	}
	// A stable token that nobody has killed is still the account's.
	if out, ok = run(t, nil, "weixin", "refresh", "shop", address); !ok || !strings.Contains(out, "goes on with token "+after) {
		t.Errorf("refresh of a good token: %v\n%s", ok, out)
	}
	out, ok = run(t, nil, "weixin", "status", "--json", address)
	var statuses []accountStatus
	if err := json.Unmarshal([]byte(out), &statuses); err != nil || !ok || len(statuses) != 1 || statuses[0].Fingerprint != after {
		t.Errorf("status --json: %v, %v\n%s", ok, err, out)
	}

	w.fail("token", 40164, 1000)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	out, ok = run(t, nil, "weixin", "status", address)
	if ok || !strings.Contains(out, "backoff") || !strings.Contains(out, "rejected") || !strings.Contains(out, "whitelist") {
		t.Errorf("status while WeChat refuses: %v\n%s", ok, out)
	}
	out, ok = run(t, nil, "weixin", "refresh", "shop", address)
	if ok || !strings.Contains(out, "40164") {
		t.Errorf("refresh while WeChat refuses: %v\n%s", ok, out)
	}
	if out, ok := run(t, nil, "weixin", "refresh", "shopp", address); ok || !strings.Contains(out, "shopp") {
		t.Errorf("refresh of an unknown account: %v\n%s", ok, out)
	}
	if out, ok := run(t, nil, "weixin", "status", "--address=127.0.0.1:1"); ok {
		t.Errorf("status of a Caddy that does not run:\n%s", out)
	}
	// Failures are text, and none is JSON in JSON.
	for want, args := range map[string][]string{
		"Error: there is no account shopp\n":                            {"refresh", "shopp", address},
		"Error: an account has no usable token, or WeChat rejects it\n": {"status", address},
		"errcode 40164": {"refresh", "shop", address},
		"Error: no Caddy answers at 127.0.0.1:1: start":  {"status", "--address=127.0.0.1:1"},
		"Error: unknown command refesh of caddy weixin:": {"refesh", "shop"},
		"Error: unknown command statos of caddy weixin:": {"statos", "--json"},
		"write one of status, refresh, version":          {"versions"},
		"unknown command \"x\"":                          {"version", "x"},
		"it takes no argument":                           {"status", "shop", address},
		"write the name of one account":                  {"refresh", address},
	} {
		if out, ok := run(t, nil, append([]string{"weixin"}, args...)...); ok || !strings.Contains(out, want) || strings.Contains(out, `\"error\"`) || strings.Contains(out, `{"`) {
			t.Errorf("weixin %v: %v\n%s", args, ok, out)
		}
	}
	if out, ok := run(t, nil, "weixin", "version"); !ok || len(strings.Fields(out)) != 1 {
		t.Errorf("version: %v\n%s", ok, out)
	}
	if out, ok := run(t, nil, "weixin"); !ok || !strings.Contains(out, "Available Commands") {
		t.Errorf("weixin alone: %v\n%s", ok, out)
	}
}

// A shell completes the names of the accounts, and hears nothing where there are
// none to be had.
func TestCompletion(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: defaultAccount + "\n account 商城 {\n appid wx0000000000000009\n secret {env.WEIXIN_SECRET}\n }"})
	address := "--address=" + strings.TrimPrefix(p.admin, "http://")
	out, ok := run(t, nil, "__complete", "weixin", "refresh", address, "")
	if !ok || !strings.Contains(out, "shop\t") || !strings.Contains(out, "商城\t") || !strings.Contains(out, "\n:4\n") {
		t.Errorf("got %v\n%s", ok, out)
	}
	if out, ok = run(t, nil, "__complete", "weixin", "refresh", address, "shop", ""); !ok || strings.Contains(out, "商城") {
		t.Errorf("got %v\n%s", ok, out)
	}
	if out, ok = run(t, nil, "__complete", "weixin", "refresh", "--address=127.0.0.1:1", ""); !ok || strings.Contains(out, "no Caddy") || !strings.HasPrefix(out, ":4\n") {
		t.Errorf("got %v\n%s", ok, out)
	}
	if out, ok = run(t, nil, "__complete", "weixin", ""); !ok || !strings.Contains(out, "refresh") || !strings.Contains(out, "version") {
		t.Errorf("got %v\n%s", ok, out)
	}
}
