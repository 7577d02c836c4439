package wechat

import (
	"strings"
	"testing"
)

func TestOfficial(t *testing.T) {
	if Official.TokenParam != "access_token" {
		t.Errorf("the token goes into %q", Official.TokenParam)
	}
	for path, want := range map[string]bool{
		"/cgi-bin/user/get":                      true,
		"/cgi-bin/ticket/getticket":              true,
		"/wxa/getwxacodeunlimit":                 true,
		"/cgi-bin/token":                         false,
		"/cgi-bin/stable_token":                  false,
		"/cgi-bin/clear_quota/v2":                false,
		"/sns/jscode2session":                    false,
		"/sns/userinfo":                          false,
		"/cgi-bin/component/api_query_auth":      false,
		"/sns/oauth2/component/refresh_token":    false,
		"/cgi-bin/message/custom/send":           true,
		"/cgi-bin/media/upload":                  true,
		"/cgi-bin/component_like/but_not_really": true,
	} {
		if got := Official.Route(path).Takes == TakesToken; got != want {
			t.Errorf("Takes(%q) = %t, want %t", path, got, want)
		}
	}
	for errcode, want := range map[int]bool{40001: true, 40014: true, 42001: true, 0: false, -1: false, 40013: false, 41001: false, 42007: false} {
		if got := Official.IsTokenError(errcode); got != want {
			t.Errorf("IsTokenError(%d) = %t, want %t", errcode, got, want)
		}
	}
}

// Every kind that can be configured is whole.
func TestKinds(t *testing.T) {
	for _, k := range Kinds {
		if KindNamed(k.Name) != k || k.exact == nil {
			t.Errorf("%s is not found, or not indexed", k.Name)
		}
		if k.Host == "" || k.ID == "" || k.TokenParam == "" || k.CheckPath == "" || len(k.SecretParams) == 0 || k.TokenExpired.Code == OK || k.TokenForged.Code == OK {
			t.Errorf("%s: a fact is missing: %+v", k.Name, k)
		}
		if k.Route(k.CheckPath).Takes != TakesToken {
			t.Errorf("%s: the check takes no token", k.Name)
		}
		for _, e := range k.TokenEndpoints {
			if r := k.Route(e.Path); r.Takes != TakesTokenRequest || r.Endpoint != e {
				t.Errorf("%s: %s is not at its path", k.Name, e.Name)
			}
			if e.Method == "" || e.ID != k.ID || e.Secret == "" || e.SecretMissing == "" || e.Policy.Lead == 0 {
				t.Errorf("%s: a fact is missing: %+v", k.Name, e)
			}
		}
		for errcode := range k.Failures {
			if k.AdviceFor(errcode, "", English) == "" || k.AdviceFor(errcode, "", Chinese) == "" {
				t.Errorf("%s: no advice for %d", k.Name, errcode)
			}
		}
		if k.RejectedAdvice[English] == "" || k.RejectedAdvice[Chinese] == "" {
			t.Errorf("%s: no advice for tokens that are rejected", k.Name)
		}
	}
	if KindNamed("") != Official || KindNamed("wecon") != nil {
		t.Error("a kind is found by a name that is not its own, or the default is another")
	}
}

// Where WeCom differs from official accounts.
func TestWeCom(t *testing.T) {
	for path, want := range map[string]Takes{
		"/cgi-bin/gettoken":          TakesTokenRequest,
		"/cgi-bin/message/send":      TakesToken,
		"/cgi-bin/webhook/send":      TakesOwn,
		"/cgi-bin/Webhook/Send/":     TakesOwn,
		"/cgi-bin/service/get_login": TakesOwn,
		"/cgi-bin/token":             TakesToken, // there is no such API
	} {
		if got := WeCom.Route(path).Takes; got != want {
			t.Errorf("%s takes %d, want %d", path, got, want)
		}
	}
	for errcode, want := range map[int]bool{40014: true, 42001: true, 40001: false, 0: false} {
		if got := WeCom.IsTokenError(errcode); got != want {
			t.Errorf("IsTokenError(%d) = %t", errcode, got)
		}
	}
	if got := WeCom.AdviceFor(UntrustedIP, "not allow to access from your ip, hint: [1], from ip: 1.2.3.4, more info at https://x", English); !strings.Contains(got, "Add 1.2.3.4 to") {
		t.Errorf("advice %q", got)
	}
	if !WeCom.HasAlone("/cgi-bin/gettoken/") || WeCom.HasAlone("/cgi-bin/gettokens") || !Official.HasAlone("/WXA/x") || Official.HasAlone("/cgi-bin/media/get") {
		t.Error("the paths that one kind alone has are not told")
	}
	for host, want := range map[string]*Kind{
		"QYAPI.weixin.qq.com:443": WeCom, "api.weixin.qq.com": Official, "file.api.weixin.qq.com.": Official, "hk.API.weixin.qq.com:80": Official,
		"mp.weixin.qq.com": nil, "xapi.weixin.qq.com": nil, "": nil,
	} {
		for _, k := range Kinds {
			if got := k.IsHost(host); got != (k == want) {
				t.Errorf("IsHost(%q) of %s is %t", host, k.Name, got)
			}
		}
	}
}
