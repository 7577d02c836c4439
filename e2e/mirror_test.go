package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirrored builds what reads a mirror with silenceper's own code.
var mirrored = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "mirrored")
	cmd := exec.Command("go", "build", "-o", bin, "./mirrored")
	cmd.Dir = filepath.Join("sdk", "silenceper")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &installError{string(out), err}
	}
	return bin, nil
})

func (r *redisServer) url(db int) string { return fmt.Sprintf("redis://127.0.0.1:%d/%d", r.port, db) }

// get returns a key's value and how long it has to live.
func (r *redisServer) get(key string) (value string, ttl int) {
	ttl, _ = strconv.Atoi(r.cli("ttl", key))
	return r.cli("get", key), ttl
}

func (r *redisServer) wait(key, want string) {
	r.t.Helper()
	if !eventually(func() bool { return r.cli("get", key) == want }) {
		r.t.Errorf("%s is not what it should be", key)
	}
}

// Every SDK finds what it looks for, under its key and in its form.
func TestMirrorPresets(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		global: accountWith(`
			mirror wxjava {env.MIRROR}
			mirror silenceper {env.MIRROR}
			mirror wechatpy {env.MIRROR}
			mirror powerwechat {env.MIRROR}
			mirror wxjava {env.MIRROR} {
				prefix shop
			}`),
		env: []string{"MIRROR=" + r.url(0)},
	})
	var token string
	if !eventually(func() bool { token = r.cli("get", "wx:access_token:"+appID); return token != "" }) {
		t.Fatal("nothing is written")
	}
	if token != w.currentToken() {
		t.Error("it is another token")
	}
	ticket := ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800)
	r.wait("wx:ticket:key:"+appID+":jsapi", ticket)
	r.wait("shop:access_token:"+appID, token)
	r.wait("shop:ticket:key:"+appID+":jsapi", ticket)
	for _, key := range []string{
		"gowechat_officialaccount__access_token_", "gowechat_officialaccount__stable_access_token_",
		"gowechat_miniprogram__access_token_", "gowechat_miniprogram__stable_access_token_",
	} {
		r.wait(key+appID, token)
	}
	r.wait("gowechat_officialaccount__jsapi_ticket_"+appID, ticket)
	r.wait("wechatpy:"+appID+"_access_token", strconv.Quote(token))
	r.wait("wechatpy:"+appID+"_jsapi_ticket", strconv.Quote(ticket))
	if r.cli("exists", "wechatpy:"+appID+"_access_token_expires_at") != "0" {
		t.Error("wechatpy would fetch again")
	}
	var power struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	for key := range strings.FieldsSeq(r.cli("keys", "powerwechat.access_token.*")) {
		if err := json.Unmarshal([]byte(r.cli("get", key)), &power); err != nil {
			t.Error(err)
		}
	}
	if power.AccessToken != token || power.ExpiresIn < 7000 {
		t.Errorf("powerwechat would take a token for %d s", power.ExpiresIn)
	}
	if _, ttl := r.get("wx:access_token:" + appID); ttl < 7000 || ttl > 7200 {
		t.Errorf("wxjava's token lives for %d s", ttl)
	}
	if lines := p.logged("the account's real token is written into Redis, where the SDK looks for it: whoever can read that Redis can use it, and no caller's rules bind them"); len(lines) != 5 {
		t.Errorf("%d lines say so", len(lines))
	}
	p.wantNotLogged(ticket, r.url(0))

	// An SDK's own code finds the first of them.
	bin, err := mirrored()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(bin, fmt.Sprintf("127.0.0.1:%d", r.port), appID, "corp", "1").CombinedOutput()
	if strings.Contains(string(out), "official account, stable false: the SDK asks WeChat") {
		t.Error("silenceper asks WeChat itself")
	}
}

// A token that dies is followed by the next, before an application can notice
// where the old one lives on; where there is no other, none is left.
func TestMirrorFollows(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: accountWith("token classic\nmirror wxjava " + r.url(0))})
	key := "wx:access_token:" + appID
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	first := w.currentToken()
	r.wait(key, first)
	// The old one is good for 5 more minutes when the next is there.
	wantOK(t, post(t, p.admin+"/weixin/accounts/shop/refresh", ""))
	if w.currentToken() == first {
		t.Fatal("there is no other token")
	}
	r.wait(key, w.currentToken())

	w.revoke()
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
	r.wait(key, w.currentToken())

	// Whatever has become of the keys, a new process writes them.
	r.cli("flushall")
	p.stop()
	p = startCaddy(t, w, config{global: accountWith("token classic\nmirror wxjava " + r.url(0)), dataDir: p.dataDir})
	r.wait(key, w.currentToken())

	w.fail("token", 40164, 1000)
	w.revoke()
	get(t, p.url+"/cgi-bin/user/get")
	if !eventually(func() bool { return r.cli("exists", key) == "0" }) {
		t.Error("a dead token is left")
	}
	w.fail("token", 40164, 0)
	wantOK(t, post(t, p.admin+"/weixin/accounts/shop/refresh", ""))
	r.wait(key, w.currentToken())
}

// A Redis that is away is told of once, and gets everything when it is back.
func TestMirrorOfARedisThatIsAway(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.kill()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: accountWith("mirror silenceper " + r.url(0))})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if !eventually(func() bool { return len(p.logged("the account's mirror is not written")) > 0 }) {
		t.Error("nothing is said of it")
	}
	time.Sleep(6 * time.Second) // it is tried again meanwhile
	r.start()
	r.wait("gowechat_miniprogram__access_token_"+appID, w.currentToken())
	if n := len(p.logged("the account's mirror is not written")); n != 1 {
		t.Errorf("%d lines", n)
	}
	if !eventually(func() bool { return len(p.logged("the account's mirror is written again")) == 1 }) {
		t.Error("nothing is said of its end")
	}
}

// During a reload the newest configuration writes, and each after the last.
func TestMirrorReload(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: accountWith("mirror wxjava " + r.url(0))})
	r.wait("wx:access_token:"+appID, waitToken(t, p, w))
	p.reload(w, config{global: accountWith("mirror wxjava " + r.url(0)), options: "grace_period 1s"})
	p.reload(w, config{global: accountWith("mirror wxjava " + r.url(1)), options: "grace_period 2s"})
	if !eventually(func() bool { return r.cli("-n", "1", "get", "wx:access_token:"+appID) == w.currentToken() }) {
		t.Error("the new place is not written")
	}
	w.revoke()
	wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
	if !eventually(func() bool { return r.cli("-n", "1", "get", "wx:access_token:"+appID) == w.currentToken() }) {
		t.Error("the new token is not written")
	}
}

func waitToken(t *testing.T, p *caddy, w *weChat) string {
	t.Helper()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	return w.currentToken()
}

// What a hub hands out is of no use to who calls WeChat.
func TestMirrorOfAHub(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	hub := startCaddy(t, w, config{global: defaultAccount + "\ncaller test {\nkey {env.TEST_KEY}\n}", env: []string{"TEST_KEY=the-key-of-the-test"}})
	p := startCaddy(t, w, config{noUpstream: true, env: []string{"WEIXIN_SECRET=the-key-of-the-test"}, global: accountWith("upstream " + hub.url + "\nmirror wxjava " + r.url(0))})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	ticketOf(t, get(t, p.url+getTicketPath+"?type=jsapi"), 1800)
	if !eventually(func() bool { return len(p.logged("the account's mirror is not written")) == 1 }) {
		t.Fatal("nothing is said of it")
	}
	if line := p.logged("the account's mirror is not written")[0]; !strings.Contains(fmt.Sprint(line["error"]), "write mirror there") {
		t.Errorf("%v", line)
	}
	if keys := r.cli("keys", "*"); keys != "" {
		t.Errorf("written: %s", keys)
	}
}

func TestMirrorOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ option, mentions string }{
		"no URL":          {"mirror wxjava", "mirror wxjava {env.REDIS_URL}"},
		"unknown preset":  {"mirror easywechat redis://127.0.0.1/0", "wxjava, silenceper, wechatpy, powerwechat"},
		"no Redis":        {"mirror wxjava 127.0.0.1:6379", "@127.0.0.1:6379/0"},
		"twice":           {"mirror wxjava redis://127.0.0.1/0\nmirror wxjava redis://127.0.0.1/0", "leave one out"},
		"unknown option":  {"mirror wxjava redis://127.0.0.1/0 {\nttl 1\n}", "write prefix"},
		"not in the env":  {"mirror wxjava {env.NOT_SET}", "NOT_SET"},
		"tickets":         {"tickets never", "kept or pass"},
		"tickets, no way": {"tickets", "tickets pass"},
	} {
		t.Run(name, func(t *testing.T) {
			out, ok := run(t, sandboxEnv, validateArgs(t, "{\n weixin {\n"+accountWith(c.option)+"\n}\n}\n:8080 {\nweixin\n}\n")...)
			if ok || !strings.Contains(out, c.mentions) {
				t.Errorf("%v: %s", ok, out)
			}
		})
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
