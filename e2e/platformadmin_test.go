package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// authorizerPage is a page of the list of authorizers.
type authorizerPage struct {
	Authorizers []struct{ AppID string }
	Next        string
}

func (p *caddy) authorizers(query string) (appIDs []string, next string) {
	p.t.Helper()
	a := get(p.t, p.admin+"/weixin/platforms/isv/authorizers"+query)
	var page authorizerPage
	if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK || page.Authorizers == nil {
		p.t.Fatalf("got %s", a)
	}
	for _, z := range page.Authorizers {
		appIDs = append(appIDs, z.AppID)
	}
	return appIDs, page.Next
}

var merchants = []string{"wx0000000000000002", "wx0000000000000003", "wx0000000000000004"}

// startForOperators starts a proxy with an account and a platform that has merchants.
func startForOperators(t *testing.T) (*openPlatform, *caddy) {
	t.Helper()
	o := startOpenPlatform(t, merchants...)
	c := platformConfig()
	c.global += defaultAccount
	c.site = "weixin_callback /callback isv\nweixin_health /health\nweixin_status /status\nweixin\n"
	return o, o.start(c)
}

func (p *caddy) address() string { return "--address=" + strings.TrimPrefix(p.admin, "http://") }

// A platform that nobody has used yet is healthy. One that has no ticket when it
// is used is not, until one is pushed.
func TestPlatformHealth(t *testing.T) {
	o, p := startForOperators(t)
	isv := p.admin + "/weixin/platforms/isv"
	if !eventually(func() bool { return get(t, p.admin+"/weixin/health").status == http.StatusOK }) {
		t.Errorf("%s", get(t, p.admin+"/weixin/health"))
	}
	// WeChat is asked to push a ticket. The sandbox does when it is told to.
	if a := post(t, isv+"/refresh", ""); a.status != http.StatusBadGateway || !strings.Contains(a.body, "component_verify_ticket") || !strings.Contains(a.body, "weixin_callback") {
		t.Errorf("%s", a)
	}
	if s := p.platform(); s.State != "backoff" || s.LastError == nil || !strings.Contains(s.LastError.Advice, "authorisation-event URL") {
		t.Errorf("%+v", s)
	}
	for _, url := range []string{p.admin + "/weixin/health", p.url + "/health", p.url + "/health?account=isv"} {
		if a := get(t, url); a.status != http.StatusServiceUnavailable || a.body != `{"healthy":false,"unhealthy":["isv"]}`+"\n" {
			t.Errorf("%s: %s", url, a)
		}
	}
	if out, ok := run(t, nil, "weixin", "status", p.address()); ok || !strings.Contains(out, "isv: no ticket") || !strings.Contains(out, "authorisation-event URL") {
		t.Errorf("%v\n%s", ok, out)
	}

	// A ticket cures that at once.
	o.mustPush()
	var s platformStatus
	a := post(t, isv+"/refresh", "")
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || s.State != "ok" || len(s.Fingerprint) != 8 || s.Ticket.ReceivedAt.IsZero() || s.Method != "component" {
		t.Fatalf("%s", a)
	}
	if a := get(t, p.url+"/health"); a.status != http.StatusOK {
		t.Errorf("%s", a)
	}
	var all []platformStatus
	if err := json.Unmarshal([]byte(get(t, p.admin+"/weixin/platforms").body), &all); err != nil || len(all) != 1 || all[0].Fingerprint != s.Fingerprint {
		t.Errorf("%v, %+v", err, all)
	}
	if a := get(t, p.admin+"/weixin/accounts"); strings.Contains(a.body, "isv") || !strings.Contains(a.body, `"shop"`) {
		t.Errorf("%s", a)
	}
}

// Accounts that have authorised a platform are unknown until they are read or
// asked for.
func TestPlatformAuthorizers(t *testing.T) {
	o, p := startForOperators(t)
	isv := p.admin + "/weixin/platforms/isv"
	o.mustPush()
	if appIDs, next := p.authorizers(""); len(appIDs) != 0 || next != "" {
		t.Errorf("%v %q", appIDs, next)
	}
	if a := get(t, isv+"/authorizers/"+merchants[0]); a.status != http.StatusNotFound {
		t.Errorf("%s", a)
	}
	if n := o.count(authorizerInfoPath); n != 0 {
		t.Errorf("WeChat was asked %d times", n)
	}
	if a := post(t, isv+"/sync", ""); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"authorizers":3}` {
		t.Errorf("%s", a)
	}
	for query, want := range map[string]struct {
		appIDs []string
		next   string
	}{
		"":                               {merchants, ""},
		"?limit=2":                       {merchants[:2], merchants[1]},
		"?limit=2&after=" + merchants[1]: {merchants[2:], ""},
		"?after=" + merchants[2]:         {nil, ""},
		"?limit=3":                       {merchants, ""},
		"?limit=20000":                   {merchants, ""}, // a page has 1,000 at most
	} {
		if appIDs, next := p.authorizers(query); !slices.Equal(appIDs, want.appIDs) || next != want.next {
			t.Errorf("%s: %v %q", query, appIDs, next)
		}
	}
	one := statusOf(t, get(t, isv+"/authorizers/"+merchants[0]))
	if one.Name != "isv:"+merchants[0] || one.AppID != merchants[0] || one.State != "empty" || one.Fingerprint != "" {
		t.Errorf("%+v", one)
	}
	one = statusOf(t, post(t, isv+"/authorizers/"+merchants[0]+"/refresh", ""))
	if one.State != "ok" || len(one.Fingerprint) != 8 || one.FetchedAt.IsZero() || one.ExpiresAt.IsZero() {
		t.Errorf("%+v", one)
	}
	a := get(t, isv+"/authorizers/"+merchants[0])
	if got := statusOf(t, a); got.Fingerprint != one.Fingerprint {
		t.Errorf("%+v", got)
	}
	// WeChat's quota is the component's: of an authorizer there is none to be told.
	if !strings.Contains(a.body, `"fetches":{"used":1}`) {
		t.Errorf("%s", a)
	}
	if s := p.platform(); s.Authorizers.Known == nil || *s.Authorizers.Known != 3 || s.Authorizers.InMemory < 1 {
		t.Errorf("%+v", s.Authorizers)
	}
	o.wantNothingReal(get(t, p.admin+"/config/"))
	o.wantNothingReal(get(t, p.admin+"/weixin/platforms"))
}

// The command shows platforms, and renews their tokens and those of who has
// authorised them. Metrics have no label for these.
func TestPlatformCLI(t *testing.T) {
	o, p := startForOperators(t)
	o.mustPush()
	for _, action := range []string{"/refresh", "/sync"} {
		if a := post(t, p.admin+"/weixin/platforms/isv"+action, ""); a.status != http.StatusOK {
			t.Fatalf("%s", a)
		}
	}
	out, ok := run(t, nil, "weixin", "status", p.address())
	if !ok || !strings.Contains(out, "isv") || !strings.Contains(out, "ticket received") || !strings.Contains(out, "authorizers 3, in memory ") {
		t.Errorf("%v\n%s", ok, out)
	}
	out, ok = run(t, nil, "weixin", "status", "--json", p.address())
	var both []platformStatus
	if err := json.Unmarshal([]byte(out), &both); err != nil || !ok || len(both) != 2 || both[0].Name != "shop" || both[1].Name != "isv" || both[1].Ticket.ReceivedAt.IsZero() {
		t.Errorf("%v %v\n%s", ok, err, out)
	}
	for _, name := range []string{"isv", "isv:" + merchants[0]} {
		if out, ok := run(t, nil, "weixin", "refresh", name, p.address()); !ok || !strings.Contains(out, name+": new token ") {
			t.Errorf("%v\n%s", ok, out)
		}
	}
	for name, want := range map[string]string{"isw": "there is no account isw", "isw:wx1": "there is no platform isw", "isv:wx1": "has not authorised"} {
		if out, ok := run(t, nil, "weixin", "refresh", name, p.address()); ok || !strings.Contains(out, want) {
			t.Errorf("%v\n%s", ok, out)
		}
	}
	if out, ok := run(t, nil, "__complete", "weixin", "refresh", p.address(), ""); !ok || !strings.Contains(out, "isv\t") || !strings.Contains(out, "shop\t") {
		t.Errorf("%v\n%s", ok, out)
	}
	metrics := get(t, p.admin+"/metrics").body
	for _, line := range []string{
		`caddy_weixin_account_info{account="isv",kind="platform"} 1`,
		`caddy_weixin_state{account="isv",state="ok"} 1`,
		`caddy_weixin_platform_authorizers{account="isv",place="known"} 3`,
		`caddy_weixin_platform_authorizers{account="isv",place="in_memory"} `,
		`caddy_weixin_platform_ticket_timestamp_seconds{account="isv"} 1.`,
		`caddy_weixin_token_expiry_timestamp_seconds{account="isv"} `,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	if strings.Contains(metrics, merchants[0]) {
		t.Error("an authorizer has metrics")
	}
}

func TestPlatformAdminRefuses(t *testing.T) {
	o := startOpenPlatform(t)
	p := o.start(platformConfig())
	for path, c := range map[string]struct {
		method   string
		status   int
		mentions string
	}{
		"/isw":                         {http.MethodGet, 404, "isw"},
		"/isw/authorizers":             {http.MethodGet, 404, "isw"},
		"/isv/nothing":                 {http.MethodGet, 404, "/nothing"},
		"/isv/refresh/x":               {http.MethodPost, 404, "/refresh/x"},
		"/isv/authorizers/wx1/x":       {http.MethodPost, 404, "/x"},
		"/isv/authorizers/wx1":         {http.MethodGet, 404, "wx1"},
		"/isv/authorizers/":            {http.MethodGet, 404, "authorised"},
		"/isv/authorizers/a%20b":       {http.MethodGet, 404, "authorised"},
		"/isv/authorizers?limit=0":     {http.MethodGet, 400, "1 to 1000"},
		"/isv/authorizers?limit=-1":    {http.MethodGet, 400, "1 to 1000"},
		"/isv/authorizers?limit=many":  {http.MethodGet, 400, "many"},
		"/isv/authorizers?limit=":      {http.MethodGet, 400, "1 to 1000"},
		"/isv/authorizers?offset=2":    {http.MethodGet, 400, "unknown parameter offset"},
		"/isv/authorizers?after=%zz":   {http.MethodGet, 400, "query"},
		"/isv":                         {http.MethodPost, 405, "GET"},
		"":                             {http.MethodPost, 405, "GET"},
		"/isv/refresh":                 {http.MethodGet, 405, "POST"},
		"/isv/sync":                    {http.MethodGet, 405, "POST"},
		"/isv/authorizers":             {http.MethodDelete, 405, "GET"},
		"/isv/authorizers/wx1/refresh": {http.MethodGet, 405, "POST"},
	} {
		a := do(t, newRequest(t, c.method, p.admin+"/weixin/platforms"+path, nil))
		if a.status != c.status || !strings.Contains(a.body, c.mentions) {
			t.Errorf("%s %s: %s", c.method, path, a)
		}
	}
	if a := get(t, p.admin+"/weixin/accounts/isv"); a.status != http.StatusNotFound || !strings.Contains(a.body, "/weixin/platforms/isv") {
		t.Errorf("%s", a)
	}
	// Without a ticket, nothing can be read from WeChat.
	if a := post(t, p.admin+"/weixin/platforms/isv/sync", ""); a.status != http.StatusBadGateway || !strings.Contains(a.body, "component_verify_ticket") {
		t.Errorf("%s", a)
	}
	for _, path := range []string{"/cgi-bin/component/api_get_authorizer_info", "/cgi-bin/component/api_component_token"} {
		if n := o.count(path); n > 0 {
			t.Errorf("WeChat got %d requests to %s", n, path)
		}
	}
}

// The page has a row for a platform, in both languages, and its button.
func TestPlatformOnStatusPage(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	c := platformConfig()
	c.site = "weixin_callback /callback\nweixin_status /status\n"
	p := o.start(c)
	page := func(language string) string {
		return ask(t, http.MethodGet, p.url+"/status", "", "Accept-Language", language).body
	}
	for language, texts := range map[string][]string{"en": {"Third-party platform", "none was pushed yet"}, "zh-CN": {"第三方平台", "尚未收到推送"}} {
		for _, text := range texts {
			if !strings.Contains(page(language), text) {
				t.Errorf("%s: the page does not say %s", language, text)
			}
		}
	}
	o.mustPush()
	if a := post(t, p.admin+"/weixin/platforms/isv/sync", ""); a.status != http.StatusOK {
		t.Fatalf("%s", a)
	}
	for language, texts := range map[string][]string{"en": {"received", "Accounts that have authorised it: 1"}, "zh-CN": {"收到于", "已授权账号：1 个"}} {
		for _, text := range texts {
			if !strings.Contains(page(language), text) {
				t.Errorf("%s: the page does not say %s", language, text)
			}
		}
	}
	a := ask(t, http.MethodGet, p.url+"/status", "", "Accept", "application/json")
	var told struct{ Accounts []platformStatus }
	if err := json.Unmarshal([]byte(a.body), &told); err != nil || len(told.Accounts) != 1 || told.Accounts[0].Ticket.ReceivedAt.IsZero() || told.Accounts[0].Authorizers.Known == nil {
		t.Errorf("%v: %s", err, a)
	}
	before := p.platform().Fingerprint
	url := p.url + "/status"
	pressed := pressAgain(t, url, tokenOf(t, ask(t, http.MethodGet, url, "")), "isv")
	if after := p.platform().Fingerprint; pressed.status != http.StatusOK || after == before || after == "" {
		t.Errorf("%s: %s, then %s", pressed, before, after)
	}
	o.wantNothingReal(a)
}

// Tokens of a platform outlive a reload, also one that changes the platform.
func TestPlatformReload(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	c := platformConfig()
	p := o.start(c)
	o.mustPush()
	isv := p.admin + "/weixin/platforms/isv"
	one := statusOf(t, post(t, isv+"/authorizers/"+merchantID+"/refresh", ""))
	before := p.platform()
	for i := range 3 {
		next := platformConfig(fmt.Sprintf("authorizers_in_memory %d", 1000+i))
		p.reload(o.weChat, next)
		if s := p.platform(); s.Fingerprint != before.Fingerprint || s.Ticket != before.Ticket {
			t.Errorf("%+v", s)
		}
		if s := statusOf(t, get(t, isv+"/authorizers/"+merchantID)); s.Fingerprint != one.Fingerprint {
			t.Errorf("%+v", s)
		}
	}
	if is := o.counted(""); is.Fetches != 1 {
		t.Errorf("%+v", is)
	}
	if is := o.counted("/authorizers/" + merchantID); is.Fetches != 1 {
		t.Errorf("%+v", is)
	}
	p.reload(o.weChat, config{})
	if a := get(t, p.admin+"/weixin/platforms"); strings.TrimSpace(a.body) != "[]" {
		t.Errorf("%s", a)
	}
	if a := get(t, isv); a.status != http.StatusNotFound {
		t.Errorf("%s", a)
	}
}
