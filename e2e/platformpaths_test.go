package e2e

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// platformPaths are the paths of the open platform, by whose token they take:
// the component's, in either parameter or in component_access_token alone, an
// authorizer's, or that of whoever owns what is asked about.
var platformPaths = map[string][]string{
	"component": {
		preAuthCodePath, "/cgi-bin/component/fastregisterweapp", "/wxa/component/fastregisterweapp", "/componenttcb/describeenvs", "/tcb/modifyenv",
		"/tcb/usecloudaccesstoken", "/wxa/gettemplatedraftlist", "/wxa/gettemplatelist", "/wxa/addtotemplate", "/wxa/deletetemplate",
		"/wxa/security/applysetorderpathinfo", "/wxa/servicemarket/service/x", "/wedata/query",
	},
	"component alone": {componentSessionPath, "/sns/oauth2/component/access_token", "/sns/oauth2/component/refresh_token"},
	"authorizer": {
		"/cgi-bin/component/get_authorizer_option", "/cgi-bin/component/set_authorizer_option", "/cgi-bin/component/api_get_authorizer_option",
		"/cgi-bin/component/api_set_authorizer_option", "/cgi-bin/open/create", "/cgi-bin/open/get", "/cgi-bin/user/get", "/wxa/commit", "/datacube/getusersummary",
	},
	"either": {
		"/cgi-bin/open/have", "/cgi-bin/getcallbackip", "/cgi-bin/openapi/quota/get", "/cgi-bin/openapi/rid/get", "/cgi-bin/clear_quota",
	},
}

// Whatever names the token, WeChat gets the one that is meant where it is meant.
// Whether an official account is served beside it makes no difference, but where
// nothing is named.
func TestPlatformPaths(t *testing.T) {
	for name, beside := range map[string]string{"alone": "", "beside an official account": defaultAccount} {
		t.Run(name, func(t *testing.T) {
			o := startOpenPlatform(t, merchantID)
			isOurs := make(map[string]bool)
			for _, paths := range platformPaths {
				for _, path := range paths {
					isOurs[path] = true
				}
			}
			o.answer(func(rw http.ResponseWriter, req *http.Request) {
				if isOurs[req.URL.Path] {
					_, _ = io.WriteString(rw, `{"errcode":0,"errmsg":"ok"}`)
					return
				}
				o.noteTokens(rw, req)
			})
			c := platformConfig()
			c.global += beside
			p := o.start(c)
			o.mustPush()
			app := newPlatformClient(p, "x")
			merchant, _ := app.renew(merchantID, "x")
			tokens := o.realTokens(p)
			for takes, paths := range platformPaths {
				for _, path := range paths {
					checkPlatformPath(t, o, p, path, takes, map[string]string{app.token: tokens[0], merchant.AccessToken: tokens[1]}, tokens, beside != "")
				}
			}
		})
	}
}

// realTokens returns the component's token and the merchant's.
func (o *openPlatform) realTokens(p *caddy) [2]string {
	o.t.Helper()
	wantOK(o.t, get(o.t, p.url+"/wxa/gettemplatelist"))
	wantOK(o.t, get(o.t, p.url+"/wxa/commit?appid="+merchantID))
	return [2]string{
		o.last("/wxa/gettemplatelist").URL.Query().Get("access_token"), o.last("/wxa/commit").URL.Query().Get("access_token"),
	}
}

func checkPlatformPath(t *testing.T, o *openPlatform, p *caddy, path, takes string, virtual map[string]string, tokens [2]string, beside bool) {
	t.Helper()
	want := func(query, params string) {
		t.Helper()
		before := o.count(path)
		a := post(t, p.url+path+"?"+query, "{}")
		if a.errcode() != 0 || a.status != http.StatusOK || o.count(path) != before+1 {
			t.Errorf("%s?%s: %s", path, query, a)
			return
		}
		wanted, _ := url.ParseQuery(params)
		if got := o.last(path).URL.Query(); got.Encode() != wanted.Encode() {
			t.Errorf("%s: the parameters are not those that are wanted (component's first: %t, merchant's: %t)", path,
				strings.Contains(got.Encode(), tokens[0]), strings.Contains(got.Encode(), tokens[1]))
		}
	}
	for token, is := range virtual {
		more := ""
		if takes == "component alone" {
			more = "&component_access_token=" + is
		}
		want("access_token="+token, "access_token="+is+more)
		want("a=b&component_access_token="+token, "a=b&component_access_token="+is)
	}
	want("component_access_token=foreign&a=b", "component_access_token=foreign&a=b")
	switch takes {
	case "component alone":
		want("appid="+merchantID, "appid="+merchantID+"&component_access_token="+tokens[0])
		want("", "component_access_token="+tokens[0])
		return
	default:
		want("appid="+merchantID, "appid="+merchantID+"&access_token="+tokens[1])
	}
	switch {
	case takes == "component", takes == "either" && !beside:
		want("", "access_token="+tokens[0])
	case takes == "either", beside && !strings.HasPrefix(path, "/cgi-bin/component/"):
		want("", "access_token="+o.currentToken())
	default:
		if a := get(t, p.url+path); a.status != http.StatusBadRequest {
			t.Errorf("%s, of nobody: %s", path, a)
		}
	}
}

// No spelling of a path, no method and no parameter shows a refresh token.
func TestRefreshTokensAreNotShown(t *testing.T) {
	o := startOpenPlatform(t, merchantID)
	leak := func(rw http.ResponseWriter, path string) bool {
		if !strings.Contains(strings.ToLower(path), "_authorizer_") && !strings.Contains(strings.ToLower(path), "query_auth") {
			return false
		}
		_, _ = io.WriteString(rw, `{"list":[{"authorizer_appid":"`+merchantID+`","refresh_token":"refreshtoken@@@real","authorizer_access_token":"real-access-token"}]}`)
		return true
	}
	o.answer(func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.Header.Get("User-Agent"), "caddy-weixin") || !leak(rw, req.URL.Path) {
			o.noteTokens(rw, req)
		}
	})
	o.note("refreshtoken@@@real", "real-access-token")
	c := platformConfig()
	c.global += defaultAccount
	c.site += "@named path /named/*\nhandle @named {\nuri strip_prefix /named\nweixin shop\n}\n"
	p := o.start(c)
	o.mustPush()
	for _, path := range []string{
		authorizerListPath, authorizerInfoPath, queryAuthPath, authorizerListPath + "/", strings.ToUpper(authorizerListPath), authorizerListPath + "%20",
		"/cgi-bin/component/get_authorizer_list", "/cgi-bin/component/%61pi_get_authorizer_list", "/cgi-bin/./component/api_get_authorizer_list",
		"/cgi-bin//component/api_get_authorizer_list", "/cgi-bin%2fcomponent/api_get_authorizer_list", "/named" + authorizerListPath,
	} {
		for _, query := range []string{"", "?appid=" + merchantID, "?appid=" + appID, "?component_access_token=x", "?access_token=x", "?cloudbase_access_token=x", "?suite_access_token=x"} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodOptions} {
				req := newRequest(t, method, p.url+path+query, strings.NewReader("{}"))
				req.Header.Set("Accept-Encoding", "gzip")
				req.Header.Set("Range", "bytes=0-100")
				a := do(t, req)
				o.wantNothingReal(a)
				if method == http.MethodPost && a.status == http.StatusOK && !strings.Contains(a.body, "refreshtoken@@@") {
					t.Errorf("%s %s%s: %s", method, path, query, a)
				}
			}
		}
	}
}
