package wechat

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	for _, tc := range []struct {
		path string
		want Takes
	}{
		{"/cgi-bin/token", TakesTokenRequest},
		{"/cgi-bin/stable_token", TakesTokenRequest},
		{"/sns/jscode2session", TakesSecret},
		{"/sns/oauth2/access_token", TakesSecret},
		{"/cgi-bin/clear_quota/v2", TakesSecret},
		{"/sns/userinfo", TakesUserToken},
		{"/sns/auth", TakesUserToken},
		{"/sns/oauth2/refresh_token", TakesUserToken},
		{"/cgi-bin/component/api_component_token", TakesComponentToken},
		{"/wxa/component/fastregisterweapp", TakesComponentToken},
		{"/sns/component/jscode2session", TakesComponentToken},
		{"/sns/oauth2/component/access_token", TakesComponentToken},

		// Spellings that WeChat may take as well.
		{"/cgi-bin/token/", TakesTokenRequest},
		{"/CGI-BIN/Token", TakesTokenRequest},
		{"/sns/JSCODE2session/", TakesSecret},
		{"/SNS/userinfo", TakesUserToken},
		{"/cgi-bin/Component/x", TakesComponentToken},

		{"/", TakesToken},
		{"/cgi-bin/user/get", TakesToken},
		{"/cgi-bin/clear_quota", TakesToken},
		{"/cgi-bin/ticket/getticket", TakesToken},
		{"/cgi-bin/tokens", TakesToken},
		{"/cgi-bin/components/x", TakesToken},
		{"/x/cgi-bin/token", TakesToken},
		{"/wxa/getwxacode", TakesToken},
	} {
		if got := Official.Route(tc.path).Takes; got != tc.want {
			t.Errorf("Route(%q) = %d, want %d", tc.path, got, tc.want)
		}
	}
}

func TestRouteOfTokenEndpoints(t *testing.T) {
	for path, want := range map[string]*TokenEndpoint{
		"/cgi-bin/stable_token":  Stable,
		"/cgi-bin/stable_token/": Stable,
		"/CGI-BIN/Stable_Token":  Stable,
		"/cgi-bin/token":         Classic,
		"/cgi-bin/token/":        Classic,
		"/cgi-bin/user/get":      nil,
	} {
		if got := Official.Route(path).Endpoint; got != want {
			t.Errorf("the token endpoint at %q is %v, want %v", path, got, want)
		}
	}
}

func TestRouteSecretParam(t *testing.T) {
	for path, want := range map[string]string{
		"/sns/jscode2session":      "secret",
		"/sns/oauth2/access_token": "secret",
		"/cgi-bin/clear_quota/v2":  "appsecret",
		"/cgi-bin/Clear_Quota/V2/": "appsecret",
	} {
		if r := Official.Route(path); r.SecretParam != want || r.Takes != TakesSecret {
			t.Errorf("Route(%q) = %+v", path, r)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, tc := range []struct {
		target string
		want   error
	}{
		{"/", nil},
		{"/cgi-bin/user/get", nil},
		{"/cgi-bin/user/get/", nil},
		{"/a/.../b", nil},
		{"/a/..b/c..", nil},
		{"/.well-known/x", nil},
		{"/%e4%bd%a0", nil},
		{"/cgi-bin/%74oken", nil},
		{"/a%20b/c+d,e=f:g@h", nil},

		{"", ErrPathRelative},
		{"*", ErrPathRelative},
		{"cgi-bin/token", ErrPathRelative},
		{"/.", ErrPathDots},
		{"/..", ErrPathDots},
		{"/a/./b", ErrPathDots},
		{"/a/../b", ErrPathDots},
		{"/a/..", ErrPathDots},
		{"/a/%2e/b", ErrPathDots},
		{"/a/%2E%2e/b", ErrPathDots},
		{"/a/.%2e", ErrPathDots},
		{"//", ErrPathBegins},
		{"//cgi-bin/user/get", ErrPathBegins},
		{"///a", ErrPathBegins},
		{"/a//b", ErrPathSlashes},
		{"/a/b//", ErrPathSlashes},
		{"/a%2fb", ErrPathEncoded},
		{"/a%2Fb", ErrPathEncoded},
		{"/%2e%2e%2fcgi-bin", ErrPathEncoded},
		{"/a%252fb", ErrPathEncoded},
		{"/a%25b", ErrPathEncoded},
		{"/cgi-bin/%2574oken", ErrPathEncoded},
		{`/a\b`, ErrPathCharacter},
		{"/a%5cb", ErrPathEncoded},
		{"/a%5Cb", ErrPathCharacter},
		{"/cgi-bin/token;x=1", ErrPathCharacter},
		{"/cgi-bin/token%3bx", ErrPathCharacter},
		{"/cgi-bin/token%00", ErrPathCharacter},
		{"/cgi-bin/token%0a", ErrPathCharacter},
		{"/a%09b", ErrPathCharacter},
		{"/a%7f", ErrPathCharacter},
		{"/a%1fb", ErrPathCharacter},
	} {
		t.Run(tc.target, func(t *testing.T) {
			u := &url.URL{}
			if i := strings.IndexByte(tc.target, '/'); i == 0 {
				var err error
				if u, err = url.ParseRequestURI("http://host" + tc.target); err != nil {
					t.Fatal(err)
				}
			} else {
				u.Path = tc.target
			}
			if err := CheckPath(u); !errors.Is(err, tc.want) {
				t.Errorf("CheckPath(%q) = %v, want %v", tc.target, err, tc.want)
			}
		})
	}
}

// Middleware before the handler may have changed one form of the path and left
// the other.
func TestCheckPathInconsistentForms(t *testing.T) {
	for _, u := range []*url.URL{
		{Path: "/a/b", RawPath: "/a%2Fb"},
		{Path: "/a/b", RawPath: "/x%2fy"},
		{Path: "/a/b", RawPath: "/a/b%5C"},
		{Path: "/a/b", RawPath: "/a/b%"},
		{Path: "/a/b", RawPath: "/a/b%2"},
		{Path: "/a/b", RawPath: "/a/b%25"},
	} {
		if err := CheckPath(u); !errors.Is(err, ErrPathEncoded) {
			t.Errorf("CheckPath(%q, raw %q) = %v, want %v", u.Path, u.RawPath, err, ErrPathEncoded)
		}
	}
}

// Rules are applied to the decoded path, and WeChat gets the spelling the client
// chose. So whatever is accepted must have one meaning only, however often and
// by whomever it is cleaned and decoded.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{
		"/cgi-bin/token", "/cgi-bin/%74oken", "/cgi-bin/user/get/", "/a/%2e%2e/b", "/a%2fb", "/a%252fb",
		"/a//b", "/./a", "/a;b", `/a\b`, "/%e4%bd%a0", "/a%", "/", "", "*", "/sns/userinfo%00",
	} {
		f.Add(seed, "")
	}
	f.Add("/a/b", "/a%2Fb")
	f.Add("/a b", "/a%20b")
	f.Fuzz(func(t *testing.T, target, rawPath string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			u = &url.URL{Path: target}
		}
		if rawPath != "" {
			u.RawPath = rawPath
		}
		if CheckPath(u) != nil {
			return
		}
		if clean := path.Clean(u.Path); clean != u.Path && clean+"/" != u.Path {
			t.Fatalf("%q is accepted, cleaned it is %q", u.Path, clean)
		}
		if again, err := url.PathUnescape(u.Path); err != nil || again != u.Path {
			t.Fatalf("%q is accepted, decoded again it is %q, %v", u.Path, again, err)
		}
		// What goes out is u.EscapedPath.
		sent, err := url.ParseRequestURI(u.EscapedPath())
		if err != nil {
			t.Fatalf("%q is accepted and cannot be sent: %v", u.Path, err)
		}
		if sent.Path != u.Path || Official.Route(sent.Path) != Official.Route(u.Path) {
			t.Fatalf("%q is accepted, but what is sent means %q", u.Path, sent.Path)
		}
		if strings.Count(u.EscapedPath(), "/") != strings.Count(u.Path, "/") {
			t.Fatalf("%q is sent as %q: not the same segments", u.Path, u.EscapedPath())
		}
	})
}

// Every spelling of a special path is refused or keeps its route.
func TestRouteOfSpellings(t *testing.T) {
	for _, special := range []string{
		"/cgi-bin/token", "/cgi-bin/stable_token", "/sns/jscode2session", "/sns/oauth2/access_token",
		"/cgi-bin/clear_quota/v2", "/sns/userinfo", "/sns/auth", "/sns/oauth2/refresh_token",
		"/cgi-bin/component/x", "/wxa/component/x", "/sns/component/x", "/sns/oauth2/component/x",
	} {
		accepted := 0
		for i := range special {
			const hex = "0123456789ABCDEF"
			escape := string([]byte{'%', hex[special[i]>>4], hex[special[i]&15]})
			for _, spelling := range []string{
				special[:i] + escape + special[i+1:],
				special[:i] + strings.ToLower(escape) + special[i+1:],
			} {
				u, err := url.ParseRequestURI("http://host/" + strings.TrimPrefix(spelling, "/"))
				if err != nil {
					t.Fatal(err)
				}
				if CheckPath(u) != nil {
					continue
				}
				accepted++
				if Official.Route(u.Path) != Official.Route(special) {
					t.Errorf("%q takes something else than %q", spelling, special)
				}
			}
		}
		if accepted == 0 {
			t.Errorf("no spelling of %q is accepted: nothing was tested", special)
		}
	}
}
