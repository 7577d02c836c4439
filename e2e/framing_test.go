package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// everyHandler are sites that answer requests themselves.
const everyHandler = `weixin_status /status
	weixin_health /health
	weixin_jssdk /jssdk {
		hosts shop.example.com
	}
	@transport path /transport/*
	handle @transport {
		uri strip_prefix /transport
		reverse_proxy UPSTREAM {
			transport weixin shop
		}
	}
	weixin`

// talk sends bytes, and returns all that comes back within a time.
func talk(t *testing.T, p *caddy, text string, within time.Duration) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(within))
	got, _ := io.ReadAll(conn) // the connection may stay open
	return string(got)
}

// To HTTP/1.0, Transfer-Encoding says nothing. Whoever stands in front may think
// otherwise, so what follows such a request is none.
func TestChunkedBodyOfHTTP10IsNoRequest(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: everyHandler})
	for _, target := range []string{
		"POST /cgi-bin/a", "GET /cgi-bin/user/get", "POST //a", "GET /health", "POST /health", "GET /status", "POST /status",
		"GET /jssdk", "POST /jssdk", "POST /transport/cgi-bin/a", "POST /transport//a",
	} {
		for _, header := range []string{"", "Content-Length: 4\r\n"} {
			got := talk(t, p, target+" HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n"+header+
				"\r\n90\r\nGET "+smuggledPath+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 5*time.Second)
			if n := strings.Count(got, "HTTP/1."); n != 1 {
				t.Errorf("%s %s: %d answers", target, header, n)
			}
		}
	}
	if n := w.count(smuggledPath); n > 0 {
		t.Errorf("%d requests were made of bodies", n)
	}
}

// A health check with a body is answered whether the body comes or not.
func TestHealthCheckWaitsForNoBody(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: everyHandler})
	for _, method := range []string{"GET", "POST"} {
		for _, header := range []string{"", "Expect: 100-continue\r\n"} {
			for _, framing := range []string{"Content-Length: 2000", "Content-Length: 5000000", "Transfer-Encoding: chunked"} {
				head := fmt.Sprintf("%s /health HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s\r\n\r\n", method, header, framing)
				got := talk(t, p, head, 4*time.Second)
				if n := strings.Count(got, "HTTP/1.1 "); n != 1 || strings.HasPrefix(got, "HTTP/1.1 100") {
					t.Errorf("%s%s: %.100q", header, framing, got)
				}
			}
		}
	}
}
