package wechat

import (
	"net/http"
	"slices"
	"strings"
)

// ComponentTokenParam is the parameter with a third-party platform's token. At
// most paths that takes access_token would do as well.
const ComponentTokenParam = componentToken

// componentPrefix is what the paths of a platform's own calls begin with.
const componentPrefix = "/cgi-bin/component/"

// Token endpoints that the proxy answers in WeChat's place.
var (
	// ComponentToken hands out a platform's component_access_token.
	ComponentToken = &TokenEndpoint{
		Name:          "component",
		Method:        http.MethodPost,
		Path:          "/cgi-bin/component/api_component_token",
		ID:            componentAppID,
		Secret:        "component_appsecret",
		SecretMissing: "component_appsecret missing",
		TokenMember:   ComponentTokenParam,
	}

	// AuthorizerToken hands out the token of an account that has authorised a
	// platform. It takes the platform's token in place of a secret.
	AuthorizerToken = &TokenEndpoint{ //nolint:gosec // names of parameters
		Name:          "authorizer",
		Method:        http.MethodPost,
		Path:          "/cgi-bin/component/api_authorizer_token",
		ID:            componentAppID,
		Authorizer:    authorizerAppID,
		TokenMember:   "authorizer_access_token",
		RefreshMember: "authorizer_refresh_token",
	}
)

// Parameters with an AppID.
const (
	componentAppID  = "component_appid"
	authorizerAppID = "authorizer_appid"
)

// platformRoutes are the paths that take something else than the token of an
// account that has authorised a platform. Documents disagree about some of them.
var platformRoutes = slices.Concat(
	[]Route{
		{Path: ComponentToken.Path, Takes: TakesTokenRequest, Endpoint: ComponentToken},
		{Path: AuthorizerToken.Path, Takes: TakesTokenRequest, Endpoint: AuthorizerToken},
		{Path: Classic.Path, Takes: TakesTokenRequest, Endpoint: Classic},
		{Path: Stable.Path, Takes: TakesTokenRequest, Endpoint: Stable},
		{Path: "/cgi-bin/component/api_start_push_ticket", Takes: TakesSecret, SecretParam: "component_secret", IDParam: componentAppID, JSON: true},
		{Path: "/cgi-bin/component/clear_quota/v2", Takes: TakesSecret, SecretParam: "appsecret", IDParam: componentAppID, JSON: true},
		// They take the secret of the account itself, which a platform has not.
		{Path: "/sns/jscode2session", Takes: TakesSecret, Instead: "/sns/component/jscode2session"},
		{Path: "/sns/oauth2/access_token", Takes: TakesSecret, Instead: "/sns/oauth2/component/access_token"},
		{Path: "/cgi-bin/clear_quota/v2", Takes: TakesSecret, Instead: "/cgi-bin/clear_quota"},
	},
	routes(TakesUserToken, "/sns/userinfo", "/sns/auth", "/sns/oauth2/refresh_token"),
	routes(TakesOwn, robotPaths),
	// Older documents have the platform's token here.
	tokenRoutes(OfAuthorizer, "",
		"/cgi-bin/component/get_authorizer_option", "/cgi-bin/component/set_authorizer_option",
		"/cgi-bin/component/api_get_authorizer_option", "/cgi-bin/component/api_set_authorizer_option"),
	// One of the accounts gets a one-time code checked here, and appid is that
	// account's.
	tokenRoutes(OfComponent, ComponentTokenParam, "/sns/component/*", "/sns/oauth2/component/*"),
	tokenRoutes(OfComponent, "",
		componentPrefix+"*", "/wxa/component/*", "/componenttcb/*", "/wxa/servicemarket/*", "/wedata/*",
		"/tcb/modifyenv", "/tcb/usecloudaccesstoken",
		"/wxa/gettemplatedraftlist", "/wxa/gettemplatelist", "/wxa/addtotemplate", "/wxa/deletetemplate",
		"/wxa/security/applysetorderpathinfo"),
	// The token is that of whoever owns what is asked about.
	tokenRoutes(OfEither, "",
		"/cgi-bin/open/have", "/cgi-bin/get_api_domain_ip", "/cgi-bin/getcallbackip",
		"/cgi-bin/openapi/quota/get", "/cgi-bin/openapi/rid/get", "/cgi-bin/clear_quota",
		"/tcb/invokecloudfunction", "/product/register/*"),
)

// tokenRoutes returns routes of paths that take a token of the same owner's.
func tokenRoutes(of TokenOwner, param string, paths ...string) []Route {
	list := routes(TakesToken, paths...)
	for i := range list {
		list[i].Of, list[i].TokenParam = of, param
	}
	return list
}

// MayShowTokens reports whether the answers of a path may show the tokens of
// accounts that have authorised a platform. Some paths do; of the others below
// theirs it is not known in which spellings WeChat takes those.
func MayShowTokens(path string) bool {
	return len(path) >= len(componentPrefix) && strings.HasPrefix(strings.ToLower(path), componentPrefix)
}

// ShowsNewTokens reports whether the answer of a path has tokens that were made for
// it, which nobody else has.
func ShowsNewTokens(path string) bool {
	name, _ := strings.CutPrefix(strings.ToLower(path), componentPrefix)
	return strings.HasPrefix(strings.TrimPrefix(name, "api_"), "query_auth")
}
