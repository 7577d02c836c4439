package wechat

import "testing"

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
