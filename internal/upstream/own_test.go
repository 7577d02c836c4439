package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A server knows connections that this process has opened to it, as long as they
// are open, and no others.
func TestIsOwn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if isOwn(req) {
			_, _ = io.WriteString(w, "own")
		}
	}))
	defer server.Close()
	ask := func(rt http.RoundTripper) string {
		t.Helper()
		req := httptest.NewRequest(http.MethodGet, server.URL, nil)
		req.RequestURI = ""
		res, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body)
	}
	for _, name := range []string{HTTP1, NetHTTP} {
		rt, err := NewRoundTripper(name, NewTransport(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := ask(rt); got != "own" {
				t.Errorf("%s: got %q", name, got)
			}
		}
		rt.CloseIdleConnections()
	}
	other := new(http.Transport)
	defer other.CloseIdleConnections()
	if got := ask(other); got != "" {
		t.Errorf("another's connection is own")
	}
	own.mu.RLock()
	defer own.mu.RUnlock()
	if len(own.remotes) > 0 {
		t.Errorf("%d connections are known that are closed", len(own.remotes))
	}
}

func isOwn(req *http.Request) bool {
	local, _ := req.Context().Value(http.LocalAddrContextKey).(interface {
		Network() string
		String() string
	})
	return IsOwn(req.RemoteAddr, local)
}

// One local end may have several other ends.
func TestOwnConnectionsCount(t *testing.T) {
	o := ownConnections{remotes: make(map[string][]string)}
	for _, remote := range []string{"a", "b", "a"} {
		o.add("x", remote)
	}
	o.remove("x", "a")
	if got := len(o.remotes["x"]); got != 2 {
		t.Errorf("%d ends", got)
	}
	o.remove("x", "a")
	o.remove("x", "none")
	o.remove("x", "b")
	if len(o.remotes) > 0 {
		t.Errorf("left %v", o.remotes)
	}
}
