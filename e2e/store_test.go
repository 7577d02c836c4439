package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// user makes a user of the server's that may do what is listed, and returns the
// store option that is it.
func (r *redisServer) user(commands string) string {
	r.t.Helper()
	args := append([]string{"acl", "setuser", "proxy", "reset", "on", ">not-a-secret-here", "resetkeys", "~weixin:*"}, strings.Fields(commands)...)
	if got := r.cli(args...); got != "OK" {
		r.t.Fatalf("%v: %s", args, got)
	}
	return fmt.Sprintf("store redis redis://proxy:not-a-secret-here@127.0.0.1:%d", r.port)
}

// Who has no scripting has one fetch for every death as well.
func TestRedisWithoutScripting(t *testing.T) {
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			r := startRedis(t)
			w := startWeChat(t)
			nodes := startCluster(t, w, 2, config{global: r.user("+get +set +del") + "\n" + account, fast: true})
			wantOK(t, get(t, nodes[0].url+"/cgi-bin/user/get"))
			w.setLatency(200 * time.Millisecond)
			tr := startTraffic(nodes, 100)
			for range 4 {
				time.Sleep(800 * time.Millisecond)
				w.dieOnce()
			}
			time.Sleep(800 * time.Millisecond)
			tr.stop(t)
			if n := w.status().Fetches; n != 5 {
				t.Errorf("%d fetches, want 5: one to begin with, and one for each of four deaths", n)
			}
			if keys := r.cli("keys", "weixin:locks/*"); keys != "" {
				t.Errorf("a lock was kept: %s", keys)
			}
			for _, p := range nodes {
				if p.logs.contains("not-a-secret-here") {
					t.Error("the password is in the log")
				}
			}
		})
	}
}

// A store that refuses is told of wherever an operator looks, and hurts nobody
// while the token is good.
func TestRedisRefuses(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	option := r.user("+get +eval +del")
	p := startCaddy(t, w, config{
		global: option + "\n" + defaultAccount, options: "metrics",
		site: "weixin_status /status\n metrics /metrics\n weixin",
	})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	const cure = "ACL SETUSER <user> resetkeys ~weixin:* +get +set +del +eval"
	advice := func() string {
		for _, warning := range statusOf(t, get(t, p.admin+"/weixin/accounts/shop")).Warnings {
			if warning.Code == "store" {
				return warning.Advice
			}
		}
		return ""
	}
	if !eventually(func() bool { return strings.Contains(advice(), cure) }) {
		t.Errorf("the status says %q", advice())
	}
	if a := get(t, p.admin+"/weixin/health"); a.status != http.StatusOK {
		t.Errorf("health: %s", a)
	}
	if a := get(t, p.url+"/metrics"); !strings.Contains(a.body, "\ncaddy_weixin_store_up 0\n") {
		t.Errorf("the metric says otherwise:\n%s", a.body)
	}
	req := newRequest(t, http.MethodGet, p.url+"/status", nil)
	req.Header.Set("Accept-Language", "zh-CN")
	if a := do(t, req); !strings.Contains(a.body, "resetkeys ~weixin:* &#43;get") || !strings.Contains(a.body, "请给 Redis 用户所需的权限") {
		t.Errorf("the page says otherwise:\n%s", a.body)
	}
	// Whatever goes on, the log says it once.
	for range 3 {
		w.revoke()
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	}
	time.Sleep(3 * time.Second)
	said := 0
	for line := range strings.Lines(p.logs.String()) {
		if strings.Contains(line, "NOPERM") && !strings.Contains(line, `"level":"debug"`) {
			said++
		}
	}
	if said != 1 {
		t.Errorf("the log says it %d times", said)
	}
	r.user("+get +set +del +eval")
	if !eventually(func() bool { return advice() == "" }) {
		t.Errorf("the status still says %q", advice())
	}
	if a := get(t, p.url+"/metrics"); !strings.Contains(a.body, "\ncaddy_weixin_store_up 1\n") {
		t.Errorf("the metric says otherwise:\n%s", a.body)
	}
	if n := len(p.logged("the store is back")); n != 1 {
		t.Errorf("that it is back is logged %d times", n)
	}
}

// Whatever is wrong with a URL, no command prints its password.
func TestRedisPasswordStaysHidden(t *testing.T) {
	t.Parallel()
	const password = "Zq7Vx9Kw3J"
	for _, url := range []string{
		"redis://:/%s@127.0.0.1:6379/0", "redis://:#%s@127.0.0.1", "redis://u:12/%s@127.0.0.1", "redis://u:12?%s@127.0.0.1",
		"redis://:100%%%s@127.0.0.1", "redis://%s@127.0.0.1", "http://:%s@127.0.0.1", "redis://:a %s@127.0.0.1", "redis://:%s@", "redis://:{%s}@h",
	} {
		url = fmt.Sprintf(url, password)
		for where, literal := range map[string]string{"literal": url, "environment": "{env.REDIS_URL}"} {
			t.Run(where+" "+strings.ReplaceAll(url, password, "…"), func(t *testing.T) {
				file := t.TempDir() + "/Caddyfile"
				text := "{\n weixin {\n store redis " + literal + "\n account shop {\n appid a\n secret b\n }\n }\n}\n:1 {\n weixin\n}\n"
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				out, ok := run(t, []string{"REDIS_URL=" + url}, "validate", "--config", file, "--adapter", "caddyfile")
				if ok {
					t.Error("it was taken")
				}
				if strings.Contains(out, password[:4]) || strings.Contains(out, password[4:]) {
					t.Errorf("the password is in:\n%s", out)
				}
			})
		}
	}
}

// The configuration, as Caddy shows it, has the placeholder.
func TestRedisPasswordIsInNoDump(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	url := strings.TrimPrefix(r.user("+@all"), "store redis ")
	p := startCaddy(t, w, config{global: "store redis {env.REDIS_URL}\n" + defaultAccount, env: []string{"REDIS_URL=" + url}})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	a := get(t, p.admin+"/config/")
	if !json.Valid([]byte(a.body)) || strings.Contains(a.body, "not-a-secret-here") || p.logs.contains("not-a-secret-here") {
		t.Errorf("got %s", a)
	}
	const warning = "the password of Redis stands in the configuration itself, where it can be read: write a placeholder such as {env.REDIS_URL}"
	if len(p.logged(warning)) != 0 {
		t.Error("it warns of a password that is in the environment")
	}
	p = startCaddy(t, w, config{global: "store redis " + url + "\n" + defaultAccount})
	if len(p.logged(warning)) != 1 {
		t.Error("it does not warn of a password in the configuration")
	}
}
