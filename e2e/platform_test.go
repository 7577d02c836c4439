package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A platform's life: pushes, a merchant's authorisation, calls in its name, deaths
// of every token, withdrawal and return. The application holds nothing real.
func TestPlatform(t *testing.T) {
	o := startOpenPlatform(t)
	p := o.start(platformConfig())
	o.mustPush()
	c := newPlatformClient(p, "whatever")
	a := c.component(preAuthCodePath, `{"component_appid":"`+componentID+`"}`)
	if wantOK(t, a); !strings.Contains(a.body, "pre_auth_code") {
		t.Errorf("%s", a)
	}

	code, _ := o.authorize(merchantID)
	auth, a := c.queryAuth(code)
	o.wantNothingReal(a)
	if auth.AppID != merchantID {
		t.Errorf("%s", a)
	}
	wantOK(t, c.authorizer(auth.AccessToken))
	// The appid alone will do, too.
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid="+merchantID))
	if is := o.counted("/authorizers/" + merchantID); is.Calls != 2 {
		t.Errorf("%+v", is)
	}
	renewed, a := c.renew(merchantID, auth.RefreshToken)
	o.wantNothingReal(a)
	if renewed.ExpiresIn != 7200 || renewed.RefreshToken != auth.RefreshToken {
		t.Errorf("%s", a)
	}
	wantOK(t, c.authorizer(renewed.AccessToken))
	for _, a := range []answer{
		c.component(authorizerInfoPath, `{"component_appid":"`+componentID+`","authorizer_appid":"`+merchantID+`"}`),
		c.component(authorizerListPath, `{"component_appid":"`+componentID+`","offset":0,"count":100}`),
	} {
		o.wantNothingReal(a)
		if !strings.Contains(a.body, auth.RefreshToken) || !strings.Contains(a.body, merchantID) {
			t.Errorf("%s", a)
		}
	}

	// Every token dies in either way, and nobody notices.
	for i, death := range []string{"/revoke", "/expire", "/authorizers/" + merchantID + "/revoke", "/authorizers/" + merchantID + "/expire", "/rotate_tickets"} {
		o.do(death)
		wantOK(t, c.component(preAuthCodePath, `{"component_appid":"`+componentID+`"}`))
		wantOK(t, c.authorizer(auth.AccessToken))
		wantOK(t, get(t, p.url+componentSessionPath+fmt.Sprintf("?appid=%s&component_appid=%s&js_code=user%d&grant_type=authorization_code&component_access_token=%s", merchantID, componentID, i, c.token)))
	}
	// Also the refresh token, which is read again.
	o.do("/authorizers/" + merchantID + "/rotate_refresh_token")
	o.do("/authorizers/" + merchantID + "/expire")
	o.mustPush()
	wantOK(t, c.authorizer(auth.AccessToken))

	// It withdraws: its calls fail, with WeChat's own errcode, and nobody is
	// unhealthy for that.
	if is := o.unauthorize(merchantID); !is.Taken {
		t.Errorf("%+v", is)
	}
	for range 3 {
		if a := c.authorizer(auth.AccessToken); a.status == http.StatusOK && a.errcode() == 0 {
			t.Errorf("%s", a)
		}
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusOK {
		t.Errorf("%s", a)
	}
	if a := get(t, p.admin+"/weixin/platforms/isv/authorizers/"+merchantID); a.status != http.StatusNotFound || !strings.Contains(a.body, "withdrawn") {
		t.Errorf("%s", a)
	}
	if appIDs, _ := p.authorizers(""); len(appIDs) != 0 {
		t.Errorf("%v", appIDs)
	}
	// And comes back: the old virtual token works again.
	code, _ = o.authorize(merchantID)
	auth2, _ := c.queryAuth(code)
	wantOK(t, c.authorizer(auth.AccessToken))
	wantOK(t, c.authorizer(auth2.AccessToken))
	if appIDs, _ := p.authorizers(""); len(appIDs) != 1 {
		t.Errorf("%v", appIDs)
	}
}

// A dead ticket costs no more than one api_start_push_ticket, and the next push
// cures it at once.
func TestPlatformWithoutTicket(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	p := o.start(platformConfig())
	for range 3 {
		a := get(t, p.url+"/cgi-bin/user/get?appid="+merchantID)
		if a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "component_verify_ticket") {
			t.Errorf("%s", a)
		}
	}
	if n := o.count(startPushPath); n != 1 {
		t.Errorf("%d requests for a push", n)
	}
	o.mustPush()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid="+merchantID))
}

// Nothing is lost in a crash, and nothing has to be authorised or read again.
func TestPlatformCrash(t *testing.T) {
	o := startOpenPlatform(t)
	c := platformConfig()
	c.dataDir = t.TempDir()
	p := o.start(c)
	o.mustPush()
	sdk := newPlatformClient(p, "whatever")
	code, _ := o.authorize(merchantID)
	auth, _ := sdk.queryAuth(code)
	p.kill()
	p = startCaddy(t, o.weChat, c)
	sdk.url = p.url
	wantOK(t, sdk.authorizer(auth.AccessToken))
	o.do("/authorizers/" + merchantID + "/expire")
	wantOK(t, sdk.authorizer(auth.AccessToken))
	wantOK(t, sdk.component(preAuthCodePath, `{"component_appid":"`+componentID+`"}`))
	for _, path := range []string{authorizerInfoPath, authorizerListPath, startPushPath} {
		if n := o.count(path); n != 0 {
			t.Errorf("%d requests to %s", n, path)
		}
	}
	if is := o.counted(""); is.Fetches != 1 {
		t.Errorf("%+v", is)
	}
}

// A store that is lost is filled again from what WeChat knows.
func TestPlatformLosesItsStore(t *testing.T) {
	merchants := make([]string, 20)
	for i := range merchants {
		merchants[i] = fmt.Sprintf("wx00000000000001%02d", i)
	}
	o := startOpenPlatform(t, merchants...)
	p := o.start(platformConfig()) // one with nothing in it
	o.mustPush()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid="+merchants[7]))
	if appIDs, _ := p.authorizers(""); len(appIDs) != 1 || appIDs[0] != merchants[7] {
		t.Errorf("%v", appIDs)
	}
	if a := post(t, p.admin+"/weixin/platforms/isv/sync", ""); a.status != http.StatusOK {
		t.Fatalf("%s", a)
	}
	if appIDs, _ := p.authorizers(""); len(appIDs) != len(merchants) {
		t.Errorf("%v", appIDs)
	}
	infos := o.count(authorizerInfoPath)
	for _, appID := range merchants {
		wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid="+appID))
	}
	if n := o.count(authorizerInfoPath) - infos; n != 0 {
		t.Errorf("%d were asked for again", n)
	}
}

// Pushes arrive at any node, and all nodes share what follows from them.
func TestPlatformCluster(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	redis := startRedis(t)
	c := platformConfig()
	c.global += redis.option() + "\n"
	nodes := startCluster(t, o.weChat, 2, c)
	a, b := nodes[0], nodes[1]
	o.pushTo(a)
	o.mustPush()
	sdk := newPlatformClient(b, "whatever")
	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			node := nodes[i%2].url
			if a := get(t, node+"/cgi-bin/user/get?appid="+merchantID); a.status != http.StatusOK || a.errcode() != 0 {
				t.Errorf("%s", a)
			}
		})
	}
	calls.Wait()
	if is := o.counted(""); is.Fetches != 1 {
		t.Errorf("component: %+v", is)
	}
	if is := o.counted("/authorizers/" + merchantID); is.Fetches != 1 {
		t.Errorf("authorizer: %+v", is)
	}
	code, _ := o.authorize("wx0000000000000005") // pushed to a
	auth, _ := sdk.queryAuth(code)               // at b
	sdk.url = a.url
	wantOK(t, sdk.authorizer(auth.AccessToken))
	if got, want := a.platform(), b.platform(); got.Fingerprint != want.Fingerprint || got.Ticket != want.Ticket || *got.Authorizers.Known != 2 || *want.Authorizers.Known != 2 {
		t.Errorf("%+v, %+v", got, want)
	}
	// A withdrawal that one node hears of holds at the other.
	o.unauthorize("wx0000000000000005")
	sdk.url = b.url
	if !eventually(func() bool { return sdk.authorizer(auth.AccessToken).errcode() != 0 }) {
		t.Error("b serves it still")
	}
	// One dies, and tickets go on arriving at the other.
	a.kill()
	o.pushTo(b)
	o.do("/rotate_tickets")
	o.do("/expire")
	o.mustPush()
	wantOK(t, sdk.component(preAuthCodePath, `{"component_appid":"`+componentID+`"}`))
}

// Callers may use the platform, all its authorizers or one of them.
func TestPlatformCallers(t *testing.T) {
	const other = "wx0000000000000003"
	o := startOpenPlatform(t, merchantID, other)
	c := platformConfig()
	for name, accounts := range map[string]string{"all": "isv", "merchants": "isv:*", "one": "isv:" + merchantID, "shop": "shop"} {
		c.global += "caller " + name + " {\nkey the-key-of-" + name + "-0123\naccounts " + accounts + "\n}\n"
	}
	c.global += defaultAccount
	c.site = "weixin\nweixin_callback /callback\n"
	p := o.start(c)
	o.mustPush()
	may := func(caller, path string) bool {
		t.Helper()
		req := newRequest(t, http.MethodGet, p.url+path, nil)
		req.Header.Set("Authorization", "Bearer the-key-of-"+caller+"-0123")
		a := do(t, req)
		if a.status != http.StatusOK && a.status != http.StatusForbidden {
			t.Errorf("%s %s: %s", caller, path, a)
		}
		return a.status == http.StatusOK && a.errcode() == 0
	}
	for caller, want := range map[string][3]bool{
		"all": {true, true, true}, "merchants": {false, true, true}, "one": {false, true, false}, "shop": {false, false, false},
	} {
		for i, path := range []string{
			"/wxa/gettemplatelist", "/cgi-bin/user/get?appid=" + merchantID, "/cgi-bin/user/get?appid=" + other,
		} {
			if got := may(caller, path); got != want[i] {
				t.Errorf("%s %s: %v", caller, path, got)
			}
		}
	}
	// The key is what an SDK is configured with as the platform's secret.
	newPlatformClient(p, "the-key-of-all-0123")
	for _, key := range []string{"whatever", "the-key-of-merchants-0123", "the-key-of-shop-0123"} {
		a := post(t, p.url+componentTokenPath, fmt.Sprintf(`{"component_appid":%q,"component_appsecret":%q,"component_verify_ticket":"x"}`, componentID, key))
		if strings.Contains(a.body, "component_access_token") || a.errcode() == 0 && a.status == http.StatusOK {
			t.Errorf("%s: %s", key, a)
		}
	}
}

// The directive with a platform's name serves it and its authorizers, and nothing
// else, also below reverse_proxy.
func TestPlatformNamed(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	c := platformConfig()
	c.global += defaultAccount
	c.site = "weixin_callback /callback\nhandle_path /isv/* {\nweixin isv\n}\nhandle_path /proxied/* {\nreverse_proxy UPSTREAM {\ntransport weixin isv\n}\n}\nhandle_path /merchant/* {\nweixin isv:" + merchantID + "\n}\n"
	p := o.start(c)
	o.mustPush()
	wantOK(t, get(t, p.url+"/merchant/cgi-bin/user/get"))
	if a := get(t, p.url+"/merchant/wxa/gettemplatelist"); a.status != http.StatusBadRequest {
		t.Errorf("%s", a)
	}
	for _, prefix := range []string{"/isv", "/proxied"} {
		wantOK(t, get(t, p.url+prefix+"/cgi-bin/user/get?appid="+merchantID))
		wantOK(t, get(t, p.url+prefix+"/wxa/gettemplatelist"))
		if a := get(t, p.url+prefix+"/cgi-bin/token?grant_type=client_credential&appid="+appID+"&secret=x"); a.status == http.StatusOK && strings.Contains(a.body, "access_token") {
			t.Errorf("%s: %s", prefix, a)
		}
	}
}

// The whole of it in one Caddyfile: the sandbox is another site, and its pushes
// come by themselves.
func TestPlatformInOneCaddyfile(t *testing.T) {
	w := startWeChat(t) // serves only to know the secrets
	w.secrets = componentSecrets
	var sandboxURL string
	p := startCaddy(t, w, config{
		env: componentEnv,
		write: func(p *caddy) string {
			sandboxURL = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
			return fmt.Sprintf(`{
	admin %s
	weixin {
		upstream %s
		%s
	}
}
%s {
	weixin_callback /callback
	weixin
}
%[2]s {
	weixin_sandbox {
		component {env.COMPONENT_APPID} {env.COMPONENT_SECRET} {
			push_token {env.COMPONENT_TOKEN}
			push_aes_key {env.COMPONENT_AES_KEY}
			callback %[4]s/callback
			authorizer %[5]s
		}
	}
}
`, strings.TrimPrefix(p.admin, "http://"), sandboxURL, platformNamed("isv"), p.url, merchantID)
		},
	})
	if !eventually(func() bool { return !p.platform().Ticket.ReceivedAt.IsZero() }) {
		t.Fatal("no ticket was pushed")
	}
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?appid="+merchantID))
	a := post(t, sandboxURL+"/sandbox/platforms/"+componentID+"/authorize", "")
	var is struct {
		AppID  string `json:"authorizer_appid"`
		Code   string `json:"authorization_code"`
		Pushed takes
	}
	if err := json.Unmarshal([]byte(a.body), &is); err != nil || !is.Pushed.Taken {
		t.Fatalf("%s", a)
	}
	auth, _ := newPlatformClient(p, "whatever").queryAuth(is.Code)
	if auth.AppID != is.AppID {
		t.Errorf("%+v", auth)
	}
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+url.QueryEscape(auth.AccessToken)))
	if s := p.platform(); s.State != "ok" || *s.Authorizers.Known != 2 || time.Until(s.ExpiresAt) < time.Hour {
		t.Errorf("%+v", s)
	}
}
