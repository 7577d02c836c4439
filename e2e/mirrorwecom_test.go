package e2e

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// mirrorAccount is an application of the corporation with mirrors.
func mirrorAccount(name, secret, agentID, presets string) string {
	mirrors := ""
	for preset := range strings.FieldsSeq(presets) {
		mirrors += "mirror " + preset + " {env.MIRROR}\n"
	}
	return fmt.Sprintf("\n account %s {\n kind wecom\n corpid %s\n secret {env.%s}\n agentid %s\n upstream UPSTREAM\n %s\n }", name, corpID, secret, agentID, mirrors)
}

// startMirroredCorp starts a Caddy with accounts that have mirrors in r.
func startMirroredCorp(t *testing.T, r *redisServer, global string) *corp {
	t.Helper()
	t.Setenv("MIRROR", r.url(0))
	return startCorp(t, global, "weixin")
}

// Every SDK finds an application's token and tickets under its own keys, after a
// death too, and silenceper's own code reads all it looks for.
func TestMirrorWeCom(t *testing.T) {
	r := startRedis(t)
	c := startMirroredCorp(t, r, mirrorAccount("hr", "HR_SECRET", "1000002", "wxjava silenceper wechatpy powerwechat")+
		accountWith("mirror silenceper {env.MIRROR}"))
	wantOK(t, get(t, c.url+"/cgi-bin/user/simplelist?department_id=1&corpid="+corpID))
	jsapi := ticketOf(t, get(t, c.url+"/cgi-bin/get_jsapi_ticket"), 1800)
	agent := ticketOf(t, get(t, c.url+"/cgi-bin/ticket/get?type=agent_config"), 1800)
	ticketOf(t, get(t, c.url+getTicketPath+"?type=jsapi"), 1800)

	suffix := ":" + corpID + ":1000002"
	sum := md5.Sum([]byte(corpID + hrSecret))
	powerWeChat := "powerwechat.access_token." + hex.EncodeToString(sum[:])
	tokens := func(token string) map[string]string {
		return map[string]string{
			"wx:wechat_cp_access_token_key" + suffix:                   token,
			"wx:cp:wechat_cp_access_token_key" + suffix:                token,
			"wechat_cp_access_token_key" + suffix:                      token,
			"gowechat_work__access_token_" + corpID + "_1000002":       token,
			"gowechat_work__access_token_" + corpID:                    token,
			"wechatpy:" + corpID + "_secret-of-_access_token":          strconv.Quote(token),
			"wx:wechat_cp_jsapi_ticket_key" + suffix:                   jsapi,
			"wx:wechat_cp_agent_jsapi_ticket_key" + suffix:             agent,
			"gowechat_work__corp_jsapi_ticket_" + corpID:               jsapi,
			"gowechat_work__agent_jsapi_ticket_" + corpID + "_1000002": agent,
		}
	}
	current := func() string {
		var power struct {
			AccessToken string `json:"access_token"`
		}
		_ = json.Unmarshal([]byte(r.cli("get", powerWeChat)), &power)
		return power.AccessToken
	}
	if !eventually(func() bool { return current() != "" }) {
		t.Fatal("nothing is written for powerwechat")
	}
	first := current()
	for key, want := range tokens(first) {
		r.wait(key, want)
	}
	if _, ttl := r.get("wx:wechat_cp_access_token_key" + suffix); ttl < 7000 || ttl > 7200 {
		t.Errorf("wxjava's token lives for %d s", ttl)
	}
	c.wantNotLogged(jsapi, agent)

	c.agent(http.MethodPost, "1000002", "/revoke")
	wantReplayed(t, get(t, c.url+"/cgi-bin/user/simplelist?department_id=1&corpid="+corpID), "40014")
	if !eventually(func() bool { token := current(); return token != "" && token != first }) {
		t.Error("the next token is not written")
	}
	for key, want := range tokens(current()) {
		r.wait(key, want)
	}
	bin, err := mirrored()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, fmt.Sprintf("127.0.0.1:%d", r.port), appID, corpID, "1000002").CombinedOutput(); err != nil {
		t.Errorf("silenceper asks WeCom itself: %s", out[max(0, len(out)-200):])
	}
}

// Where two applications of a corporation are mirrored, none has a key that does
// not tell them apart.
func TestMirrorWeComTwoApplications(t *testing.T) {
	r := startRedis(t)
	c := startMirroredCorp(t, r, mirrorAccount("hr", "HR_SECRET", "1000002", "silenceper wxjava")+mirrorAccount("sales", "SALES_SECRET", "1000003", "silenceper wxjava"))
	for _, id := range []string{"1000002", "1000003"} {
		for _, key := range []string{"gowechat_work__access_token_" + corpID + "_" + id, "wx:cp:wechat_cp_access_token_key:" + corpID + ":" + id} {
			if !eventually(func() bool { return r.cli("exists", key) == "1" }) {
				t.Errorf("%s is not written", key)
			}
		}
	}
	hr, sales := r.cli("get", "gowechat_work__access_token_"+corpID+"_1000002"), r.cli("get", "gowechat_work__access_token_"+corpID+"_1000003")
	if hr == sales || hr == "" {
		t.Error("both have one token")
	}
	if r.cli("exists", "gowechat_work__access_token_"+corpID) != "0" {
		t.Error("a key for both is written")
	}
	c.agent(http.MethodPost, "1000002", "/revoke")
	wantOK(t, get(t, c.url+"/cgi-bin/user/simplelist?department_id=1&access_token="+c.mustToken("hr")))
	if !eventually(func() bool {
		now := r.cli("get", "gowechat_work__access_token_"+corpID+"_1000002")
		return now != hr && now != ""
	}) {
		t.Error("the next token is not written")
	}
	if r.cli("get", "gowechat_work__access_token_"+corpID+"_1000003") != sales {
		t.Error("the other application's token has changed")
	}
}

// What a hub hands out for an application is of no use to who calls WeCom.
func TestMirrorWeComOfAHub(t *testing.T) {
	r := startRedis(t)
	t.Setenv("MIRROR", r.url(0))
	kind := hubKinds[3]
	kind.spoke = mirrorAccount("hr", "KEY", "1000002", "silenceper")
	s := startHub(t, kind).startSpoke(hubKey)
	wantOK(t, s.call())
	if !eventually(func() bool { return len(s.logged("the account's mirror is not written")) == 1 }) {
		t.Fatal("nothing is said of it")
	}
	if line := s.logged("the account's mirror is not written")[0]; !strings.Contains(fmt.Sprint(line["error"]), "write mirror there") {
		t.Errorf("%v", line)
	}
	if keys := r.cli("keys", "*"); keys != "" {
		t.Errorf("written: %s", keys)
	}
}
