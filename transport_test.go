package weixin

import (
	"net/url"
	"testing"
)

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
