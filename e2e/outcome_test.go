package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// told is what an access log and a header know of a request.
type told struct{ account, caller, errcode, replayed, rid string }

// withOutcome is a site that tells the outcome of every request.
const withOutcome = `
	log_append account {http.weixin.account}
	log_append caller {http.weixin.caller}
	log_append errcode {http.weixin.errcode}
	log_append replayed {http.weixin.replayed}
	log_append rid {http.weixin.rid}
	header {
		defer
		X-Outcome "{http.weixin.account},{http.weixin.caller},{http.weixin.errcode},{http.weixin.replayed},{http.weixin.rid}"
	}
`

// wantTold checks what the last request was told to be, twice.
func wantTold(t *testing.T, p *caddy, a answer, want told) {
	t.Helper()
	text := strings.Join([]string{want.account, want.caller, want.errcode, want.replayed, want.rid}, ",")
	if got := a.header.Get("X-Outcome"); got != text {
		t.Errorf("the header tells %q, want %q (%s)", got, text, a)
	}
	wantLogged(t, p, a, want)
}

// wantLogged checks what the access log has of the last request.
func wantLogged(t *testing.T, p *caddy, a answer, want told) {
	t.Helper()
	var got told
	if !eventually(func() bool {
		lines := p.logged("handled request")
		if len(lines) == 0 {
			return false
		}
		line := lines[len(lines)-1]
		got = told{fmt.Sprint(line["account"]), fmt.Sprint(line["caller"]), fmt.Sprint(line["errcode"]), fmt.Sprint(line["replayed"]), fmt.Sprint(line["rid"])}
		return got == want
	}) {
		t.Errorf("the access log tells %+v, want %+v (%s)", got, want, a)
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	const key = "the key of orders, for test"
	for name, site := range map[string]string{"handler": "weixin", "transport": "reverse_proxy UPSTREAM {\n transport weixin shop\n }"} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{
				global: defaultAccount + "\ncaller orders {\n key {env.KEY}\n allow /cgi-bin/* /sns/*\n}",
				site:   withOutcome + site, env: []string{"KEY=" + key},
			})
			call := func(path string) answer {
				req := newRequest(t, http.MethodGet, p.url+path, nil)
				req.Header.Set("Authorization", "Bearer "+key)
				return do(t, req)
			}
			wantTold(t, p, call("/cgi-bin/user/get"), told{"shop", "orders", "", "", ""})
			w.revoke()
			wantTold(t, p, call("/cgi-bin/user/get"), told{"shop", "orders", "", "40001", ""})
			wantTold(t, p, call("/wxa/x"), told{"shop", "orders", "48001", "", ""})
			wantTold(t, p, get(t, p.url+"/cgi-bin/user/get"), told{"", "", "48001", "", ""})
			wantTold(t, p, call("/cgi-bin//x"), told{"", "", "40035", "", ""})
			wantTold(t, p, get(t, tokenURL(p, appID, key)), told{"shop", "orders", "", "", ""})
			wantTold(t, p, get(t, tokenURL(p, appID, "wrong")), told{"", "", "40125", "", ""})

			for _, variant := range []string{"", "chunked", "500", "pieces"} {
				w.answer(func(rw http.ResponseWriter, _ *http.Request) {
					if variant == "500" {
						rw.WriteHeader(http.StatusInternalServerError)
					}
					if variant == "chunked" {
						_ = http.NewResponseController(rw).Flush()
					}
					const text = `{"errcode":48001,"errmsg":"api unauthorized rid: 6aac0063-7ed08fb9-1250f724"}`
					if variant == "pieces" {
						rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
						_, _ = io.WriteString(rw, text[:30])
						_ = http.NewResponseController(rw).Flush()
						time.Sleep(20 * time.Millisecond) // a network's; each piece is read by itself
						_, _ = io.WriteString(rw, text[30:])
						return
					}
					_, _ = io.WriteString(rw, text)
				})
				a := call("/cgi-bin/user/get")
				if variant == "pieces" {
					// The header goes out before the errmsg has come.
					wantLogged(t, p, a, told{"shop", "orders", "48001", "", "6aac0063-7ed08fb9-1250f724"})
					continue
				}
				wantTold(t, p, a, told{"shop", "orders", "48001", "", "6aac0063-7ed08fb9-1250f724"})
			}
			w.answer(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Disposition", "attachment")
				_, _ = io.WriteString(rw, `{"errcode":40001,"errmsg":"rid: 1-2"}`)
			})
			wantTold(t, p, call("/cgi-bin/media/get"), told{"shop", "orders", "", "", ""})

			metrics := get(t, p.admin+"/metrics").body
			for _, line := range []string{
				`caddy_weixin_caller_requests_total{account="shop",caller="orders",code="200"} 7`,
				`caddy_weixin_caller_requests_total{account="shop",caller="orders",code="403"} 1`,
				`caddy_weixin_build_info{version="`,
				`caddy_weixin_errcodes_total{account="shop",errcode="48001"} 3`,
			} {
				if !strings.Contains(metrics, line) {
					t.Errorf("the metrics do not say %s", line)
				}
			}
			if strings.Contains(metrics, `errcode="40001"} `) && !strings.Contains(metrics, `result="ok"`) {
				t.Error("a file counts as an errcode")
			}
			who := p.logged("request refused")
			if len(who) < 3 || who[0]["caller"] != "orders" || who[0]["client_ip"] != "127.0.0.1" || who[0]["account"] != "shop" {
				t.Errorf("request refused: %v", who)
			}
			if lines := p.logged("WeChat answered with an errcode"); len(lines) != 4 || lines[0]["level"] != "info" || lines[1]["level"] != "debug" ||
				lines[0]["path"] != "/cgi-bin/user/get" || lines[0]["caller"] != "orders" || lines[0]["rid"] != "6aac0063-7ed08fb9-1250f724" {
				t.Errorf("WeChat's errors: %v", lines)
			}
		})
	}
}

// A key that comes with another caller's token tells who has sent it.
func TestWhoSendsAnothersToken(t *testing.T) {
	t.Parallel()
	const key, other = "the key of orders, for test", "the key of crm, for the test"
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		global: defaultAccount + "\ncaller orders {\n key {env.KEY}\n}\ncaller crm {\n key {env.OTHER}\n}",
		site:   withOutcome + "weixin", env: []string{"KEY=" + key, "OTHER=" + other},
	})
	req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get?access_token="+granted(t, get(t, tokenURL(p, appID, other))).AccessToken, nil)
	req.Header.Set("Authorization", "Bearer "+key)
	a := do(t, req)
	if a.status != http.StatusForbidden {
		t.Errorf("got %s", a)
	}
	wantTold(t, p, a, told{"", "orders", "48001", "", ""})
	if lines := p.logged("request refused"); len(lines) != 1 || lines[0]["caller"] != "orders" {
		t.Errorf("request refused: %v", lines)
	}
	if line := `caddy_weixin_caller_requests_total{account="",caller="orders",code="403"} 1`; !strings.Contains(get(t, p.admin+"/metrics").body, line) {
		t.Errorf("the metrics do not say %s", line)
	}
}

// Errcodes that upstreams make up are one series.
func TestUnknownErrcodes(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for i := range 50 {
		w.answer(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintf(rw, `{"errcode":%d}`, 7_000_000+i) })
		get(t, p.url+"/cgi-bin/user/get")
	}
	metrics := get(t, p.admin+"/metrics").body
	if !strings.Contains(metrics, `caddy_weixin_errcodes_total{account="shop",errcode="other"} 50`) || strings.Contains(metrics, `errcode="7`) {
		t.Error("unknown errcodes are not counted as other")
	}
}

// An outage is a few lines, whatever clients do.
func TestRepeatedRefusals(t *testing.T) {
	t.Parallel()
	refusing := startTokenError(t, `{"errcode":40164,"errmsg":"invalid ip 1.2.3.4, not in whitelist"}`)
	p := startCaddy(t, startWeChat(t), config{global: accountAt(refusing, "")})
	for range 100 {
		if a := get(t, p.url+"/cgi-bin/user/get"); a.errcode() != 40164 {
			t.Fatalf("got %s", a)
		}
	}
	p.stop()
	lines, repeated := p.logged("request refused"), 0
	for _, line := range lines {
		if n, ok := line["repeated"].(float64); ok {
			repeated += int(n) - 1
		}
	}
	if len(lines) > 6 || len(lines)+repeated != 100 {
		t.Errorf("%d lines that tell of %d refusals", len(lines), len(lines)+repeated)
	}
}

// A picture that looks like a token error costs nobody a token.
func TestFileIsNoVerdict(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: classicAccount})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Disposition", `attachment; filename="x.jpg"`)
		_, _ = io.WriteString(rw, `{"errcode":40001}`)
	})
	for range 20 {
		if a := get(t, p.url+"/cgi-bin/media/get?media_id=x"); a.body != `{"errcode":40001}` || a.header.Get("X-Weixin-Replayed") != "" {
			t.Fatalf("got %s", a)
		}
	}
	if n := w.status().Fetches; n != 1 {
		t.Errorf("%d fetches", n)
	}
	if strings.Contains(get(t, p.admin+"/metrics").body, `caddy_weixin_errcodes_total{account="shop"`) {
		t.Error("it counts as an errcode")
	}
}

// What nobody asked to be compressed passes as it is, with a warning.
func TestEncodedAnswer(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	_, _ = io.WriteString(z, `{"errcode":40001,"errmsg":"x"}`)
	z.Close()
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = rw.Write(compressed.Bytes())
	})
	for range 3 {
		if a := get(t, p.url+"/cgi-bin/user/get"); a.body != compressed.String() {
			t.Error("the answer is another")
		}
	}
	warned := 0
	for line := range strings.Lines(p.logs.String()) {
		if strings.Contains(line, "Content-Encoding that was not asked for") && strings.Contains(line, `"level":"warn"`) {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d warnings", warned)
	}
}

// Token errors in another dress are cured like others.
func TestTokenErrorDresses(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"\ufeff" + `{"errcode":40001,"errmsg":"x"}`, "\r\n {\"errcode\":42001}", `{"errcode":"40001"}`, `{"errcode":40001.0}`,
		`{"errcode":4.0001e4}`, `{"errmsg":"x","errcode":"42001"}`, `{"base_resp":{"errcode":40001,"errmsg":"x"}}`, `{"\u0065rrcode":40014}`,
	} {
		w := startWeChat(t)
		p := startCaddy(t, w, config{})
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
		first := w.currentToken()
		w.answer(func(rw http.ResponseWriter, req *http.Request) {
			if req.URL.Query().Get("access_token") == first {
				_, _ = io.WriteString(rw, body)
				return
			}
			_, _ = io.WriteString(rw, `{"errcode":0}`)
		})
		w.revoke()
		a := get(t, p.url+"/cgi-bin/user/get")
		wantOK(t, a)
		if a.header.Get("X-Weixin-Replayed") == "" {
			t.Errorf("%q was not cured", body)
		}
	}
}

// Where WeChat refuses every token, replays are given up, and counted.
func TestReplaysGivenUp(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"errcode":40001}`) })
	for range 30 {
		get(t, p.url+"/cgi-bin/user/get")
	}
	if metrics := get(t, p.admin+"/metrics").body; !strings.Contains(metrics, `caddy_weixin_replays_total{account="shop",errcode="40001",result="gave_up"} `) {
		t.Error("they are not counted")
	}
	if n := len(p.logged("request not replayed: WeChat refuses it with every token")); n > 3 {
		t.Errorf("%d lines of it", n)
	}
}

// A transport gives the token to its account's upstream alone.
func TestTransportRefusesOtherHosts(t *testing.T) {
	t.Parallel()
	w, other := startWeChat(t), startWeChat(t)
	p := startCaddy(t, w, config{site: "reverse_proxy " + other.URL + " {\n transport weixin shop\n }"})
	wantProxyError(t, get(t, p.url+"/cgi-bin/user/get"), http.StatusBadGateway, -1, "trust_upstream")
	if n := other.count("/cgi-bin/user/get"); n > 0 {
		t.Errorf("the other host got %d requests", n)
	}
	other.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, `{"errcode":0}`) })
	p.reload(w, config{site: "reverse_proxy " + other.URL + " {\n transport weixin shop {\n trust_upstream\n }\n }"})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if n := other.count("/cgi-bin/user/get"); n != 1 {
		t.Errorf("the other host got %d requests", n)
	}
}
