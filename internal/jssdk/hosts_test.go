package jssdk

import (
	"strings"
	"testing"
)

func mustHosts(t testing.TB, patterns ...string) Hosts {
	t.Helper()
	h, err := ParseHosts(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestContainPage(t *testing.T) {
	for _, c := range []struct {
		patterns string
		page     string
		want     bool
	}{
		{"shop.example.com", "https://shop.example.com", true},
		{"shop.example.com", "http://shop.example.com/", true},
		{"shop.example.com", "https://shop.example.com?a=1", true},
		{"shop.example.com", "https://shop.example.com:8443/a", true},
		{"shop.example.com:8443", "https://shop.example.com/a", true},
		{"Shop.Example.COM", "https://shop.example.com/a", true},
		{"shop.example.com", "HTTPS://SHOP.example.com/a", true},
		{"shop.example.com", "https://a.shop.example.com/", false},
		{"shop.example.com", "https://example.com/", false},
		{"shop.example.com", "https://shop.example.com.evil.test/", false},
		{"shop.example.com", "https://evil.test/shop.example.com", false},
		{"shop.example.com", "https://evil.test?https://shop.example.com", false},
		{"shop.example.com", "https://shop.example.com@evil.test/", false},
		{"shop.example.com", "https://evil.test@shop.example.com/", false},
		{"shop.example.com", `https://evil.test\@shop.example.com/`, false},
		{"shop.example.com", `https://shop.example.com\@evil.test/`, true}, // a browser's host is the first
		{"shop.example.com", "ftp://shop.example.com/", false},
		{"shop.example.com", "javascript://shop.example.com/%0aalert(1)", false},
		{"shop.example.com", "//shop.example.com/", false},
		{"shop.example.com", "shop.example.com", false},
		{"shop.example.com", "https:shop.example.com", false},
		{"shop.example.com", "https:///shop.example.com", false},
		{"shop.example.com", "https://", false},
		{"shop.example.com", " https://shop.example.com/", false},
		{"shop.example.com", "https://shop.example.com./", false},
		{"shop.example.com", "https://shop.example.com:port/", false},
		{"shop.example.com", "https://shop.example.com/100%/%zz?%&|\\", true},
		{"shop.example.com", "https://shop.example.com/商品?名=值", true},

		{"*.example.com", "https://a.example.com/", true},
		{"*.example.com", "https://example.com/", false},
		{"*.example.com", "https://a.b.example.com/", false},
		{"*.example.com", "https://.example.com/", false},
		{"*.example.com", "https://aexample.com/", false},
		{"*.*.example.com", "https://a.b.example.com/", true},
		{"shop.*.com", "https://shop.example.com/", true},
		{"a.test *.example.com", "https://a.example.com/", true},
		{"a.test *.example.com", "https://a.test/", true},

		{"商店.example.com", "https://xn--czrs0t.example.com/", true},
		{"商店.example.com", "https://商店.example.com/", true},
		{"xn--czrs0t.example.com", "https://商店.example.com/", true},
		{"*.商店.中国", "https://a.xn--czrs0t.xn--fiqs8s/", true},

		{"localhost", "http://localhost:5173/", true},
		{"127.0.0.1", "http://127.0.0.1:8080/", true},
		{"127.0.0.*", "http://127.0.0.1/", false},
		{"*.0.0.1", "http://127.0.0.1/", false},
		{"[::1]", "http://[::1]:8080/", true},
		{"::1", "http://[0:0::1]/", true},
		{"[::1]:80", "http://[::1]/", true},
		{"::1", "http://[::2]/", false},
		{"my_shop.example.com", "https://my_shop.example.com/", true},
	} {
		h := mustHosts(t, strings.Fields(c.patterns)...)
		if got := h.ContainPage(c.page); got != c.want {
			t.Errorf("hosts %s: %s is contained: %v", c.patterns, c.page, got)
		}
	}
	if (Hosts{}).ContainPage("https://shop.example.com/") {
		t.Error("no hosts contain one")
	}
}

func TestContainOrigin(t *testing.T) {
	h := mustHosts(t, "shop.example.com", "*.example.com")
	for origin, want := range map[string]bool{
		"https://shop.example.com":         true,
		"http://shop.example.com:8080":     true,
		"https://a.example.com":            true,
		"https://example.com":              false,
		"https://evil.test":                false,
		"null":                             false,
		"":                                 false,
		"*":                                false,
		"https://shop.example.com/":        false,
		"https://shop.example.com?":        false,
		"https://shop.example.com#x":       false,
		"https://a@shop.example.com":       false,
		"file://shop.example.com":          false,
		"https://shop.example.com, https:": false,
	} {
		if got := h.ContainOrigin(origin); got != want {
			t.Errorf("%q is contained: %v", origin, got)
		}
	}
}

func TestParseHosts(t *testing.T) {
	for _, pattern := range []string{
		"", "*", "*.*", "https://shop.example.com", "shop.example.com/path", "shop..example.com", ".example.com", "*example.com",
		"shop example.com", "a@shop.example.com", "shop.example.com.", "{env.HOST}", "?", "[::1", "fe80::1%eth0",
	} {
		if _, err := ParseHosts([]string{"shop.example.com", pattern}); err == nil {
			t.Errorf("%q is taken for a host", pattern)
		}
	}
	if _, err := ParseHosts(nil); err == nil {
		t.Error("no hosts are enough")
	}
}
