package e2e

import (
	"strings"
	"testing"
)

// What weixin_jssdk refuses before the end of its body ends the connection.
func TestJSSDKBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin_jssdk /jssdk {\n hosts shop.example.com\n }\n weixin"})
	res := raw(t, p, "POST /jssdk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000000\r\n\r\n"+
		"GET /cgi-bin/menu/delete HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	if strings.Count(res, "HTTP/1.1 ") != 1 || !strings.Contains(res, "Connection: close") {
		t.Errorf("got %s", res)
	}
	if n := w.count("/cgi-bin/menu/delete"); n != 0 {
		t.Errorf("%d requests were taken out of a body", n)
	}
}
