package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// roundTripper answers with what a test says, and remembers what it was asked.
type roundTripper struct {
	status int
	answer string
	err    error

	url    string
	body   map[string]any
	header http.Header
}

func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	rt.url, rt.header, rt.body = req.URL.String(), req.Header, nil
	if err := json.Unmarshal(data, &rt.body); err != nil {
		return nil, err
	}
	if rt.err != nil {
		return nil, rt.err
	}
	status := rt.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(rt.answer)), Header: make(http.Header)}, nil
}

const (
	testComponentSecret = "component-secret/+&of some length"
	testVerifyTicket    = "ticket@@@of/some+length&more"
	testComponentToken  = "component-token/+&of-some-length"
	testRefreshToken    = "refreshtoken@@@of/some+length"
)

// componentCalls are all calls, and what each has to send.
var componentCalls = map[string]struct {
	call  func(c *ComponentAPI) (any, error)
	url   string
	body  string
	good  string
	want  string // what is made of that, as it prints
	plain func(any) string
}{
	"component token": {
		call: func(c *ComponentAPI) (any, error) { return c.Token(context.Background(), testVerifyTicket) },
		url:  "https://api.example/base/cgi-bin/component/api_component_token",
		body: `{"component_appid":"wxisv","component_appsecret":"` + testComponentSecret + `","component_verify_ticket":"` + testVerifyTicket + `"}`,
		good: `{"component_access_token":"abcdefgh","expires_in":7200}`,
		want: "{abcdefgh 2h0m0s}",
	},
	"start push": {
		call: func(c *ComponentAPI) (any, error) { return nil, c.StartPush(context.Background()) },
		url:  "https://api.example/base/cgi-bin/component/api_start_push_ticket",
		body: `{"component_appid":"wxisv","component_secret":"` + testComponentSecret + `"}`,
		good: `{"errcode":0,"errmsg":"ok"}`,
		want: "<nil>",
	},
	"authorizer token": {
		call: func(c *ComponentAPI) (any, error) {
			g, err := c.AuthorizerToken(context.Background(), testComponentToken, "wxm", testRefreshToken)
			return fmt.Sprint(g.AccessToken, " ", g.ExpiresIn, " ", g.RefreshToken), err
		},
		url:  "https://api.example/base/cgi-bin/component/api_authorizer_token?component_access_token=" + url.QueryEscape(testComponentToken),
		body: `{"component_appid":"wxisv","authorizer_appid":"wxm","authorizer_refresh_token":"` + testRefreshToken + `"}`,
		good: `{"authorizer_access_token":"abcdefgh","expires_in":"7200","authorizer_refresh_token":"ijklmnop"}`,
		want: "abcdefgh 2h0m0s ijklmnop",
	},
	"authorizer": {
		call: func(c *ComponentAPI) (any, error) {
			return c.Authorizer(context.Background(), testComponentToken, "wxm")
		},
		url:  "https://api.example/base/cgi-bin/component/api_get_authorizer_info?component_access_token=" + url.QueryEscape(testComponentToken),
		body: `{"component_appid":"wxisv","authorizer_appid":"wxm"}`,
		good: "\ufeff" + `{"authorizer_info":{"nick_name":"x"},"authorization_info":{"authorizer_appid":"wxm","authorizer_refresh_token":"abcdefgh"}}`,
		want: "abcdefgh",
	},
	"list": {
		call: func(c *ComponentAPI) (any, error) {
			page, total, err := c.Authorizers(context.Background(), testComponentToken, 500, 100)
			text := fmt.Sprint(total)
			for _, a := range page {
				text += fmt.Sprint(" ", a.AppID, " ", a.RefreshToken, " ", a.AuthorizedAt.Unix())
			}
			return text, err
		},
		url:  "https://api.example/base/cgi-bin/component/api_get_authorizer_list?component_access_token=" + url.QueryEscape(testComponentToken),
		body: `{"component_appid":"wxisv","count":100,"offset":500}`,
		good: `{"total_count":600,"list":[{"authorizer_appid":"wxa","refresh_token":"abcdefgh","auth_time":1700000000}]}`,
		want: "600 wxa abcdefgh 1700000000",
	},
}

func componentAPI(rt http.RoundTripper) *ComponentAPI {
	return &ComponentAPI{
		Base:         &url.URL{Scheme: "https", Host: "api.example", Path: "/base"},
		RoundTripper: rt, Component: Credentials{ID: "wxisv", Secret: testComponentSecret},
	}
}

func TestComponentCalls(t *testing.T) {
	for name, c := range componentCalls {
		rt := &roundTripper{answer: c.good}
		got, err := c.call(componentAPI(rt))
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v; want %s", name, got, err, c.want)
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(c.body), &body); err != nil {
			t.Fatal(err)
		}
		if rt.url != c.url || fmt.Sprint(rt.body) != fmt.Sprint(body) {
			t.Errorf("%s: sent %s to %s", name, rt.body, rt.url)
		}
		if rt.header.Get("Accept-Encoding") != "identity" || rt.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: header %v", name, rt.header)
		}
	}
}

// No error holds what was sent, in whatever dress WeChat or the network repeats it.
func TestComponentErrorsHoldNoSecret(t *testing.T) {
	secrets := []string{testComponentSecret, testVerifyTicket, testComponentToken, testRefreshToken}
	var echo []string
	for _, secret := range secrets {
		echo = append(echo, secret, url.QueryEscape(secret), url.PathEscape(secret))
	}
	all := strings.Join(echo, " ")
	quoted, _ := json.Marshal("refused " + all)
	for name, c := range componentCalls {
		for kind, rt := range map[string]*roundTripper{
			"errmsg":       {answer: `{"errcode":61004,"errmsg":` + string(quoted) + `}`},
			"network":      {err: errors.New("dial: " + all)},
			"no JSON":      {answer: all},
			"status":       {answer: all, status: 502},
			"wrong member": {answer: `{"expires_in":"` + all + `","total_count":"` + all + `","authorization_info":"x"}`},
		} {
			_, err := c.call(componentAPI(rt))
			if err == nil {
				if name == "start push" && kind == "wrong member" {
					continue // any object without an errcode is good
				}
				t.Errorf("%s, %s: no error", name, kind)
				continue
			}
			wxErr, refused := errors.AsType[*Error](err)
			if refused != (kind == "errmsg") || refused && wxErr.Code != 61004 {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			sent := rt.url + fmt.Sprint(rt.body)
			for _, secret := range secrets {
				if !strings.Contains(sent, secret) && !strings.Contains(sent, url.QueryEscape(secret)) {
					continue // it was not sent with this call
				}
				for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
					if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), form) {
						t.Errorf("%s, %s: shows %s in %v", name, kind, form, err)
					}
				}
			}
		}
	}
}

// What is no usable answer is an error, and is not read without end.
func TestComponentAnswers(t *testing.T) {
	for name, bad := range map[string][]string{
		"component token": {
			`{}`, `[]`, ``, `{"component_access_token":"abc def","expires_in":7200}`, `{"component_access_token":"abcdefgh"}`,
			`{"component_access_token":"abcdefgh","expires_in":0}`, `{"access_token":"abcdefgh","expires_in":7200}`,
		},
		"authorizer token": {
			`{"authorizer_refresh_token":"abcdefgh"}`, `{"authorizer_access_token":"abcdefgh","expires_in":7200,"authorizer_refresh_token":"a b"}`,
		},
		"authorizer": {`{"authorization_info":{"authorizer_refresh_token":"a\nb"}}`, `{"authorization_info":[]}`},
		"list":       {`{}`, `{"list":[]}`, `{"total_count":1,"list":{}}`},
	} {
		for _, answer := range bad {
			if got, err := componentCalls[name].call(componentAPI(&roundTripper{answer: answer})); err == nil {
				t.Errorf("%s: %s gives %v", name, answer, got)
			}
		}
	}
	endless := `{"total_count":1,"list":[` + strings.Repeat(`{"authorizer_appid":"wxa"},`, 1<<20) + `{}]}`
	if _, err := componentCalls["list"].call(componentAPI(&roundTripper{answer: endless})); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("got %v", err)
	}
	full := new(bytes.Buffer)
	for range MaxAuthorizersPerPage {
		fmt.Fprintf(full, `{"authorizer_appid":"wx0123456789abcdef","refresh_token":"refreshtoken@@@%s","auth_time":1700000000},`, strings.Repeat("x", 100))
	}
	answer := `{"total_count":500,"list":[` + strings.TrimSuffix(full.String(), ",") + `]}`
	if _, err := componentCalls["list"].call(componentAPI(&roundTripper{answer: answer})); err != nil {
		t.Errorf("a full page: %v", err)
	}
	// Not known as long as nobody has asked api_query_auth; and an errcode as text.
	if got, err := componentCalls["authorizer"].call(componentAPI(&roundTripper{answer: `{"authorization_info":{"authorizer_refresh_token":""}}`})); err != nil || got != "" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := componentCalls["start push"].call(componentAPI(&roundTripper{answer: `{"errcode":"40125","errmsg":"x"}`}))
	if wxErr, ok := errors.AsType[*Error](err); !ok || wxErr.Code != 40125 {
		t.Errorf("got %v", err)
	}
}

// What holds secrets prints none.
func TestComponentTypesPrintNoSecret(t *testing.T) {
	for _, v := range []any{
		AuthorizerGrant{Grant{testComponentToken, time.Hour}, testRefreshToken},
		ListedAuthorizer{"wxa", testRefreshToken, time.Time{}},
		&ComponentAPI{Component: Credentials{"wxisv", testComponentSecret}},
	} {
		for _, verb := range []string{"%v", "%+v", "%s", "%#v"} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{testComponentToken, testRefreshToken, testComponentSecret} {
				if strings.Contains(text, secret) {
					t.Errorf("%T with %s: %s", v, verb, text)
				}
			}
		}
	}
}

// Every errcode of a platform's own calls that somebody has to do something about
// has advice in both languages, and its class.
func TestPlatformAdvice(t *testing.T) {
	for errcode, class := range map[int]FailureClass{
		61003: Configuration, 61004: Configuration, 61005: Configuration, 61006: Configuration, 61007: Configuration, 61009: Configuration,
		61010: Configuration, 61011: Configuration, 61023: Configuration, 61024: Configuration, 40013: Configuration, 40125: Configuration,
		40001: Configuration, 41004: Configuration, 45009: DailyQuota, 48001: Configuration, 50002: Configuration,
	} {
		if got := Platform.ClassOf(errcode); got != class {
			t.Errorf("%d: class %d, want %d", errcode, got, class)
		}
		english, chinese := Platform.AdviceFor(errcode, "", English), Platform.AdviceFor(errcode, "", Chinese)
		if english == "" || chinese == "" || english == chinese || !strings.ContainsAny(chinese, "请") {
			t.Errorf("%d: %q, %q", errcode, english, chinese)
		}
		if ErrcodeLabel(errcode) == OtherErrcode {
			t.Errorf("%d has no label", errcode)
		}
	}
	for errcode := range platformAdvice {
		if _, ok := platformFailures[errcode]; !ok {
			t.Errorf("%d has advice, but passes by itself", errcode)
		}
	}
	const errmsg = "access clientip is not registered requestIP: 203.0.113.7 rid: 1-2-3"
	for _, lang := range []Language{English, Chinese} {
		if got := Platform.AdviceFor(61004, errmsg, lang); !strings.Contains(got, "203.0.113.7") {
			t.Errorf("got %s", got)
		}
	}
	if Platform.Accepts(61003) || !Platform.Accepts(48001) || Platform.Accepts(40001) {
		t.Error("61003 says something of the token")
	}
}
