package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	otherKey = `
	caller test {
		key {env.HUB_KEY_2}
	}
	caller ci {
		key {env.CI_HUB_KEY}
	}`
	bothKeys = hubCallers + `
	caller test-next {
		key {env.HUB_KEY_2}
	}`
)

func isServed(a answer) bool { return a.status == http.StatusOK && a.errcode() == 0 }

// until calls until an answer is as it should be. A reload of the hub's is not over
// when it is answered: connections may still end, and a check that has just found a
// token good counts for a moment.
func (s *spoke) until(what string, isSo func(answer) bool) answer {
	s.t.Helper()
	var a answer
	if !eventually(func() bool { a = s.call(); return isSo(a) }) {
		s.t.Errorf("not %s: %s", what, a)
	}
	return a
}

// wantKeyRefused checks that somebody behind the hub is told about its key, and
// nothing of an AppSecret at WeChat.
func (s *spoke) wantKeyRefused() {
	s.t.Helper()
	a := s.until("refused", func(a answer) bool { return strings.Contains(a.body, "no caller's key") })
	if a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable ||
		!strings.Contains(a.body, "The upstream is another caddy-weixin and refuses") || strings.Contains(a.body, "console") {
		s.t.Errorf("got %s", a)
	}
	if code := a.errcode(); code != 40125 && code != -1 {
		s.t.Errorf("errcode %d", code)
	}
	status := get(s.t, s.admin+"/weixin/accounts").body
	if !strings.Contains(status, "its caller's key, not an AppSecret") || !strings.Contains(status, `"state":"backoff"`) {
		s.t.Errorf("status %s", status)
	}
	if health := get(s.t, s.admin+"/weixin/health"); health.status != http.StatusServiceUnavailable {
		s.t.Errorf("health %s", health)
	}
}

// A key that is not the hub's any more is told, with what to do, and all is well
// again when it is right at either end.
func TestHubKeyChanges(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		s, ci := h.startSpoke(hubKey), h.startSpoke(ciHubKey)
		wantOK(t, s.call())
		wantOK(t, ci.call())
		before := h.settledFetches()

		h.reloadHub(otherKey)
		s.wantKeyRefused()
		ci.until("untouched", isServed)
		h.reloadHub(hubCallers) // the change is taken back
		s.until("served with the key of before", isServed)

		h.reloadHub(otherKey)
		s.wantKeyRefused()
		next := h.spokeConfig(hubKey2)
		next.env = nil
		s.reload(h.w, next)
		s.until("served with the new key", isServed)
		if n := h.fetches(); n != before {
			t.Errorf("%d fetches at WeChat, %d before", n, before)
		}
	})
}

// With the old and the new key at the hub for a while, no request fails.
func TestHubKeyChangesWithoutAnybodyNoticing(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		s := h.startSpoke(hubKey)
		wantOK(t, s.call())
		stop, done := make(chan struct{}), make(chan *failures)
		go func() {
			f, n := new(failures), 0
			for {
				select {
				case <-stop:
					if n == 0 {
						f.add("none was sent")
					}
					done <- f
					return
				default:
				}
				// A request that meets a connection which a reload is about to close is
				// lost: nobody may send it again.
				a := tryGet(client, s.url+h.kind.path)
				if a.status == 0 || strings.Contains(a.body, "the request to WeChat failed") {
					continue
				}
				n++
				if !isServed(a) {
					f.add(a.String())
				}
			}
		}()
		h.reloadHub(bothKeys)
		s.reload(h.w, h.spokeConfig(hubKey2))
		s.until("served with the new key", isServed)
		h.reloadHub(otherKey)
		s.until("served without the old key", isServed)
		h.kill()
		s.until("served with another token", isServed)
		close(stop)
		(<-done).report(t)
	})
}

// The hub's tokens end with its AppSecret. Nobody behind it notices: what carries
// the old one is sent again, once, and was not at WeChat before.
func TestHubSecretChanges(t *testing.T) {
	const nextSecret = "fedcba9876543210fedcba9876543210"
	h := startHub(t, hubKinds[0])
	s := h.startSpoke(hubKey)
	token := s.login()
	target := s.url + h.kind.path + "&access_token=" + token
	wantOK(t, get(t, target))

	h.hub.stop()
	h.w = startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{{AppID: appID, AppSecret: nextSecret}}})
	h.w.secrets = append(h.w.secrets, nextSecret, hubKey)
	h.kind.hub = hubAccount(nextSecret, "")
	h.startHub(hubCallers)
	a := post(t, target, "{}")
	wantOK(t, a)
	wantReplayed(t, a, "42001")
	if n := h.sentPosts(); n != 1 {
		t.Errorf("WeChat got %d requests", n)
	}
	wantOK(t, get(t, target))
}

// What the hub does not allow is told in its words, and is no token's death.
func TestHubRules(t *testing.T) {
	eachHub(t, func(t *testing.T, h *hubs) {
		s := h.startSpoke(hubKey)
		wantOK(t, s.call())
		const allowed = "\n caller test {\n key {env.HUB_KEY}\n allow /cgi-bin/message/*\n }"
		h.reloadHub(allowed)
		refused := func(a answer) bool { return a.status == http.StatusForbidden }
		errcode := map[bool]int{true: -1, false: 48001}[strings.HasPrefix(h.kind.name, "wecom")]
		wantProxyError(t, s.until("refused", refused), 403, errcode, "its allow does not have it")
		if n := len(s.logged("request replayed")); n != 0 {
			t.Errorf("%d requests were replayed", n)
		}

		const elsewhere = "\n caller test {\n key {env.HUB_KEY}\n ips 203.0.113.7\n }"
		h.reloadHub(elsewhere)
		ofAddress := func(a answer) bool { return strings.Contains(a.body, "add it to its ips") }
		wantProxyError(t, s.until("refused for its address", ofAddress), 403, errcode, "ips")
		late := h.startSpoke(hubKey)
		if a := late.call(); a.status < 500 || !strings.Contains(a.body, "add it to its ips") || !strings.Contains(a.body, "caller's key, not an AppSecret") {
			t.Errorf("got %s", a)
		}
		h.hub.reload(h.w, config{global: h.hubConfig(hubCallers), options: "grace_period 1s", site: "weixin {\n allow_ips 203.0.113.7\n }"})
		wantProxyError(t, s.until("refused by allow_ips", refused), 403, errcode, "add it to allow_ips")
		h.reloadHub(hubCallers)
		s.until("served once it is allowed", isServed)
		late.until("served once it is allowed", isServed)
	})
}
