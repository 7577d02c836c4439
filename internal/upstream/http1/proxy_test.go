package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// Requests through a proxy are the fallback's.
func TestProxy(t *testing.T) {
	s := newServer(t, ok)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Via-Proxy", req.URL.String())
	}))
	defer proxy.Close()
	proxyURL, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	var opened, closed atomic.Int32
	fallback := &http.Transport{
		Proxy: http.ProxyURL(proxyURL),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			opened.Add(1)
			return &countedConn{Conn: nc, n: &closed}, nil
		},
	}
	errProxy := errors.New("no proxy of that name")
	tr := &Transport{
		Fallback: fallback,
		Proxy: func(req *http.Request) (*url.URL, error) {
			switch req.URL.Path {
			case "/proxied":
				return proxyURL, nil
			case "/error":
				return nil, errProxy
			}
			return nil, nil
		},
	}
	defer tr.CloseIdleConnections()
	for path, want := range map[string]string{"/proxied": s.url + "/proxied", "/direct": ""} {
		res, err := tr.RoundTrip(newRequest(t, "GET", s.url+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Via-Proxy"); got != want {
			t.Errorf("%s: the proxy saw %q, want %q", path, got, want)
		}
		readAll(t, res)
	}
	body := newBody("hello")
	req := newRequest(t, "POST", s.url+"/error", body)
	if _, err := tr.RoundTrip(req); !errors.Is(err, errProxy) {
		t.Errorf("got %v", err)
	}
	body.done(t)
	if body.count() > 0 {
		t.Error("the body was read")
	}
	tr.CloseIdleConnections()
	eventually(t, "the idle connection to the proxy is closed", func() bool { return opened.Load() > 0 && closed.Load() == opened.Load() })
}
