package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Only so many requests that are the same, and only of those with a proxy's
// looks.
func TestNestedRequests(t *testing.T) {
	n := nestedRequests{count: make(map[nestedRequest]int)}
	request := func(query, encoding string) *Request {
		req := httptest.NewRequest(http.MethodGet, "/cgi-bin/x?"+query, nil)
		if encoding != "" {
			req.Header.Set("Accept-Encoding", encoding)
		}
		r := requestOf(req, nil)
		r.TokenParams = r.Account.Kind.TokenParams()
		return r
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
	for _, req := range []*Request{request("a=1", "identity"), request("access_token=y", ""), request("access_token=y", "gzip"), request("access_token=y", "identity, gzip")} {
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

// A token goes into every parameter that takes it, however often that is there.
func TestSetParams(t *testing.T) {
	names := []string{"access_token", "component_access_token"}
	for query, want := range map[string]string{
		"":                 "access_token=T&component_access_token=T",
		"a=1":              "a=1&access_token=T&component_access_token=T",
		"access_token=&b=": "access_token=T&b=&component_access_token=T",
		"component_access_token=x&access_token=y&component_access_token=z": "component_access_token=T&access_token=T&component_access_token=T",
	} {
		if got := setParams(query, names, "T"); got != want {
			t.Errorf("%q became %q, want %q", query, got, want)
		}
	}
	if got := setParams("access_token=x", nil, "T"); got != "access_token=x" {
		t.Errorf("without a parameter the query became %q", got)
	}
}
