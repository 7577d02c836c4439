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
		return requestOf(req, nil)
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
