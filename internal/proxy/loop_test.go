package weixin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"go.uber.org/zap"
)

// issuing is a token endpoint that hands out one token.
type issuing struct {
	wechat.Source
	token string
}

func (s issuing) Fetch(context.Context, http.RoundTripper, *url.URL, wechat.Credentials, bool) (wechat.Grant, error) {
	return wechat.Grant{AccessToken: s.token, ExpiresIn: time.Hour}, nil
}

// The proxy's own virtual tokens are a loop, those of another a hub's.
func TestLoopGuard(t *testing.T) {
	id := newVirtualID("account", "wx1")
	own, other := &virtualSecrets{accountKey: []byte("own")}, &virtualSecrets{accountKey: []byte("another's")}
	app := &App{
		tokens:      newTokenManager(credential.NewProcess(), forgetful{}, nil, zap.NewNop()),
		byVirtualID: map[virtualID]*Account{id: {virtualKey: own.accountKey}},
	}
	issued := func(by *virtualSecrets, expires time.Duration) string {
		claims := virtualClaims{account: id, expiresAt: time.Now().Add(expires)}
		return claims.sign(by)
	}
	for name, tc := range map[string]struct {
		token string
		loop  bool
	}{
		"WeChat's":         {"92_abc", false},
		"its own":          {issued(own, time.Hour), true},
		"its own, expired": {issued(own, -time.Hour), true},
		"a hub's":          {issued(other, time.Hour), false},
		"a hub's in form":  {virtualTokenPrefix + "abc", false},
	} {
		grant, err := loopGuard{issuing{wechat.Stable{}, tc.token}, app}.Fetch(t.Context(), nil, nil, wechat.Credentials{}, false)
		if errors.Is(err, errLoop) != tc.loop || !tc.loop && grant.AccessToken != tc.token {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoopErrors(t *testing.T) {
	for _, e := range []*TokenError{
		{Account: "shop", Message: errLoop.Error()},
		{Account: "shop", Message: "weixin proxy: " + errLoop.Error(), Errcode: -1, BackingOff: true, RetryAt: time.Now().Add(time.Second)},
	} {
		if p := e.proxyError(time.Now()); p.status != http.StatusLoopDetected || p.errcode != -1 || !strings.Contains(p.message, loopFound) {
			t.Errorf("got %+v", p)
		}
	}
}

// Only so many requests that are the same, and only of those with a proxy's
// looks.
func TestNestedRequests(t *testing.T) {
	n := nestedRequests{count: make(map[nestedRequest]int)}
	request := func(query, encoding string) *http.Request {
		req := httptest.NewRequest(http.MethodGet, "/cgi-bin/x?"+query, nil)
		if encoding != "" {
			req.Header.Set("Accept-Encoding", encoding)
		}
		return req
	}
	var leave []func()
	for i := range maxNested {
		l, err := n.enter(request("access_token="+strings.Repeat("x", i), "identity"))
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if _, err := n.enter(request("access_token=y", "identity")); err == nil {
		t.Error("one more was let in")
	}
	for _, req := range []*http.Request{request("a=1", "identity"), request("access_token=y", ""), request("access_token=y", "gzip"), request("access_token=y", "identity, gzip")} {
		l, err := n.enter(req)
		if err != nil {
			t.Errorf("%s: %v", req.URL, err)
			continue
		}
		l()
	}
	leave[0]()
	if l, err := n.enter(request("access_token=y", "identity")); err != nil {
		t.Error(err)
	} else {
		l()
	}
	for _, l := range leave[1:] {
		l()
	}
	if len(n.count) > 0 {
		t.Errorf("%d are left", len(n.count))
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"https://api.weixin.qq.com", "https://API.weixin.qq.com:443", true},
		{"https://api.weixin.qq.com", "https://api.weixin.qq.com./prefix", true},
		{"http://127.0.0.1", "http://127.0.0.1:80", true},
		{"http://[::1]:8080", "http://[::1]:8080", true},
		{"https://api.weixin.qq.com", "http://api.weixin.qq.com", false},
		{"https://api.weixin.qq.com", "http://api.weixin.qq.com:443", false},
		{"https://api.weixin.qq.com", "https://api.weixin.qq.com:8443", false},
		{"https://api.weixin.qq.com", "https://api2.weixin.qq.com", false},
		{"https://api.weixin.qq.com", "https://api.weixin.qq.com.evil.example", false},
	} {
		a, _ := url.Parse(tc.a)
		b, _ := url.Parse(tc.b)
		if sameOrigin(a, b) != tc.want || sameOrigin(b, a) != tc.want {
			t.Errorf("%s and %s: want %t", tc.a, tc.b, tc.want)
		}
	}
}
