package wechat

import (
	"net/url"
	"testing"
)

// Beside another's token nothing is put.
func TestForeignTokens(t *testing.T) {
	for target, want := range map[string]Takes{
		"/cgi-bin/user/get":                                    TakesToken,
		"/cgi-bin/user/get?access_token=x":                     TakesToken,
		"/cgi-bin/user/get?suite_access_token=":                TakesToken,
		"/cgi-bin/user/get?suite_access_token=x":               TakesOwn,
		"/cgi-bin/user/get?a=b&provider_access_token=x":        TakesOwn,
		"/cgi-bin/user/get?model_access_token=x&access_token=": TakesOwn,
		"/cgi-bin/user/get?%64evice_access_token=x":            TakesOwn,
		"/tcb/x?cloudbase_access_token=x":                      TakesOwn,
		"/wxa/x?component_access_token=x":                      TakesComponentToken,
		"/cgi-bin/user/get?not_an_access_token=x":              TakesToken,
		"/cgi-bin/webhook/send?key=x":                          TakesOwn,
		"/cgi-bin/gettoken?suite_access_token=x":               TakesTokenRequest,
	} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := WeCom.RouteOf(u).Takes; got != want {
			t.Errorf("%s takes %d, want %d", target, got, want)
		}
	}
}

// A group robot's key is no account's concern, whichever accounts there are.
func TestRobotKeyBesideOtherKinds(t *testing.T) {
	u := &url.URL{Path: "/cgi-bin/webhook/send", RawQuery: "key=x"}
	for _, k := range []*Kind{Official, WeCom, Platform} {
		if got := k.RouteOf(u).Takes; got != TakesOwn {
			t.Errorf("%s takes %d", k.Name, got)
		}
	}
}

// An errmsg of the proxy's own has no hint and no address.
func TestWithoutHint(t *testing.T) {
	const errmsg = "invalid credential, hint: [1700000000], from ip: 192.0.2.1, more info at https://open.work.weixin.qq.com/devtool/query?e=40001"
	if got := WeCom.WithoutHint(errmsg); got != "invalid credential" {
		t.Errorf("got %q", got)
	}
	if got := Official.WithoutHint(errmsg); got != errmsg {
		t.Errorf("got %q", got)
	}
	if got := WeCom.AdviceFor(UntrustedIP, errmsg, English); got[:len("Add 192.0.2.1 to")] != "Add 192.0.2.1 to" {
		t.Errorf("got %q", got)
	}
}
