package proxy

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestOutgoingHeader(t *testing.T) {
	in := make(http.Header)
	for _, name := range []string{
		"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Accept", "Accept-Language", "User-Agent", "Range",
		"If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Wechatmp-Appid", "Wechatmp-TimeStamp",
		"Cookie", "Referer", "X-Real-IP", "CF-Connecting-IP", "X-Api-Key", "traceparent", "Authorization", "Forwarded", "Via", "X-Forwarded-For",
		"Te", "Trailer", "Expect", "Content-Length", "Host", "X-Mine", "X-Named", "Origin", "Idempotency-Key", "If", "Accept-Charset",
	} {
		in.Set(name, "1")
	}
	in.Set("Accept-Encoding", "gzip")
	in.Set("Connection", "close, x-named")
	more, err := ParseForwardHeaders([]string{"x-mINE", "cookie", "X-Named"})
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(outgoingHeader(in, more)))
	want := []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Cookie",
		"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range", "User-Agent",
		"Wechatmp-Appid", "Wechatmp-Timestamp", "X-Mine",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if v := outgoingHeader(in, nil)["Accept-Encoding"]; !slices.Equal(v, []string{"identity"}) {
		t.Errorf("Accept-Encoding is %q", v)
	}
	if v, ok := outgoingHeader(http.Header{}, nil)["User-Agent"]; !ok || v != nil {
		t.Error("the User-Agent is net/http's")
	}
}

func TestParseForwardHeaders(t *testing.T) {
	for _, names := range [][]string{
		{"Authorization"},
		{"authorization"},
		{"Connection"},
		{"keep-alive"},
		{"Proxy-Connection"},
		{"Proxy-Authorization"},
		{"TE"},
		{"Trailer"},
		{"Transfer-Encoding"},
		{"Upgrade"},
		{"HTTP2-Settings"},
		{"Host"},
		{"content-length"},
		{"Accept-Encoding"},
		{"Expect"},
		{"X-*"},
		{"X-A:"},
		{"X A"},
		{""},
		{"微信"},
		{"X-A", "x-a"},
		{"X-A,X-B"},
	} {
		if parsed, err := ParseForwardHeaders(names); err == nil {
			t.Errorf("%q became %q", names, parsed)
		} else if !strings.Contains(err.Error(), "forward_headers") {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func TestCopyAnswerHeader(t *testing.T) {
	h := http.Header{
		"Connection": {"X-Hop, keep-alive"}, "X-Hop": {"1"}, "Keep-Alive": {"1"}, "Upgrade": {"h2c"}, "Alt-Svc": {"h3"},
		"Set-Cookie": {"a=b"}, "Set-Cookie2": {"a=b"}, "Content-Type": {"text/plain"}, "X-Kept": {"1"},
	}
	to := http.Header{"X-Kept": {"0"}, "X-Own": {"2"}}
	copyAnswerHeader(to, h)
	if got := slices.Sorted(maps.Keys(to)); !slices.Equal(got, []string{"Content-Type", "X-Kept", "X-Own"}) {
		t.Errorf("got %q", got)
	}
	if kept := to["X-Kept"]; !slices.Equal(kept, []string{"0", "1"}) {
		t.Errorf("X-Kept is %q", kept)
	}
}
