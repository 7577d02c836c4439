package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	realComponent = "real-component-token-1"
	realMerchant  = "real-token-of-" + merchant + "-1"
)

// platformPaths are the paths of the open platform with what they take.
var platformPaths = map[string]string{
	"/cgi-bin/component/api_create_preauthcode":    "component",
	"/cgi-bin/component/api_get_authorizer_list":   "component",
	"/cgi-bin/component/fastregisterweapp":         "component",
	"/cgi-bin/component/get_authorizer_option":     "authorizer",
	"/cgi-bin/component/set_authorizer_option":     "authorizer",
	"/cgi-bin/component/api_get_authorizer_option": "authorizer",
	"/cgi-bin/component/api_set_authorizer_option": "authorizer",
	"/sns/component/jscode2session":                "component only",
	"/sns/oauth2/component/access_token":           "component only",
	"/sns/oauth2/component/refresh_token":          "component only",
	"/wxa/component/fastregisterweapp":             "component",
	"/componenttcb/describeenvs":                   "component",
	"/tcb/modifyenv":                               "component",
	"/tcb/usecloudaccesstoken":                     "component",
	"/tcb/invokecloudfunction":                     "either",
	"/wxa/gettemplatedraftlist":                    "component",
	"/wxa/gettemplatelist":                         "component",
	"/wxa/addtotemplate":                           "component",
	"/wxa/deletetemplate":                          "component",
	"/wxa/security/applysetorderpathinfo":          "component",
	"/wxa/servicemarket/service/x":                 "component",
	"/wedata/query":                                "component",
	"/cgi-bin/open/have":                           "either",
	"/cgi-bin/get_api_domain_ip":                   "either",
	"/cgi-bin/getcallbackip":                       "either",
	"/cgi-bin/openapi/quota/get":                   "either",
	"/cgi-bin/openapi/rid/get":                     "either",
	"/cgi-bin/clear_quota":                         "either",
	"/cgi-bin/open/create":                         "authorizer",
	"/cgi-bin/user/get":                            "authorizer",
	"/wxa/commit":                                  "authorizer",
}

// Every path takes the token that is meant, in the parameter in which it is.
func TestPlatformPaths(t *testing.T) {
	s := servePlatform(t, setup{})
	component := s.componentToken("anything")
	authorizer := s.tokenOf(merchant, component)
	s.wechat.forget()
	for path, takes := range platformPaths {
		only := takes == "component only"
		for token, is := range map[string]string{component: realComponent, authorizer: realMerchant} {
			want := "access_token=" + is + "&x=1"
			if only {
				want = "access_token=" + is + "&component_access_token=" + is + "&x=1"
			}
			s.wantAsked(path, s.call(path+"?x=1&access_token="+token, "{}"), want)
			s.wantAsked(path, s.call(path+"?component_access_token="+token+"&x=1", "{}"), "component_access_token="+is+"&x=1")
			s.wantAsked(path, s.call(path+"?component_access_token="+token+"&access_token="+token, "{}"), "access_token="+is+"&component_access_token="+is)
		}
		byAppID := "access_token=" + realMerchant + "&appid=" + merchant
		if only {
			byAppID = "appid=" + merchant + "&component_access_token=" + realComponent
		}
		s.wantAsked(path, s.call(path+"?appid="+merchant, "{}"), byAppID)
		switch plain := s.call(path+"?x=1", "{}"); takes {
		case "authorizer":
			s.wantRefused(path, plain, http.StatusBadRequest, wechat.InvalidParameter, "appid")
		case "component only":
			s.wantAsked(path, plain, "component_access_token="+realComponent+"&x=1")
		default:
			s.wantAsked(path, plain, "access_token="+realComponent+"&x=1")
		}
		s.wantAsked(path, s.call(path+"?component_access_token=token-of-another-platform&appid="+merchant, "{}"),
			"appid="+merchant+"&component_access_token=token-of-another-platform")
	}
}

// Other spellings of a path take the same.
func TestPlatformSpellings(t *testing.T) {
	s := servePlatform(t, setup{})
	for path, want := range map[string]string{
		"/SNS/Component/JSCode2Session/": "component_access_token=" + realComponent,
		"/cgi-bin/Component/API_x":       "access_token=" + realComponent,
		"/wxa/gettemplatelist/":          "access_token=" + realComponent,
		"/wxa/%67ettemplatelist":         "access_token=" + realComponent,
	} {
		s.wantAsked(path, s.call(path, ""), want)
	}
	// An access_token of which nothing is known counts as none.
	s.wantAsked("an old token", s.call("/wxa/gettemplatelist?access_token=old", ""), "access_token="+realComponent)
	s.wantAsked("an old token", s.call("/cgi-bin/user/get?access_token=old&appid="+merchant, ""), "access_token="+realMerchant+"&appid="+merchant)
	s.wantAsked("an empty one", s.call("/wxa/gettemplatelist?component_access_token=&x=1", ""), "component_access_token="+realComponent+"&x=1")
	s.wantAsked("empty ones", s.call("/wxa/gettemplatelist?component_access_token=&access_token=", ""), "access_token="+realComponent+"&component_access_token=")
	// The body tells whose option it is.
	s.wantAsked("an option", s.call("/cgi-bin/component/api_get_authorizer_option", `{"authorizer_appid":"`+merchant+`","option_name":"x"}`), "access_token="+realMerchant)
	if got := s.call("/cgi-bin/component/api_set_authorizer_option", `{"authorizer_appid":"`+merchant+`"}`); got.status != http.StatusOK || s.wechat.last().body != `{"authorizer_appid":"`+merchant+`"}` {
		t.Errorf("%s; the body became %q", got.text, s.wechat.last().body)
	}
}

// Tokens of two subjects, and a platform's own beside another's, are refused.
func TestPlatformTokenConflicts(t *testing.T) {
	s := servePlatform(t, setup{})
	component := s.componentToken("x")
	first, second := s.tokenOf(merchant, component), s.tokenOf(otherMerchant, component)
	s.wechat.forget()
	const path = "/wxa/commit?"
	s.wantRefused("two merchants", s.call(path+"access_token="+first+"&component_access_token="+second, ""), 200, 42001)
	s.wantRefused("two merchants in one", s.call(path+"access_token="+first+"&access_token="+second, ""), 200, 42001)
	s.wantRefused("merchant and platform", s.call(path+"access_token="+first+"&component_access_token="+component, ""), 200, 42001)
	s.wantRefused("forged", s.call(path+"component_access_token="+component[:len(component)-4]+"AAAA", ""), 200, 42001)
	s.wantRefused("of the form alone", s.call(path+"component_access_token=cwx1_x", ""), 200, 42001)
	s.wantRefused("beside another's", s.call(path+"access_token="+first+"&component_access_token=token-of-another-platform", ""), 400, wechat.InvalidParameter)
	s.wantRefused("at a user's API", s.call("/sns/userinfo?access_token="+first, ""), 400, wechat.InvalidParameter)
	// The merchant of another platform's key.
	other := servePlatform(t, setup{platforms: []string{"second"}})
	if token := other.componentToken("x"); token != "" {
		s.wantAsked("of the same key", s.call("/wxa/gettemplatelist?access_token="+token, ""), "access_token="+realComponent)
	}
}

// Tokens are asked for in each way in which SDKs do.
func TestPlatformTokenRequests(t *testing.T) {
	s := servePlatform(t, setup{})
	component := s.componentToken("anything")
	got := s.call("/cgi-bin/component/api_authorizer_token?component_access_token="+component,
		`{"component_appid":"`+componentID+`","authorizer_appid":"`+merchant+`","authorizer_refresh_token":"x"}`)
	if want := s.platform.VirtualRefreshToken(merchant); got.member("authorizer_refresh_token") != want || !strings.HasPrefix(got.text, `{"authorizer_access_token":"cwx1_`) {
		t.Errorf("got %s, want %s in it", got.text, want)
	}
	if got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("header %v", got.header)
	}
	for about, r := range map[string]reply{
		"token":        s.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+merchant, ""),
		"stable_token": s.call("/cgi-bin/stable_token", `{"grant_type":"client_credential","secret":"isv","appid":"`+merchant+`"}`),
	} {
		token := s.tokenFrom(r, "access_token")
		s.wantAsked(about, s.call("/cgi-bin/user/get?access_token="+token, ""), "access_token="+realMerchant)
	}
	const componentToken = "/cgi-bin/component/api_component_token"
	s.wechat.forget()
	for about, c := range map[string]struct {
		target, body string
		errcode      int
	}{
		"no appid":                    {componentToken, `{"component_appsecret":"x"}`, wechat.AppIDMissing},
		"no secret":                   {componentToken, `{"component_appid":"` + componentID + `"}`, wechat.AppSecretMissing},
		"another platform":            {componentToken, `{"component_appid":"wxother","component_appsecret":"x"}`, wechat.InvalidAppID},
		"no JSON":                     {componentToken, `{"component_appid":`, wechat.DataFormatError},
		"GET":                         {componentToken, "", wechat.RequirePOST},
		"no authorizer":               {"/cgi-bin/component/api_authorizer_token", `{"component_appid":"` + componentID + `"}`, wechat.AppIDMissing},
		"a stranger":                  {"/cgi-bin/component/api_authorizer_token", `{"component_appid":"` + componentID + `","authorizer_appid":"` + stranger + `"}`, wechat.Unauthorized},
		"no AppID at all":             {"/cgi-bin/component/api_authorizer_token", `{"component_appid":"` + componentID + `","authorizer_appid":"../x"}`, wechat.Unauthorized},
		"a stranger by itself":        {"/cgi-bin/token?grant_type=client_credential&secret=x&appid=" + stranger, "", wechat.InvalidAppID},
		"the platform by itself":      {"/cgi-bin/token?grant_type=client_credential&secret=x&appid=" + componentID, "", wechat.ComponentAtWrongToken},
		"a merchant without a secret": {"/cgi-bin/token?grant_type=client_credential&appid=" + merchant, "", wechat.AppSecretMissing},
	} {
		s.wantRefused(about, s.call(c.target, c.body), http.StatusOK, c.errcode)
	}
	withMerchants := s.call("/cgi-bin/component/api_authorizer_token?access_token="+s.tokenOf(merchant, component),
		`{"component_appid":"`+componentID+`","authorizer_appid":"`+otherMerchant+`"}`)
	s.wantRefused("with a merchant's token", withMerchants, http.StatusBadRequest, wechat.InvalidParameter)
}

// A token that died is replaced, once for each kind of token.
func TestPlatformTokensAreCured(t *testing.T) {
	for path, appID := range map[string]string{
		"/sns/component/jscode2session?appid=" + merchant: "", "/wxa/gettemplatelist": "", "/cgi-bin/user/get?appid=" + merchant: merchant,
	} {
		s := servePlatform(t, setup{})
		if got := s.call(path, ""); got.status != http.StatusOK {
			t.Fatalf("%s: %s", path, got.text)
		}
		s.wechat.kill()
		got := s.call(path, "")
		if got.errcode() != 0 || got.header.Get("X-Weixin-Replayed") != "40001" {
			t.Errorf("%s: %s, %v", path, got.text, got.header)
		}
		want := "real-component-token-102"
		if appID != "" {
			want = "real-token-of-" + appID + "-102"
		}
		if q := s.wechat.last().query; q.Get("access_token")+q.Get("component_access_token") != want {
			t.Errorf("%s: replayed with %v", path, q)
		}
	}
}

// The platform's secret goes where it is taken, and nothing else is changed.
func TestPlatformSecrets(t *testing.T) {
	s := servePlatform(t, setup{})
	virtual := s.componentToken("x")
	for about, c := range map[string]struct{ target, body, query, want string }{
		"push": {
			"/cgi-bin/component/api_start_push_ticket", `{"component_appid":"` + componentID + `","component_secret":"x"}`,
			"", `{"component_appid":"` + componentID + `","component_secret":"` + componentSecret + `"}`,
		},
		"push, with nothing": {
			"/cgi-bin/component/api_start_push_ticket", `{}`,
			"", `{"component_appid":"` + componentID + `","component_secret":"` + componentSecret + `"}`,
		},
		"push, as documented elsewhere": {
			"/cgi-bin/component/api_start_push_ticket", `{"component_appsecret":"x","n":1.50}`,
			"", `{"component_appid":"` + componentID + `","component_appsecret":"` + componentSecret + `","component_secret":"` + componentSecret + `","n":1.50}`,
		},
		"quota of a merchant": {
			"/cgi-bin/component/clear_quota/v2?component_access_token=" + virtual, `{"appid":"` + merchant + `","component_appid":"` + componentID + `"}`,
			"component_access_token=", `{"appid":"` + merchant + `","appsecret":"` + componentSecret + `","component_appid":"` + componentID + `"}`,
		},
		"quota of the platform": {
			"/cgi-bin/component/clear_quota/v2", `{"appid":"` + componentID + `","appsecret":"x"}`,
			"", `{"appid":"` + componentID + `","appsecret":"` + componentSecret + `","component_appid":"` + componentID + `"}`,
		},
	} {
		r := s.call(c.target, c.body)
		if got := s.wechat.last(); got.body != c.want {
			t.Errorf("%s: %s", about, got.body)
		}
		s.wantAsked(about, r, c.query)
	}
	s.wantRefused("another platform's", s.call("/cgi-bin/component/api_start_push_ticket", `{"component_appid":"wxother","component_secret":"x"}`), 200, wechat.InvalidAppID)
	s.wantRefused("a form", s.call("/cgi-bin/component/api_start_push_ticket", "component_appid="+componentID), 200, wechat.DataFormatError)
}

// A merchant's own secret is not known: what to call instead is told.
func TestMerchantSecrets(t *testing.T) {
	for _, s := range []*platformServer{servePlatform(t, setup{}), servePlatform(t, setup{accounts: officialAccounts(t, nil)})} {
		for path, instead := range map[string]string{
			"/sns/jscode2session?js_code=x&secret=x":    "/sns/component/jscode2session",
			"/sns/oauth2/access_token?code=x&secret=x":  "/sns/oauth2/component/access_token",
			"/cgi-bin/clear_quota/v2?appsecret=x&a=b":   "/cgi-bin/clear_quota ",
			"/SNS/jscode2session/?js_code=x&secret=isv": "/sns/component/jscode2session",
		} {
			s.wantRefused(path, s.call(path+"&appid="+merchant, ""), http.StatusBadRequest, wechat.InvalidParameter, "call "+instead)
			s.wantRefused(path, s.call(path+"&appid="+stranger, ""), http.StatusOK, wechat.InvalidAppID)
		}
	}
}

// officialAccounts returns an official account, whose API is h.
func officialAccounts(t *testing.T, h http.Handler) []*account.Account {
	t.Helper()
	if h == nil {
		h = http.NotFoundHandler()
	}
	return []*account.Account{{
		Name: "shop", Kind: wechat.Official, Endpoint: wechat.Stable, Upstream: startServer(t, h),
		Credentials: wechat.Credentials{ID: "wxshop", Secret: "a-secret-of-some-length"},
	}}
}
