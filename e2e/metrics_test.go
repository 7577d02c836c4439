package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
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
		`caddy_weixin_quota_used{account="shop",quota="fetches"} 3`,
		`caddy_weixin_quota_limit{account="shop",quota="fetches"} 500000`,
		`caddy_weixin_quota_used{account="shop",quota="forced"} 0`,
		`caddy_weixin_quota_limit{account="shop",quota="forced"} 20`,
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
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.fail("token", 40164, 1)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	wantEvent(t, p, "weixin.token_refreshed")
	wantEvent(t, p, "weixin.token_failed")
}

func wantEvent(t *testing.T, p *caddy, name string) {
	t.Helper()
	if !eventually(func() bool {
		for _, line := range p.logged("event") {
			if line["name"] == name {
				return true
			}
		}
		return false
	}) {
		t.Errorf("there was no event %s", name)
	}
}

// Another system fetches with the same AppSecret: it is told, wherever somebody
// may look.
func TestThief(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: classicAccount})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	for range 3 {
		w.revoke()
		wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
	}
	wantEvent(t, p, "weixin.thief_suspected")
	if metrics := get(t, p.admin+"/metrics").body; !strings.Contains(metrics, `caddy_weixin_token_early_deaths_total{account="shop"} 3`) {
		t.Error("the metrics do not tell")
	}
	s := statusOf(t, get(t, p.admin+"/weixin/accounts/shop"))
	if s.EarlyDeaths != 3 || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Advice, "token stable") {
		t.Errorf("the status says %+v", s)
	}
	if out, ok := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(p.admin, "http://")); !ok || !strings.Contains(out, "token stable") {
		t.Errorf("the command says %v\n%s", ok, out)
	}
	warned := 0
	for line := range strings.Lines(p.logs.String()) {
		if strings.Contains(line, "another system seems to fetch") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings in the log", warned)
	}
}

// Whatever clients send, there are no more series than accounts and kinds of
// answers.
func TestMetricsStayBounded(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for i := range 300 {
		n := strconv.Itoa(i)
		req := newRequest(t, []string{http.MethodGet, http.MethodPost, "METHOD" + n}[i%3],
			p.url+"/cgi-bin/p"+n+"?appid=wx"+n+"&access_token=t"+n+"&errcode="+n, nil)
		req.Header.Set("X-Account", n)
		req.Host = "host" + n + ".example"
		do(t, req)
	}
	series := 0
	for line := range strings.Lines(get(t, p.admin+"/metrics").body) {
		if strings.HasPrefix(line, "caddy_weixin_") && !strings.Contains(line, "_bucket") {
			series++
		}
	}
	if series == 0 || series > 20 {
		t.Errorf("%d series", series)
	}
}
