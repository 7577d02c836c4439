package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const classicAccount = `
	account shop {
		appid {env.WEIXIN_APPID}
		secret {env.WEIXIN_SECRET}
		token classic
	}`

func TestRestartAndReloadCostNoFetch(t *testing.T) {
	t.Parallel()
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{global: account})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			for i := range 3 {
				p.reload(w, config{global: account, site: fmt.Sprintf("header X-Reload %d\n weixin", i)})
				wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			}
			p.stop()
			again := startCaddy(t, w, config{global: account, dataDir: p.dataDir})
			wantOK(t, get(t, again.url+"/cgi-bin/user/get"))
			again.kill()
			again = startCaddy(t, w, config{global: account, dataDir: p.dataDir})
			wantOK(t, get(t, again.url+"/cgi-bin/user/get"))
			if n := w.status().Fetches; n != 1 {
				t.Errorf("%d fetches", n)
			}
		})
	}
}

// served returns nil if a request is answered with success. Caddy's listener may
// drop a connection that it has not served yet while it changes hands, so another
// is tried.
func served(p *caddy) (err error) {
	eventually(func() bool {
		var res *http.Response
		if res, err = client.Get(p.url + "/cgi-bin/user/get"); err != nil {
			return false
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		if !strings.HasPrefix(string(body), `{"total"`) {
			err = fmt.Errorf("%s %s", res.Status, body)
		}
		return true
	})
	return err
}

// Requests that are under way during a reload are answered.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	stop := make(chan struct{})
	var failures failures
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := served(p); err != nil {
					failures.add(err.Error())
				}
			}
		})
	}
	for i := range 5 {
		p.reload(w, config{site: fmt.Sprintf("header X-Reload %d\n weixin", i)})
		w.revoke()
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	failures.report(t)
}

// Processes that share a storage fetch once between them.
func TestProcessesShareTheStorage(t *testing.T) {
	t.Parallel()
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			w := startWeChat(t)
			w.setLatency(300 * time.Millisecond)
			dir := t.TempDir()
			var processes []*caddy
			for range 3 {
				processes = append(processes, startCaddy(t, w, config{global: account, dataDir: dir}))
			}
			var failures failures
			all := func() {
				var wg sync.WaitGroup
				for _, p := range processes {
					for range 20 {
						wg.Go(func() {
							if err := served(p); err != nil {
								failures.add(err.Error())
							}
						})
					}
				}
				wg.Wait()
			}
			all()
			for range 3 {
				w.revoke()
				all()
			}
			failures.report(t)
			if n := w.status().Fetches; n != 4 {
				t.Errorf("%d fetches, want 4: one to begin with and one for each death", n)
			}
		})
	}
}

func TestStorageShowsNoToken(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	files := 0
	err := filepath.WalkDir(p.dataDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(path, "weixin") {
			files++
		}
		for _, secret := range []string{w.currentToken(), appSecret} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s shows a secret", path)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}

// Caddy serves at once, whatever WeChat does, and recovers by itself.
func TestStartWithoutWeChat(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	w.fail("token", 40164, 1000)
	p := startCaddy(t, w, config{})
	a := get(t, p.url+"/cgi-bin/user/get")
	if a.status < 500 || a.errcode() != 40164 || !strings.Contains(a.body, "IP whitelist") {
		t.Errorf("got %s", a)
	}
	for range 50 {
		get(t, p.url+"/cgi-bin/user/get")
	}
	if n := w.status().FetchesRefused; n > 3 {
		t.Errorf("the token endpoint was asked %d times", n)
	}
	failures := p.logged("token fetch failed")
	if len(failures) == 0 || failures[0]["errcode"] != 40164.0 || failures[0]["advice"] == nil || failures[0]["next_try"] == nil {
		t.Errorf("logged %v", failures)
	}
	w.fail("token", 40164, 0)
	if !eventually(func() bool { return get(t, p.url+"/cgi-bin/user/get").errcode() == 0 }) {
		t.Error("it does not recover")
	}
}

// The AppSecret is wrong. SDKs answer 40001 with another fetch, so they are
// told otherwise.
func TestWrongSecret(t *testing.T) {
	t.Parallel()
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{global: account, env: []string{"WEIXIN_SECRET=wrong-but-not-shown"}})
			a := get(t, p.url+"/cgi-bin/user/get")
			if a.status < 500 || a.errcode() != 40125 || !strings.Contains(a.body, "AppSecret") {
				t.Errorf("got %s", a)
			}
			if p.logs.contains("wrong-but-not-shown") || strings.Contains(a.body, "wrong-but-not-shown") {
				t.Error("the secret is shown")
			}
		})
	}
}

// Only expires_in counts: with tokens of a few seconds everything works, and
// nothing is even replayed.
func TestShortLifetimes(t *testing.T) {
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := startWeChatWith(t, sandbox.Config{ExpiresIn: 3 * time.Second})
			p := startCaddy(t, w, config{global: account})
			for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				a := get(t, p.url+"/cgi-bin/user/get")
				wantOK(t, a)
				wantReplayed(t, a, "")
			}
			if n := w.status().Fetches; n < 3 || n > 8 {
				t.Errorf("%d fetches in eight seconds", n)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	first := p.logged("token fetched")
	if len(first) != 1 || first[0]["account"] != "shop" || first[0]["method"] != "stable" || first[0]["lifetime"] == nil || first[0]["token"] == nil {
		t.Errorf("logged %v", first)
	}
	w.revoke()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get?access_token="+w.currentToken()+"&secret="+appSecret))
	eventually(func() bool { return len(p.logged("request replayed")) > 0 })
	replayed := p.logged("request replayed")
	if len(replayed) != 1 || replayed[0]["errcode"] != 40001.0 || replayed[0]["path"] != "/cgi-bin/user/get" || replayed[0]["rejected"] != first[0]["token"] {
		t.Errorf("logged %v", replayed)
	}
	if n := len(p.logged("token rejected")); n != 1 {
		t.Errorf("%d lines about the rejected token", n)
	}
}

func TestConfigDumpShowsNoSecret(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	res, err := http.Get(p.admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	dump, _ := io.ReadAll(res.Body)
	if !strings.Contains(string(dump), "{env.WEIXIN_SECRET}") || strings.Contains(string(dump), appSecret) {
		t.Errorf("got %s", dump)
	}
}
