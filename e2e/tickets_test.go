package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const getTicketPath = "/cgi-bin/ticket/getticket"

// ticketAnswer is what getticket answers.
type ticketAnswer struct {
	Errcode   *int   `json:"errcode"`
	Errmsg    string `json:"errmsg"`
	Ticket    string `json:"ticket"`
	ExpiresIn int    `json:"expires_in"`
}

// ticketOf checks an answer that has a ticket, and returns it.
func ticketOf(t *testing.T, a answer, expiresIn int) string {
	t.Helper()
	var got ticketAnswer
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("got %s", a)
	}
	if got.Errcode == nil || *got.Errcode != 0 || got.Errmsg != "ok" || got.Ticket == "" || got.ExpiresIn != expiresIn {
		t.Fatalf("got %s", strings.ReplaceAll(a.String(), got.Ticket, "TICKET"))
	}
	return got.Ticket
}

// accountWith is the account of the sandbox with further options.
func accountWith(options string) string {
	return "\naccount shop {\nappid {env.WEIXIN_APPID}\nsecret {env.WEIXIN_SECRET}\n" + options + "\n}"
}

// grepFiles returns the file below a directory that has a text in it, or "".
func grepFiles(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if data, _ := os.ReadFile(path); strings.Contains(string(data), text) {
			found = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantNotLogged fails the test if one of the secrets is in the log.
func (p *caddy) wantNotLogged(secrets ...string) {
	p.t.Helper()
	for _, secret := range secrets {
		if p.logs.contains(secret) {
			p.t.Error("a ticket is in the log")
		}
	}
}

// One fetch serves everybody, whatever becomes of the token, of the process or
// of the configuration.
func TestTicketsAreKept(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	dir := t.TempDir()
	p := startCaddy(t, w, config{dataDir: dir})
	url := p.url + getTicketPath + "?access_token=" + granted(t, get(t, tokenURL(p, appID, "anything"))).AccessToken + "&type="
	tickets := make(map[string]string)
	for _, typ := range []string{"jsapi", "wx_card", "2"} {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { get(t, url+typ) })
		}
		wg.Wait()
		a := get(t, url+typ)
		tickets[typ] = ticketOf(t, a, 1800)
		if ct := a.header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
			t.Errorf("Content-Type is %q", ct)
		}
		if post := post(t, url+typ, "{}"); post.body != a.body {
			t.Error("POST is answered otherwise")
		}
		head := do(t, newRequest(t, http.MethodHead, url+typ, nil))
		if head.status != http.StatusOK || head.body != "" {
			t.Errorf("HEAD: %s", head)
		}
	}
	if tickets["jsapi"] == tickets["2"] || tickets["jsapi"] == tickets["wx_card"] {
		t.Error("types share a ticket")
	}
	if n := w.count(getTicketPath); n != 3 {
		t.Errorf("%d fetches", n)
	}
	w.revoke()
	same := func(p *caddy) {
		t.Helper()
		for typ, want := range tickets {
			if got := ticketOf(t, get(t, p.url+getTicketPath+"?type="+typ), 1800); got != want {
				t.Errorf("%s is another", typ)
			}
		}
		if n := w.count(getTicketPath); n != 3 {
			t.Errorf("%d fetches", n)
		}
	}
	same(p)
	p.reload(w, config{options: "grace_period 1s"})
	same(p)
	p.stop()
	restarted := startCaddy(t, w, config{dataDir: dir})
	same(restarted)
	same(startCaddy(t, w, config{dataDir: dir}))
	for _, ticket := range tickets {
		p.wantNotLogged(ticket)
		restarted.wantNotLogged(ticket)
		if s := get(t, restarted.admin+"/weixin/accounts"); strings.Contains(s.body, ticket) {
			t.Error("a ticket is in the status")
		}
		if found := grepFiles(t, dir, ticket); found != "" {
			t.Errorf("a ticket is in the store as it is, in %s", found)
		}
	}
}

// A dead token is cured at the account, not at the client.
func TestTicketCuresTheToken(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800)
	if s := w.status(); s.Fetches != 2 || s.Rejected != 2 { // with the check
		t.Errorf("%+v", s)
	}
	before := w.status().Rejected
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if w.status().Rejected != before {
		t.Error("the next request was rejected, too")
	}
}

func TestTicketsOfACluster(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, option string) {
		w := startWeChat(t)
		nodes := startCluster(t, w, 3, config{global: defaultAccount + "\n" + option})
		var wg sync.WaitGroup
		for _, p := range nodes {
			for range 5 {
				wg.Go(func() { get(t, p.url+getTicketPath+"?type=jsapi") })
			}
		}
		wg.Wait()
		first := ticketOf(t, get(t, nodes[0].url+getTicketPath+"?type=jsapi"), 1800)
		for _, p := range nodes[1:] {
			if ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800) != first {
				t.Error("nodes have different tickets")
			}
		}
		if n := w.count(getTicketPath); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// What the proxy does not keep goes to WeChat.
func TestTicketsThatPass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ option, query string }{
		"pass":              {"tickets pass", "type=jsapi"},
		"unknown type":      {"tickets kept", "type=card"},
		"in capitals":       {"", "type=JSAPI"},
		"no type":           {"", ""},
		"two different":     {"", "type=jsapi&type=2"},
		"of another method": {"", "type=jsapi"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			w.answer(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"errcode":0,"errmsg":"WeChat's"}`) })
			p := startCaddy(t, w, config{global: accountWith(c.option)})
			method := http.MethodGet
			if name == "of another method" {
				method = http.MethodPut
			}
			for range 2 {
				if a := do(t, newRequest(t, method, p.url+getTicketPath+"?"+c.query, nil)); !strings.Contains(a.body, "WeChat's") {
					t.Errorf("got %s", a)
				}
			}
			if n := w.count(getTicketPath); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// WeChat's own error is answered, from memory while it would say the same.
func TestTicketRefused(t *testing.T) {
	t.Parallel()
	const refusal = `{"errcode":48001,"errmsg":"api unauthorized rid: 6571a2b3-1c2d3e4f-5a6b7c8d"}`
	w := startWeChat(t)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, refusal) })
	p := startCaddy(t, w, config{site: "log_append errcode {http.weixin.errcode}\nlog_append rid {http.weixin.rid}\nweixin"})
	for range 5 {
		if a := get(t, p.url+getTicketPath+"?type=jsapi"); a.status != http.StatusOK || a.body != refusal {
			t.Errorf("got %s", a)
		}
	}
	if n := w.count(getTicketPath); n > 2 {
		t.Errorf("WeChat was asked %d times", n)
	}
	if lines := p.logged("handled request"); len(lines) == 0 || lines[0]["errcode"] != "48001" || lines[0]["rid"] != "6571a2b3-1c2d3e4f-5a6b7c8d" {
		t.Errorf("%v", lines)
	}
	var s struct {
		State   string
		Tickets []struct {
			Type      string
			LastError struct{ Errcode int } `json:"last_error"`
		}
	}
	if err := json.Unmarshal([]byte(get(t, p.admin+"/weixin/accounts/shop").body), &s); err != nil || len(s.Tickets) != 1 ||
		s.Tickets[0].Type != "jsapi" || s.Tickets[0].LastError.Errcode != 48001 || s.State != "ok" {
		t.Errorf("%+v, %v", s, err)
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusOK {
		t.Errorf("health: %s", a)
	}
	if m := get(t, p.admin+"/metrics").body; !strings.Contains(m, `caddy_weixin_ticket_fetches_total{account="shop",result="48001",type="jsapi"}`) {
		t.Error("the metric is missing")
	}
}

// No client hears of a token's death by way of a ticket.
func TestTicketWithoutToken(t *testing.T) {
	t.Parallel()
	for _, errcode := range []int{40001, 42001, 40014} {
		w := startWeChat(t)
		w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"errcode":%d,"errmsg":"dead"}`, errcode)
		})
		p := startCaddy(t, w, config{})
		for range 3 {
			wantProxyError(t, get(t, p.url+getTicketPath+"?type=jsapi"), http.StatusServiceUnavailable, -1, "account shop")
		}
	}
	w := startWeChat(t)
	w.fail("token", 40164, 1000)
	p := startCaddy(t, w, config{})
	if a := get(t, p.url+getTicketPath+"?type=jsapi"); a.errcode() != 40164 || !strings.Contains(a.body, "weixin proxy: ") {
		t.Errorf("got %s", a)
	}
}

// The last one is served while WeChat gives none.
func TestTicketOutlivesTrouble(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	dir := t.TempDir()
	p := startCaddy(t, w, config{dataDir: dir})
	first := ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800)
	p.stop()
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	w.fail("token", -1, 1000)
	w.revoke()
	p = startCaddy(t, w, config{dataDir: dir})
	if ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800) != first {
		t.Error("it is another")
	}
	a := get(t, p.url+getTicketPath+"?type=2")
	if a.status < 500 || a.errcode() != -1 {
		t.Errorf("got %s", a)
	}
}

// The same rules hold for tickets as for any request.
func TestTicketsAreGuarded(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: defaultAccount + `
		caller sender {
			key {env.SENDER_KEY}
			allow /cgi-bin/message/*
		}
		caller pages {
			key {env.PAGES_KEY}
			allow /cgi-bin/ticket/*
		}`, env: []string{"SENDER_KEY=the-key-of-the-sender", "PAGES_KEY=the-key-of-the-pages"}})
	url := p.url + getTicketPath + "?type=jsapi"
	wantProxyError(t, get(t, url), http.StatusForbidden, 48001, "caller")
	req := newRequest(t, http.MethodGet, url, nil)
	req.Header.Set("Authorization", "Bearer the-key-of-the-sender")
	wantProxyError(t, do(t, req), http.StatusForbidden, 48001, "")
	req.Header.Set("Authorization", "Bearer the-key-of-the-pages")
	ticketOf(t, do(t, req), 1800)
	if a := get(t, url+"&access_token=cwxforged"); a.errcode() != 42001 {
		t.Errorf("got %s", a)
	}
	req.Header.Set("Origin", "https://shop.example.com")
	if a := do(t, req); a.status != http.StatusForbidden {
		t.Errorf("a page got %d", a.status)
	}
}

// A ticket is told of wherever an operator looks, and shown nowhere.
func TestTicketStatus(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin_status /status\nweixin"})
	get(t, p.url+getTicketPath+"?type=jsapi")
	m := get(t, p.admin+"/metrics").body
	for _, want := range []string{
		`caddy_weixin_ticket_fetches_total{account="shop",result="ok",type="jsapi"} 1`,
		`caddy_weixin_ticket_age_seconds{account="shop",type="jsapi"} `,
	} {
		if !strings.Contains(m, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(m, `type="wx_card"`) {
		t.Error("there is a metric of what nobody has asked for")
	}
	var s struct {
		Tickets []struct {
			Type, Fingerprint string
			FetchedAt         time.Time `json:"fetched_at"`
			CheckedAt         time.Time `json:"checked_at"`
		}
	}
	if err := json.Unmarshal([]byte(get(t, p.admin+"/weixin/accounts/shop").body), &s); err != nil || len(s.Tickets) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if out, ok := run(t, nil, "weixin", "status", "--address", strings.TrimPrefix(p.admin, "http://")); !ok || !strings.Contains(out, "ticket jsapi "+s.Tickets[0].Fingerprint+", confirmed ") {
		t.Errorf("the command says %s", out)
	}
	for language, word := range map[string]string{"en": "confirmed", "zh-CN": "确认于"} {
		req := newRequest(t, http.MethodGet, p.url+"/status", nil)
		req.Header.Set("Accept-Language", language)
		if a := do(t, req); !strings.Contains(a.body, "Ticket jsapi") || !strings.Contains(a.body, s.Tickets[0].Fingerprint) || !strings.Contains(a.body, word) {
			t.Errorf("the page says %s", a)
		}
	}
	if got := s.Tickets[0]; got.Type != "jsapi" || len(got.Fingerprint) != 8 || time.Since(got.CheckedAt) > time.Minute || got.FetchedAt.IsZero() {
		t.Errorf("%+v", got)
	}
}
