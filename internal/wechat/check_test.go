package wechat

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCheckToken(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   TokenVerdict
	}{
		{"addresses", 200, `{"ip_list":["1.2.3.4"]}`, TokenGood},
		{"success", 200, `{"errcode":0,"errmsg":"ok"}`, TokenGood},
		{"another error", 200, `{"errcode":48001,"errmsg":"api unauthorized"}`, TokenGood},
		{"no such API", 200, `{"errcode":40066,"errmsg":"invalid url"}`, TokenUnknown},
		{"the day's quota", 200, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, TokenGood},
		{"not the latest", 200, `{"errcode":40001,"errmsg":"invalid credential"}`, TokenRejected},
		{"expired", 200, `{"errcode":42001,"errmsg":"access_token expired"}`, TokenRejected},
		{"dead", 200, ` {"errmsg":"x","errcode":40014}`, TokenRejected},
		{"busy", 200, `{"errcode":-1,"errmsg":"system error"}`, TokenUnknown},
		{"-1000", 200, `{"errcode":-1000,"errmsg":"system error"}`, TokenUnknown},
		{"too frequent", 200, `{"errcode":45011,"errmsg":"api minute-quota reach limit"}`, TokenUnknown},
		{"lost on the way", 200, `{"errcode":41001,"errmsg":"access_token missing"}`, TokenUnknown},
		{"no such path", 404, `{"errcode":40001}`, TokenUnknown},
		{"not allowed", 403, `{"errcode":0}`, TokenUnknown},
		{"a redirect", 302, `{"errcode":0}`, TokenUnknown},
		{"a gateway's page", 200, `<html>`, TokenUnknown},
		{"nothing", 200, ``, TokenUnknown},
		{"cut off", 200, `{"ip_list":["1.2.3.4"`, TokenUnknown},
		{"a list", 200, `[]`, TokenUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method != http.MethodGet || req.URL.Path != "/base/cgi-bin/get_api_domain_ip" || req.URL.RawQuery != "access_token=a%2Bb" {
					t.Errorf("%s %s", req.Method, req.URL)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			if got := Official.CheckToken(t.Context(), server.Client().Transport, mustParse(t, server.URL+"/base"), "a%2Bb"); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	server := httptest.NewServer(nil)
	server.Close()
	if got := Official.CheckToken(t.Context(), server.Client().Transport, mustParse(t, server.URL), "a"); got != TokenUnknown {
		t.Errorf("nobody has answered: got %d", got)
	}
}

// An errcode in the header decides, however long the body takes.
func TestCheckTokenByHeader(t *testing.T) {
	for errcode, want := range map[string]TokenVerdict{"0": TokenGood, "42001": TokenRejected, "-1": TokenUnknown} {
		res := &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Error-Code": {errcode}},
			Body: io.NopCloser(unreadable{t}),
		}
		if got := WeCom.CheckToken(t.Context(), answers{res}, mustParse(t, "http://127.0.0.1"), "a"); got != want {
			t.Errorf("%s: got %d, want %d", errcode, got, want)
		}
	}
}

// answers is a server that answers so.
type answers struct{ res *http.Response }

func (a answers) RoundTrip(*http.Request) (*http.Response, error) { return a.res, nil }

// unreadable is a body that nobody may wait for.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was waited for")
	return 0, io.EOF
}

// An answer that never ends is no longer read than it may be.
func TestCheckTokenReadsNoMoreThanItMay(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 12 {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<12)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	if got := Official.CheckToken(t.Context(), server.Client().Transport, mustParse(t, server.URL), "a"); got != TokenUnknown {
		t.Errorf("got %d", got)
	}
}
