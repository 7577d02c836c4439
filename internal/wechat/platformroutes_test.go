package wechat

import (
	"net/url"
	"strings"
	"testing"
)

// What the paths of the open platform take, as documents and SDKs have it.
func TestPlatformRoutes(t *testing.T) {
	const nothing = TokenOwner(255)
	for paths, want := range map[string]struct {
		takes Takes
		of    TokenOwner
		param string
	}{
		"/cgi-bin/component/api_component_token /cgi-bin/component/api_authorizer_token /cgi-bin/token /cgi-bin/stable_token": {TakesTokenRequest, nothing, ""},
		"/cgi-bin/component/api_start_push_ticket /cgi-bin/component/clear_quota/v2":                                          {TakesSecret, nothing, ""},
		"/sns/jscode2session /sns/oauth2/access_token /cgi-bin/clear_quota/v2":                                                {TakesSecret, nothing, ""},
		"/sns/userinfo /sns/auth /sns/oauth2/refresh_token":                                                                   {TakesUserToken, nothing, ""},
		"/cgi-bin/component/api_create_preauthcode /cgi-bin/component/api_query_auth /cgi-bin/component/api_get_authorizer_info " +
			"/cgi-bin/component/api_get_authorizer_list /cgi-bin/component/fastregisterweapp /cgi-bin/component/setprivacysetting": {TakesToken, OfComponent, ""},
		"/cgi-bin/component/get_authorizer_option /cgi-bin/component/set_authorizer_option " +
			"/cgi-bin/component/api_get_authorizer_option /cgi-bin/component/api_set_authorizer_option": {TakesToken, OfAuthorizer, ""},
		"/sns/component/jscode2session /sns/oauth2/component/access_token /sns/oauth2/component/refresh_token": {TakesToken, OfComponent, "component_access_token"},
		"/wxa/component/fastregisterpersonalweapp /componenttcb/batchdescribeenvs /componenttcb/x /tcb/modifyenv /tcb/usecloudaccesstoken " +
			"/wxa/gettemplatedraftlist /wxa/gettemplatelist /wxa/addtotemplate /wxa/deletetemplate /wxa/security/applysetorderpathinfo " +
			"/wxa/servicemarket/service/x /wedata/query": {TakesToken, OfComponent, ""},
		"/cgi-bin/open/have /cgi-bin/get_api_domain_ip /cgi-bin/getcallbackip /cgi-bin/openapi/quota/get /cgi-bin/openapi/rid/get " +
			"/cgi-bin/clear_quota /tcb/invokecloudfunction /product/register/x": {TakesToken, OfEither, ""},
		"/cgi-bin/open/create /cgi-bin/open/get /cgi-bin/open/bind /cgi-bin/open/unbind /cgi-bin/open/sameentity " +
			"/cgi-bin/user/get /wxa/commit /wxa/gettemplatelist2 /wxa/security/apply /tcb/databasequery /cgi-bin/componentx/y": {TakesToken, OfAuthorizer, ""},
	} {
		for path := range strings.FieldsSeq(paths) {
			for _, spelled := range []string{path, path + "/", strings.ToUpper(path)} {
				r := Platform.Route(spelled)
				if r.Takes != want.takes || r.Of != want.of && want.of != nothing || r.TokenParam != want.param {
					t.Errorf("%s: %+v", spelled, r)
				}
			}
		}
	}
	for path, e := range map[string]*TokenEndpoint{
		ComponentToken.Path: ComponentToken, AuthorizerToken.Path: AuthorizerToken, Classic.Path: Classic, Stable.Path: Stable,
	} {
		if got := Platform.Route(path).Endpoint; got != e {
			t.Errorf("%s is answered as %v", path, got)
		}
	}
}

// A platform's token is none of others' at a platform's paths, and cloud hosting's is.
func TestPlatformForeignTokens(t *testing.T) {
	for target, want := range map[string]Takes{
		"/wxa/x?component_access_token=x":                            TakesToken,
		"/cgi-bin/component/api_query_auth?component_access_token=x": TakesToken,
		"/tcb/x?cloudbase_access_token=x":                            TakesOwn,
		"/cgi-bin/component/x?suite_access_token=x":                  TakesOwn,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := Platform.RouteOf(u).Takes; got != want {
			t.Errorf("%s takes %d, want %d", target, got, want)
		}
	}
}

// Whatever may be taken for a path whose answers show tokens counts as one.
func TestMayShowTokens(t *testing.T) {
	for path, want := range map[string][2]bool{
		"/cgi-bin/component/api_query_auth":          {true, true},
		"/CGI-BIN/Component/Api_Query_Auth/":         {true, true},
		"/cgi-bin/component/query_auth":              {true, true},
		"/cgi-bin/component/api_query_auth ":         {true, true},
		"/cgi-bin/component/api_get_authorizer_info": {true, false},
		"/cgi-bin/component/api_get_authorizer_list": {true, false},
		"/cgi-bin/component/api_authorizer_token.":   {true, false},
		"/cgi-bin/component":                         {false, false},
		"/cgi-bin/user/get":                          {false, false},
	} {
		if got := [2]bool{MayShowTokens(path), ShowsNewTokens(path)}; got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}
