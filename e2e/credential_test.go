package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// trouble is what the admin API says of an account that fares badly.
type trouble struct {
	State, Kind, Advice string
	Since               time.Time
	Usable              bool
	LastError           map[string]any `json:"last_error"`
}

func troubleOf(t *testing.T, p *caddy) trouble {
	t.Helper()
	a := get(t, p.admin+"/weixin/accounts/shop")
	var s trouble
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK || s.Kind != "official" {
		t.Fatalf("got %s", a)
	}
	return s
}

// inBackoff returns an account's status between two tries to get a token, during
// which it is renewing.
func inBackoff(t *testing.T, p *caddy) trouble {
	t.Helper()
	var s trouble
	eventually(func() bool {
		s = troubleOf(t, p)
		return s.State == "backoff"
	})
	return s
}

func health(t *testing.T, p *caddy) int {
	t.Helper()
	return get(t, p.admin+"/weixin/health").status
}

// rejectAll has WeChat reject every token at every API.
func (w *weChat) rejectAll(checkable bool) {
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest rid: 1-2-3"}`)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checksFollowHook = checkable
}

// While WeChat rejects every token the account is rejected, and that is told
// wherever one can look; it is over with the first token that is accepted.
func TestStateRejected(t *testing.T) {
	t.Parallel()
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		for _, checkable := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, checkable %v", method, checkable), func(t *testing.T) {
				w := startWeChat(t)
				p := startCaddy(t, w, config{global: account})
				wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
				if s := troubleOf(t, p); s.State != "ok" || !s.Since.IsZero() || health(t, p) != http.StatusOK {
					t.Errorf("got %+v", s)
				}
				w.rejectAll(checkable)
				before := w.status().Fetches
				var since time.Time
				for range 40 {
					get(t, p.url+"/cgi-bin/user/get")
					s := troubleOf(t, p)
					if s.State != "rejected" || s.Since.IsZero() || s.Advice == "" || health(t, p) != http.StatusServiceUnavailable {
						t.Fatalf("got %+v, health %d", s, health(t, p))
					}
					if since.IsZero() {
						since = s.Since
					}
					if !s.Since.Equal(since) {
						t.Errorf("since %v, which was %v", s.Since, since)
					}
				}
				if n := w.status().Fetches - before; n > 7 {
					t.Errorf("one client had %d tokens fetched in vain", n)
				}
				out, ok := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(p.admin, "http://"))
				if ok || !strings.Contains(out, "rejected by WeChat for") || !strings.Contains(out, "WeChat's APIs reject") {
					t.Errorf("the command says %s", out)
				}
				metrics := get(t, p.admin+"/metrics").body
				for _, line := range []string{
					`caddy_weixin_state{account="shop",state="rejected"} 1`, `caddy_weixin_state{account="shop",state="ok"} 0`,
					`caddy_weixin_replays_total{account="shop",errcode="40001",result="gave_up"} `,
				} {
					if !strings.Contains(metrics, line) {
						t.Errorf("the metrics do not say %s", line)
					}
				}
				// A node that starts now, and this one after a restart, know.
				p.stop()
				p = startCaddy(t, w, config{global: account, dataDir: p.dataDir})
				if s := troubleOf(t, p); s.State != "rejected" || !s.Since.Equal(since) {
					t.Errorf("after a restart: %+v", s)
				}
				w.answer(nil)
				wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
				if s := troubleOf(t, p); s.State != "ok" || !s.Since.IsZero() || health(t, p) != http.StatusOK {
					t.Errorf("got %+v", s)
				}
			})
		}
	}
}

// A client that has WeChat say what a dead token says costs nobody the token.
func TestFakeVerdict(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"", "a back-off"} {
		t.Run(during, func(t *testing.T) {
			w := startWeChat(t)
			w.mu.Lock()
			w.checkable = true
			w.mu.Unlock()
			p := startCaddy(t, w, config{global: classicAccount})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			if during != "" {
				w.fail("token", 40164, 1000)
				post(t, p.admin+"/weixin/accounts/shop/refresh", "")
			}
			before := w.status()
			w.answer(func(rw http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/cgi-bin/media/get" {
					fmt.Fprint(rw, `{"errcode":40001}`)
					return
				}
				w.sandbox.ServeHTTP(rw, req)
			})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					for range 20 {
						get(t, p.url+"/cgi-bin/media/get?media_id=x")
						a := get(t, p.url+"/cgi-bin/user/get")
						wantOK(t, a)
						wantReplayed(t, a, "")
					}
				})
			}
			wg.Wait()
			if after := w.status(); after.Fetches != before.Fetches || after.FetchesRefused != before.FetchesRefused {
				t.Errorf("%d fetches", after.Fetches-before.Fetches+after.FetchesRefused-before.FetchesRefused)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.checks > 30 {
				t.Errorf("%d checks", w.checks)
			}
		})
	}
}

// The cause survives a restart, and is told by a node that has not seen it.
func TestCauseSurvives(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, option string) {
		w := startWeChat(t)
		w.fail("token", 40164, 1000)
		nodes := startCluster(t, w, 2, config{global: option + "\n" + defaultAccount})
		get(t, nodes[0].url+"/cgi-bin/user/get")
		for _, p := range nodes {
			s := inBackoff(t, p)
			if s.State != "backoff" || s.Since.IsZero() || !strings.Contains(s.Advice, "whitelist") || s.LastError["errcode"] != 40164.0 || s.LastError["at"] == "" {
				t.Errorf("got %+v", s)
			}
		}
		w.fail("token", 40164, 0)
		for _, p := range nodes {
			post(t, p.admin+"/weixin/accounts/shop/refresh", "")
			if s := troubleOf(t, p); s.State != "ok" || s.Advice != "" || s.LastError["errcode"] != 40164.0 || !strings.Contains(fmt.Sprint(s.LastError["advice"]), "whitelist") {
				t.Errorf("got %+v", s)
			}
		}
	})
}

// That WeChat cannot be reached is no errcode.
func TestUnreachableIsNoErrcode(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	global := strings.Replace(defaultAccount, "account shop {", "account shop {\n upstream http://127.0.0.1:1", 1)
	p := startCaddy(t, w, config{global: global})
	get(t, p.url+"/cgi-bin/user/get")
	for range 2 {
		s := inBackoff(t, p)
		_, hasErrcode := s.LastError["errcode"]
		if s.State != "backoff" || hasErrcode || s.LastError["unreachable"] != true || !strings.Contains(s.Advice, "DNS") {
			t.Errorf("got %+v", s)
		}
		out, _ := run(t, nil, "weixin", "status", "--address="+strings.TrimPrefix(p.admin, "http://"))
		if !strings.Contains(out, "unreachable") || !strings.Contains(out, "firewall") {
			t.Errorf("the command says %s", out)
		}
		p.stop()
		p = startCaddy(t, w, config{global: global, dataDir: p.dataDir})
	}
}
