package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// officialServer is the API of an official account.
type officialServer struct {
	mu    sync.Mutex
	asked []asked
}

func (s *officialServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == wechat.Stable.Path {
		_, _ = io.WriteString(w, `{"access_token":"official-1","expires_in":7200}`)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, asked{req.Method, req.URL.Path, req.URL.Query(), ""})
	_, _ = io.WriteString(w, `{"errcode":0}`)
}

func (s *officialServer) last() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		return nil
	}
	return s.asked[len(s.asked)-1].query
}

// An official account beside a platform is served as it was before.
func TestPlatformBesideOfficialAccount(t *testing.T) {
	official := new(officialServer)
	accounts := officialAccounts(t, official)
	s := servePlatform(t, setup{accounts: accounts})
	_, issued := s.get("/cgi-bin/token?grant_type=client_credential&secret=x&appid=wxshop")
	token, _ := issued["access_token"].(string)
	for target, want := range map[string]string{
		"/cgi-bin/user/get":                                          "access_token=official-1",
		"/cgi-bin/user/get?access_token=old":                         "access_token=official-1",
		"/cgi-bin/user/get?access_token=" + token:                    "access_token=official-1",
		"/wxa/getwxacode?appid=wxshop":                               "access_token=official-1&appid=wxshop",
		"/wxa/gettemplatelist?appid=wxshop":                          "access_token=official-1&appid=wxshop",
		"/cgi-bin/clear_quota":                                       "access_token=official-1",
		"/tcb/invokecloudfunction":                                   "access_token=official-1",
		"/cgi-bin/get_api_domain_ip":                                 "access_token=official-1",
		"/wxa/x?component_access_token=token-of-another-platform":    "component_access_token=token-of-another-platform",
		"/sns/userinfo?access_token=users":                           "access_token=users",
		"/sns/oauth2/refresh_token?appid=wxstranger":                 "appid=wxstranger",
		"/sns/jscode2session?appid=wxshop&js_code=x&secret=x":        "appid=wxshop&js_code=x&secret=a-secret-of-some-length",
		"/tcb/x?cloudbase_access_token=x":                            "cloudbase_access_token=x",
		"/cgi-bin/user/get?access_token=" + token + "&appid=wxother": "access_token=official-1&appid=wxother",
	} {
		r := s.call(target, "")
		if got := official.last().Encode(); r.status != http.StatusOK || got != want || s.wechat.last().path != "" {
			t.Errorf("%s: %d %s\n asked %s\n  want %s", target, r.status, r.text, got, want)
		}
	}
	component := s.componentToken("x")
	authorizer := s.tokenOf(merchant, component)
	s.wechat.forget()
	for target, want := range map[string]string{
		"/cgi-bin/user/get?access_token=" + authorizer:                          "access_token=" + realMerchant,
		"/cgi-bin/user/get?component_access_token=" + authorizer:                "component_access_token=" + realMerchant,
		"/cgi-bin/clear_quota?access_token=" + component:                        "access_token=" + realComponent,
		"/cgi-bin/user/get?appid=" + merchant:                                   "access_token=" + realMerchant + "&appid=" + merchant,
		"/wxa/gettemplatelist":                                                  "access_token=" + realComponent,
		"/cgi-bin/component/api_create_preauthcode":                             "access_token=" + realComponent,
		"/sns/component/jscode2session?appid=wxshop":                            "appid=wxshop&component_access_token=" + realComponent,
		"/wxa/gettemplatelist?component_access_token=" + component:              "component_access_token=" + realComponent,
		"/cgi-bin/clear_quota?appid=" + componentID:                             "access_token=" + realComponent + "&appid=" + componentID,
		"/cgi-bin/component/x?component_access_token=token-of-another-platform": "component_access_token=token-of-another-platform",
	} {
		s.wantAsked(target, s.call(target, ""), want)
	}
	before := len(official.asked)
	for _, target := range []string{"/cgi-bin/user/get?appid=" + stranger, "/cgi-bin/menu/create?appid=" + stranger} {
		s.wantRefused(target, s.call(target, ""), http.StatusForbidden, wechat.Unauthorized)
	}
	s.wantRefused("forged", s.call("/wxa/x?component_access_token=cwx1_x", ""), 200, 42001)
	s.wantRefused("a shop's token at a platform's API", s.call("/cgi-bin/component/x?access_token="+token, ""), 400, wechat.InvalidParameter)
	s.wantRefused("nobody's token request", s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+stranger, ""), 200, wechat.InvalidAppID)
	if len(official.asked) != before {
		t.Error("a request went to the official account's API")
	}
	s.tokenFrom(s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+merchant, ""), "access_token")

	// An official account with the AppID of a merchant comes first, unless the
	// platform is named.
	both := officialAccounts(t, official)
	both[0].Credentials.ID = merchant
	s = servePlatform(t, setup{accounts: both})
	if s.call("/cgi-bin/user/get?appid="+merchant, ""); s.wechat.last().path != "" {
		t.Error("the merchant came first")
	}
	ask := "/cgi-bin/token?grant_type=client_credential&appid=" + merchant + "&secret="
	s.call("/cgi-bin/user/get?access_token="+s.call(ask+"x", "").member("access_token"), "")
	if s.wechat.last().path != "" {
		t.Error("the merchant's token came first")
	}
	s.wantAsked("by the platform's name", s.call("/cgi-bin/user/get?access_token="+s.call(ask+"isv", "").member("access_token"), ""), "access_token="+realMerchant)

	s.gateway.Account = "shop"
	s.wantRefused("the account's directive", s.call("/cgi-bin/component/api_get_authorizer_list", "{}"), 400, wechat.InvalidParameter, "platform isv")
	s.wantRefused("the account's directive", s.call("/cgi-bin/user/get?component_access_token="+component, ""), 200, 42001)
}

// A directive may name the platform, or one of its accounts.
func TestPlatformDirective(t *testing.T) {
	official := new(officialServer)
	s := servePlatform(t, setup{accounts: officialAccounts(t, official), directive: "isv"})
	component := s.componentToken("x")
	authorizer := s.tokenOf(merchant, component)
	s.wechat.forget()
	s.wantAsked("a platform's path", s.call("/wxa/gettemplatelist", ""), "access_token="+realComponent)
	s.wantAsked("a merchant", s.call("/cgi-bin/user/get?appid="+merchant, ""), "access_token="+realMerchant+"&appid="+merchant)
	s.wantAsked("a merchant's token", s.call("/cgi-bin/user/get?access_token="+authorizer, ""), "access_token="+realMerchant)
	s.wantAsked("either", s.call("/cgi-bin/clear_quota", ""), "access_token="+realComponent)
	s.wantRefused("nobody", s.call("/cgi-bin/user/get", ""), 400, wechat.InvalidParameter, "appid")
	s.wantRefused("the shop", s.call("/cgi-bin/user/get?appid=wxshop", ""), 403, wechat.Unauthorized)
	s.wantRefused("the shop's token", s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid=wxshop", ""), 200, wechat.InvalidAppID)

	s.gateway.Account = "isv:" + merchant
	s.wantAsked("the merchant", s.call("/cgi-bin/user/get", ""), "access_token="+realMerchant)
	s.wantAsked("the merchant's token", s.call("/cgi-bin/user/get?component_access_token="+authorizer, ""), "component_access_token="+realMerchant)
	s.wantRefused("the platform", s.call("/wxa/gettemplatelist", ""), 400, wechat.InvalidParameter)
	s.wantRefused("the platform's token", s.call("/wxa/x?access_token="+component, ""), 200, 42001)
	s.tokenFrom(s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+merchant, ""), "access_token")
	s.wantRefused("another's token", s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+otherMerchant, ""), 200, wechat.InvalidAppID)
	s.wantRefused("the platform's token", s.call("/cgi-bin/component/api_component_token", `{"component_appid":"`+componentID+`","component_appsecret":"x"}`), 403, wechat.APIUnauthorized)

	s.gateway.Account = "isv:../x"
	s.wantRefused("no name", s.call("/cgi-bin/user/get", ""), 400, wechat.InvalidParameter)
}

// Several platforms are told apart by what the request says.
func TestSeveralPlatforms(t *testing.T) {
	s := servePlatform(t, setup{platforms: []string{"second"}})
	const second = componentID + "x"
	s.wantRefused("neither", s.call("/wxa/gettemplatelist", ""), 400, wechat.InvalidParameter, "component_appid")
	for target, body := range map[string]string{
		"/wxa/gettemplatelist?component_appid=" + second:                     "",
		"/cgi-bin/clear_quota?appid=" + second:                               "",
		"/sns/component/jscode2session?component_appid=" + second:            "",
		"/cgi-bin/component/api_create_preauthcode":                          `{"component_appid":"` + second + `"}`,
		"/cgi-bin/component/api_start_push_ticket":                           `{"component_appid":"` + second + `"}`,
		"/cgi-bin/user/get?component_appid=" + second + "&appid=" + merchant: "",
	} {
		got := s.call(target, body)
		if asked := s.wechat.last(); got.status != http.StatusOK || asked.path == "" {
			t.Errorf("%s: %d %s", target, got.status, got.text)
		}
	}
	s.wechat.forget()
	for _, name := range []string{"isv", "second"} {
		got := s.call("/cgi-bin/token?grant_type=client_credential&secret="+name+"&appid="+merchant, "")
		if got := s.call("/cgi-bin/user/get?access_token="+s.tokenFrom(got, "access_token"), ""); got.status != http.StatusOK {
			t.Errorf("%s: %s", name, got.text)
		}
	}
	s.wechat.forget()
	s.wantRefused("the wrong name", s.call("/cgi-bin/component/api_component_token", `{"component_appid":"`+second+`","component_appsecret":"isv:x"}`), 200, wechat.InvalidAppSecret)
}

// What stands in the way of finding an account is told.
func TestMerchantNotFound(t *testing.T) {
	s := servePlatform(t, setup{})
	for range 2 {
		s.wantRefused("a stranger", s.call("/cgi-bin/user/get?appid="+stranger, ""), 403, wechat.Unauthorized, "platform isv")
	}
	s.wantRefused("no AppID", s.call("/cgi-bin/user/get?appid=%2e%2e/x", ""), 403, wechat.Unauthorized)
	component := s.componentToken("x")
	token := s.tokenOf(merchant, component)
	if err := s.platform.Unauthorized(t.Context(), merchant, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.wechat.forget()
	s.wantRefused("who has withdrawn", s.call("/cgi-bin/user/get?access_token="+token, ""), 403, wechat.Unauthorized)
	s.wantRefused("who has withdrawn", s.call("/cgi-bin/user/get?appid="+merchant, ""), 403, wechat.Unauthorized)

	s = servePlatform(t, setup{})
	s.wechat.answerWith("/cgi-bin/component/api_component_token", `{"errcode":61004,"errmsg":"access clientip is not registered requestIP: 192.0.2.1"}`)
	got := s.call("/cgi-bin/user/get?appid="+merchant, "")
	s.wantRefused("no token of the platform", got, http.StatusBadGateway, 61004, "192.0.2.1")

	s = servePlatform(t, setup{})
	s.wechat.answerWith("/cgi-bin/component/api_get_authorizer_info", `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`)
	got = s.call("/cgi-bin/user/get?appid="+merchant, "")
	if got.status < 500 || !strings.Contains(got.text, "45009") {
		t.Errorf("got %d %s", got.status, got.text)
	}
}

// Requests of an account that has withdrawn are WeChat's to refuse, and then the
// authorisation is looked at again.
func TestUnauthorizedAtAnAPI(t *testing.T) {
	s := servePlatform(t, setup{})
	s.call("/cgi-bin/user/get?appid="+merchant, "")
	s.wechat.answerWith("/cgi-bin/user/get", `{"errcode":61003,"errmsg":"component is not authorized by this account"}`)
	<-s.wechat.fetched
	if got := s.call("/cgi-bin/user/get?appid="+merchant, ""); got.errcode() != 61003 || got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.text)
	}
	select {
	case <-s.wechat.fetched:
	case <-time.After(10 * time.Second):
		t.Error("the authorisation was not looked at again")
	}
}

// WeCom applications beside a platform are told by what tells them from official
// accounts.
func TestPlatformBesideWeCom(t *testing.T) {
	var mu sync.Mutex
	var queries []string
	corp := startServer(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if req.URL.Path != "/cgi-bin/gettoken" {
			queries = append(queries, req.URL.RawQuery)
		}
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok","access_token":"agent-1","expires_in":7200}`)
	}))
	hr := &account.Account{
		Name: "hr", Kind: wechat.WeCom, Endpoint: wechat.WeCom.TokenEndpoint(""), Upstream: corp, Credentials: wechat.Credentials{ID: "wwcorp", Secret: "secret-of-hr"},
	}
	for _, accounts := range [][]*account.Account{{hr}, append(officialAccounts(t, new(officialServer)), hr)} {
		s := servePlatform(t, setup{accounts: accounts})
		for target, want := range map[string]string{
			"http://qyapi.weixin.qq.com/cgi-bin/user/get?appid=" + merchant: "appid=" + merchant + "&access_token=agent-1",
			"/cgi-bin/get_jsapi_ticket?appid=" + stranger:                   "appid=" + stranger + "&access_token=agent-1",
			"/cgi-bin/user/get?corpid=wwcorp":                               "corpid=wwcorp&access_token=agent-1",
			"/cgi-bin/webhook/send?key=x":                                   "key=x",
		} {
			r := s.call(target, "")
			mu.Lock()
			if r.status != http.StatusOK || len(queries) != 1 || queries[0] != want {
				t.Errorf("%s: %d %s, asked %v; want %s", target, r.status, r.text, queries, want)
			}
			queries = nil
			mu.Unlock()
		}
		s.wantAsked("a merchant", s.call("/cgi-bin/user/get?appid="+merchant, ""), "access_token="+realMerchant+"&appid="+merchant)
		s.wantAsked("the platform", s.call("/wxa/gettemplatelist", ""), "access_token="+realComponent)
		if len(accounts) == 1 {
			s.wantRefused("a mini program", s.call("/wxa/commit", ""), 400, wechat.InvalidParameter, "appid")
			s.wantRefused("anybody", s.call("/cgi-bin/user/get", ""), 400, wechat.InvalidParameter, "several accounts")
			s.tokenFrom(s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+merchant, ""), "access_token")
		}
	}
}

// Where too many appids of which nothing is known are asked for, that is told, and
// those that are known go on.
func TestTooManyStrangers(t *testing.T) {
	s := servePlatform(t, setup{callers: map[string][]string{"app": {"isv"}, "one": {"isv:" + merchant}}})
	app, one := []string{"Authorization", "Bearer key-of-app"}, []string{"Authorization", "Bearer key-of-one"}
	s.wantAsked("a merchant", s.call("/cgi-bin/user/get?appid="+merchant, "", app...), "access_token="+realMerchant+"&appid="+merchant)
	// Who may not use them has nobody asked.
	for i := range 100 {
		s.wantRefused("a stranger", s.call(fmt.Sprintf("/cgi-bin/user/get?appid=wxs%d", i), "", one...), 403, wechat.APIUnauthorized)
		s.wantRefused("a stranger", s.call(fmt.Sprintf("/cgi-bin/user/get?appid=wxs%d", i), ""), 403, wechat.APIUnauthorized)
	}
	for i := range 60 { // the merchant is none of them
		s.wantRefused("a stranger", s.call(fmt.Sprintf("/cgi-bin/user/get?appid=wxt%d", i), "", app...), 403, wechat.Unauthorized)
	}
	got := s.call("/cgi-bin/user/get?appid=wxt60", "", app...)
	if s.wantRefused("one more", got, http.StatusServiceUnavailable, wechat.SystemBusy); got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.wantAsked("a merchant", s.call("/cgi-bin/user/get?appid="+merchant, "", app...), "access_token="+realMerchant+"&appid="+merchant)
}
