package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const queryAuth = "/cgi-bin/component/api_query_auth"

var queryAuthBody = `{"component_appid":"` + componentID + `","authorization_code":"x"}`

// An authorisation is saved, and only then shown, with tokens of the proxy's own.
func TestQueryAuth(t *testing.T) {
	s := servePlatform(t, setup{})
	got := s.call(queryAuth, queryAuthBody)
	info, _ := got.body["authorization_info"].(map[string]any)
	token, _ := info["authorizer_access_token"].(string)
	if !account.IsVirtualToken(token) || info["authorizer_refresh_token"] != s.platform.VirtualRefreshToken(otherMerchant) || info["expires_in"] != 7200.0 {
		t.Fatalf("got %s", got.text)
	}
	// It is the token that has come, and it is not fetched again.
	s.wantAsked("with the token", s.call("/cgi-bin/user/get?access_token="+token, ""), "access_token=real-token-of-"+otherMerchant+"-1")

	s.store.setBroken(true)
	got = s.call(queryAuth, queryAuthBody)
	if info, _ = got.body["authorization_info"].(map[string]any); info["authorizer_refresh_token"] != s.platform.VirtualRefreshToken(otherMerchant) {
		t.Errorf("with a broken store: %s", got.text)
	}
	if s.logs.FilterMessageSnippet("could not be saved").Len() != 1 {
		t.Error("that it could not be saved is not logged")
	}
}

// Another platform's authorisations are not ours, and are shown no more than ours.
func TestQueryAuthBesideAnotherToken(t *testing.T) {
	s := servePlatform(t, setup{})
	before := len(s.store.values)
	const target = queryAuth + "?component_access_token=token-of-another-platform"
	s.wantAsked("another platform's", s.call(target, `{"component_appid":"wxother","authorization_code":"x"}`), "component_access_token=token-of-another-platform")
	s.store.mu.Lock()
	if len(s.store.values) != before {
		t.Error("another platform's authorisation was saved")
	}
	s.store.mu.Unlock()
	s.wantAsked("ours", s.call(target, queryAuthBody), "component_access_token=token-of-another-platform")
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if len(s.store.values) == before {
		t.Error("our authorisation was not saved")
	}
}

// What may show tokens is shown without, or not at all, however it is asked for and
// whatever it looks like.
func TestShownTokens(t *testing.T) {
	s := servePlatform(t, setup{})
	const list = "/cgi-bin/component/api_get_authorizer_list"
	virtual := s.platform.VirtualRefreshToken(merchant)
	secret := refreshTokenOf(merchant)
	for about, c := range map[string]struct{ answer, want string }{
		"a list":          {`{"total_count":1,"list":[{"authorizer_appid":"` + merchant + `","refresh_token":"` + secret + `","auth_time":1.0}]}`, `{"total_count":1,"list":[{"authorizer_appid":"` + merchant + `","refresh_token":"` + virtual + `","auth_time":1.0}]}`},
		"an error":        {`{"errcode":40170,"errmsg":"too many"}`, `{"errcode":40170,"errmsg":"too many"}`},
		"a mark":          {"\ufeff{\"authorizer_appid\":\"" + merchant + "\",\"Refresh_Token\":\"" + secret + "\"}", "\ufeff{\"authorizer_appid\":\"" + merchant + "\",\"Refresh_Token\":\"" + virtual + "\"}"},
		"an escape":       {`{"authorizer_appid":"` + merchant + `","refresh\u005ftoken":"` + secret + `"}`, `{"authorizer_appid":"` + merchant + `","refresh\u005ftoken":"` + virtual + `"}`},
		"truncated":       {`{"authorizer_appid":"` + merchant + `","refresh_token":"` + secret, ""},
		"no JSON":         {"<html>" + secret, ""},
		"of another type": {`{"authorizer_appid":"` + merchant + `","refresh_token":["` + secret + `"]}`, ""},
		"too long":        {`{"x":"` + strings.Repeat("x", 9<<20) + `","authorizer_appid":"` + merchant + `","refresh_token":"` + secret + `"}`, ""},
	} {
		s.wechat.answerWith(list, c.answer)
		got := s.call(list, "{}")
		if c.want != "" && got.text != c.want || c.want == "" && got.status != http.StatusBadGateway || strings.Contains(got.text, secret) {
			t.Errorf("%s: %d %.200s", about, got.status, got.text)
		}
	}
	s.wechat.answerWith(list, "")
	text := `{"list":[{"authorizer_appid":"` + merchant + `","refresh_token":"` + secret + `"}]}`
	for _, path := range []string{
		list + "/", strings.ToUpper(list), list + "%20", "/cgi-bin/component/get_authorizer_list", "/cgi-bin/component/%61pi_get_authorizer_list",
		"/cgi-bin/component/api_get_authorizer_info", "/cgi-bin/component/api_whatever",
	} {
		served := strings.NewReplacer("%20", " ", "%61", "a").Replace(path)
		s.wechat.answerWith(served, text)
		for _, query := range []string{
			"", "?component_access_token=token-of-another-platform", "?access_token=token-of-another-platform", "?cloudbase_access_token=x&access_token=token-of-another-platform",
			"?appid=" + merchant, "?suite_access_token=x&component_access_token=token-of-another-platform",
		} {
			for _, body := range []string{"", "{}"} {
				got := s.call(path+query, body)
				if got.status != http.StatusOK || !strings.Contains(got.text, virtual) || strings.Contains(got.text, secret) {
					t.Errorf("%s%s: %d %s", path, query, got.status, got.text)
				}
			}
		}
	}
	s.wechat.encoding = "gzip"
	if got := s.call(list+"/", "{}"); got.status != http.StatusBadGateway {
		t.Errorf("compressed: %d %s", got.status, got.text)
	}
	s.wechat.encoding, s.wechat.answerLength = "", 10_000
	if got := s.call(list+"/", "{}"); got.status != http.StatusBadGateway {
		t.Errorf("broken off: %d %s", got.status, got.text)
	}
}

// Callers may have a platform, one of its accounts, or all of these alone.
func TestPlatformCallers(t *testing.T) {
	s := servePlatform(t, setup{callers: map[string][]string{
		"everything": nil, "platform": {"isv"}, "merchants": {"isv:*"}, "merchant": {"isv:" + merchant}, "elsewhere": {"shop"},
	}})
	componentFor := func(caller string) reply {
		return s.call("/cgi-bin/component/api_component_token", `{"component_appid":"`+componentID+`","component_appsecret":"key-of-`+caller+`"}`)
	}
	tokenFor := func(caller, appID string) reply {
		return s.call("/cgi-bin/token?grant_type=client_credential&appid="+appID+"&secret=key-of-"+caller, "")
	}
	for caller, may := range map[string][3]bool{
		"everything": {true, true, true}, "platform": {true, true, true}, "merchants": {false, true, true}, "merchant": {false, true, false}, "elsewhere": {},
	} {
		for i, r := range []reply{componentFor(caller), tokenFor(caller, merchant), tokenFor(caller, otherMerchant)} {
			issued := account.IsVirtualToken(r.member("access_token") + r.member("component_access_token"))
			if issued != may[i] {
				t.Errorf("%s, %d: %s", caller, i, r.text)
			}
		}
	}
	s.wechat.forget()
	s.wantRefused("merchants", componentFor("merchants"), 403, wechat.APIUnauthorized, "caller merchants may not use account isv: its accounts are isv:*")
	s.wantRefused("merchant", tokenFor("merchant", otherMerchant), 403, wechat.APIUnauthorized, "isv:"+otherMerchant)
	s.wantRefused("merchant, of a stranger", tokenFor("merchant", stranger), 403, wechat.APIUnauthorized)
	s.wantRefused("elsewhere", tokenFor("elsewhere", merchant), 200, wechat.InvalidAppID)
	s.wantRefused("a wrong key", tokenFor("nobody", merchant), 200, wechat.InvalidAppSecret)
	s.wantRefused("a wrong key", componentFor("nobody"), 200, wechat.InvalidAppSecret)

	// Tokens are those of their caller.
	const user = "/cgi-bin/user/get?access_token="
	one := tokenFor("merchant", merchant).member("access_token")
	s.wantAsked("a merchant's", s.call(user+one, ""), "access_token="+realMerchant)
	component := componentFor("platform").member("component_access_token")
	token := s.tokenOf(otherMerchant, component)
	s.wantAsked("through the platform's", s.call(user+token, ""), "access_token=real-token-of-"+otherMerchant+"-1")

	// A key in the header does as well, and nothing does without one.
	bearer := []string{"Authorization", "Bearer key-of-merchant"}
	s.wantAsked("by a key", s.call("/cgi-bin/user/get?appid="+merchant, "", bearer...), "access_token="+realMerchant+"&appid="+merchant)
	s.wantRefused("by a key", s.call("/cgi-bin/user/get?appid="+otherMerchant, "", bearer...), 403, wechat.APIUnauthorized, "isv:"+otherMerchant)
	s.wantRefused("by a key", s.call("/wxa/gettemplatelist", "", bearer...), 403, wechat.APIUnauthorized, "account isv:")
	s.wantAsked("another's token", s.call("/wxa/gettemplatelist?component_access_token=token-of-another-platform", "", bearer...), "component_access_token=token-of-another-platform")
	body := `{"component_appid":"` + componentID + `","authorizer_appid":"` + merchant + `"}`
	got := s.call("/cgi-bin/component/api_authorizer_token", body, bearer...)
	if s.tokenFrom(got, "authorizer_access_token") == "" {
		t.Error("no token")
	}
	s.wantRefused("no key", s.call("/cgi-bin/component/api_authorizer_token", body), 403, wechat.APIUnauthorized)
	for _, path := range []string{queryAuth, "/cgi-bin/component/api_get_authorizer_info", "/cgi-bin/component/api_get_authorizer_list", "/cgi-bin/component/api_authorizer_token"} {
		for _, query := range []string{"?component_access_token=", "?access_token=", "?cloudbase_access_token=x&component_access_token="} {
			s.call(path+query+"token-of-another-platform", body)
			if asked := s.wechat.last(); asked.path != "" {
				t.Errorf("%s%s passed without a key", path, query)
			}
		}
		s.wantRefused("another's key", s.call(path+"?component_access_token=token-of-another-platform", body, "Authorization", "Bearer key-of-elsewhere"), 403, wechat.APIUnauthorized)
	}
	for _, caller := range []string{"merchant", "merchants"} {
		r := s.call("/cgi-bin/component/api_get_authorizer_list?component_access_token=token-of-another-platform", body, "Authorization", "Bearer key-of-"+caller)
		s.wantRefused("a merchant's key", r, 403, wechat.APIUnauthorized, "account isv:")
	}
	s.wantRefused("an old token", s.call(queryAuth+"?component_access_token=token-of-another-platform", body), 200, 42001)
	s.wantRefused("a secret", s.call("/cgi-bin/component/api_start_push_ticket", `{"component_secret":"key-of-merchants"}`), 403, wechat.APIUnauthorized)
	s.wantAsked("a secret", s.call("/cgi-bin/component/api_start_push_ticket", `{"component_secret":"isv:key-of-platform"}`), "")
}

// Real tokens are handed out, refresh tokens are not, and what comes back is
// recognised.
func TestPlatformIssuesRealTokens(t *testing.T) {
	s := servePlatform(t, setup{issue: account.IssueReal})
	got := s.call("/cgi-bin/component/api_component_token", `{"component_appid":"`+componentID+`","component_appsecret":"x"}`)
	if got.member("component_access_token") != realComponent {
		t.Errorf("got %s", got.text)
	}
	got = s.call("/cgi-bin/component/api_authorizer_token?component_access_token="+realComponent, `{"component_appid":"`+componentID+`","authorizer_appid":"`+merchant+`"}`)
	if got.member("authorizer_access_token") != realMerchant || got.member("authorizer_refresh_token") != s.platform.VirtualRefreshToken(merchant) {
		t.Errorf("got %s", got.text)
	}
	s.wantAsked("a merchant's", s.call("/cgi-bin/user/get?access_token="+realMerchant, ""), "access_token="+realMerchant)
	s.wechat.kill()
	s.wantAsked("the platform's", s.call("/cgi-bin/component/x?component_access_token="+realComponent, ""), "component_access_token=real-component-token-102")
	got = s.call(queryAuth, queryAuthBody)
	info, _ := got.body["authorization_info"].(map[string]any)
	if token, _ := info["authorizer_access_token"].(string); !strings.HasPrefix(token, "real-token-of-"+otherMerchant) || strings.Contains(got.text, "refreshtoken@@@real") {
		t.Errorf("got %s", got.text)
	}

	off := servePlatform(t, setup{issue: account.IssueOff})
	off.wantRefused("off", off.call("/cgi-bin/component/api_component_token", `{"component_appid":"`+componentID+`","component_appsecret":"x"}`), 403, wechat.APIUnauthorized)
	off.wantRefused("off", off.call("/cgi-bin/token?grant_type=client_credential&secret=x&appid="+merchant, ""), 403, wechat.APIUnauthorized)
	off.wantAsked("off", off.call("/wxa/gettemplatelist", ""), "access_token="+realComponent)
}
