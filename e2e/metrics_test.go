package e2e

import (
	"net/http"
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	get(t, p.url+"/x//y")
	get(t, tokenURL(p, appID, "x"))
	w.fail("api", 48001, 1)
	get(t, p.url+"/cgi-bin/user/get")
	w.fail("token", 40164, 1)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")

	// A reload loses none of it.
	p.reload(w, config{site: "header X-Reload 1\n weixin"})
	a := do(t, newRequest(t, http.MethodGet, p.admin+"/metrics", nil))
	for _, line := range []string{
		`caddy_weixin_requests_total{account="shop",code="200"} 4`,
		`caddy_weixin_requests_total{account="",code="400"} 1`,
		`caddy_weixin_requests_total{account="shop",code="502"} 1`,
		`caddy_weixin_replays_total{account="shop",errcode="40001",result="ok"} 1`,
		`caddy_weixin_token_fetches_total{account="shop",result="ok"} 2`,
		`caddy_weixin_token_fetches_total{account="shop",result="40164"} 1`,
		`caddy_weixin_errcodes_total{account="shop",errcode="48001"} 1`,
		`caddy_weixin_token_expiry_timestamp_seconds{account="shop"} `,
		`caddy_weixin_upstream_seconds_count{account="shop"} 5`,
	} {
		if !strings.Contains(a.body, line) {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(a.body) {
			if strings.HasPrefix(line, "caddy_weixin_") && !strings.Contains(line, "bucket") {
				t.Log(line)
			}
		}
	}
}

func TestEvents(t *testing.T) {
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.fail("token", 40164, 1)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	for _, name := range []string{"weixin.token_refreshed", "weixin.token_failed"} {
		found := func() bool {
			for _, line := range p.logged("event") {
				if line["name"] == name {
					return true
				}
			}
			return false
		}
		if !eventually(found) {
			t.Errorf("there was no event %s", name)
		}
	}
}
