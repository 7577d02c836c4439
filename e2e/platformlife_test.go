package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// merchantIDs returns the AppIDs of n merchants.
func merchantIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("wx00000000000a%04d", i)
	}
	return ids
}

// callAll has nodes called for all merchants at once, in turn.
func callAll(t *testing.T, nodes []*caddy, merchants []string) {
	t.Helper()
	var calls sync.WaitGroup
	for i, appID := range merchants {
		calls.Go(func() {
			if a := get(t, nodes[i%len(nodes)].url+"/cgi-bin/user/get?appid="+appID); a.status != http.StatusOK || a.errcode() != 0 {
				t.Errorf("%s: %s", appID, a)
			}
		})
	}
	calls.Wait()
}

// The tokens of many merchants die at once, and one application calls for all of
// them: each is cured once, and none for want of another.
func TestPlatformManyDeathsAtOnce(t *testing.T) {
	t.Parallel()
	merchants := merchantIDs(30)
	o := startOpenPlatform(t, merchants...)
	p := o.start(platformConfig())
	o.mustPush()
	nodes := []*caddy{p}
	callAll(t, nodes, merchants)
	for death := 2; death <= 3; death++ {
		for _, appID := range merchants {
			o.do("/authorizers/" + appID + "/revoke")
		}
		o.do("/revoke")
		callAll(t, nodes, merchants)
		for _, appID := range merchants {
			if is := o.counted("/authorizers/" + appID); is.Fetches != death {
				t.Errorf("%s: %+v", appID, is)
			}
		}
		if is := o.counted(""); is.Fetches != death {
			t.Errorf("%+v", is)
		}
	}
}

// More merchants than are found a minute of those that somebody makes up are found
// after the store was lost, under reloads that make the working set smaller.
func TestPlatformStoreLostUnderReloads(t *testing.T) {
	t.Parallel()
	merchants := merchantIDs(100)
	o := startOpenPlatform(t, merchants...)
	redis := startRedis(t)
	with := func(inMemory int) config {
		c := platformConfig(fmt.Sprintf("authorizers_in_memory %d", inMemory))
		c.global += redis.option() + "\n"
		return c
	}
	p := o.start(with(100))
	o.mustPush()
	nodes := []*caddy{p}
	callAll(t, nodes, merchants)
	for _, inMemory := range []int{3, 50, 1} {
		redis.cli("flushall")
		o.mustPush()
		p.reload(o.weChat, with(inMemory))
		callAll(t, nodes, merchants)
	}
	if n := o.count(authorizerListPath); n != 0 {
		t.Errorf("the list was read %d times", n)
	}
}

// A node that has missed deaths hears of what the other has fetched, and sees that
// it is dead as well. What was pushed to one works at the other at once.
func TestPlatformNodesTakeTurns(t *testing.T) {
	t.Parallel()
	o := startOpenPlatform(t, merchantID)
	redis := startRedis(t)
	c := platformConfig()
	c.global += redis.option() + "\n"
	nodes := startCluster(t, o.weChat, 2, c)
	path := "/cgi-bin/user/get?appid=" + merchantID
	for _, p := range nodes {
		if a := get(t, p.url+path); a.status == http.StatusOK {
			t.Errorf("%s", a)
		}
	}
	o.pushTo(nodes[0])
	o.mustPush()
	wantOK(t, get(t, nodes[1].url+path))
	wantOK(t, get(t, nodes[0].url+path))
	for i := range 6 {
		for _, death := range []string{"/authorizers/" + merchantID + "/revoke", "/revoke"} {
			o.do(death)
			wantOK(t, get(t, nodes[i/2%2].url+path))
			o.do(death)
			wantOK(t, get(t, nodes[(i/2+1)%2].url+path))
			wantOK(t, get(t, nodes[i%2].url+"/wxa/gettemplatelist"))
		}
	}
	o.unauthorize(merchantID)
	for _, p := range nodes {
		if a := get(t, p.url+path); a.status == http.StatusOK && a.errcode() == 0 {
			t.Errorf("%s", a)
		}
	}
	code, _ := o.authorize(merchantID)
	newPlatformClient(nodes[0], "x").queryAuth(code)
	wantOK(t, get(t, nodes[1].url+path))
}

// A crash during fetches loses no authorisation, and nothing is read again but
// what was on its way.
func TestPlatformCrashesUnderLoad(t *testing.T) {
	t.Parallel()
	merchants := merchantIDs(20)
	o := startOpenPlatform(t, merchants...)
	redis := startRedis(t)
	c := platformConfig()
	c.global += redis.option() + "\n"
	p := o.start(c)
	o.mustPush()
	callAll(t, []*caddy{p}, merchants)
	infos := o.count(authorizerInfoPath)
	for _, appID := range merchants {
		o.do("/authorizers/" + appID + "/expire")
	}
	var calls sync.WaitGroup
	for _, appID := range merchants {
		calls.Go(func() {
			res, err := client.Get(p.url + "/cgi-bin/user/get?appid=" + appID)
			if err == nil {
				res.Body.Close()
			}
		})
	}
	time.Sleep(15 * time.Millisecond)
	p.kill()
	calls.Wait()
	p = startCaddy(t, o.weChat, c)
	callAll(t, []*caddy{p}, merchants)
	if n := o.count(authorizerInfoPath) - infos; n != 0 {
		t.Errorf("%d refresh tokens were read again", n)
	}
	for _, path := range []string{authorizerListPath, startPushPath} {
		if n := o.count(path); n != 0 {
			t.Errorf("%d requests to %s", n, path)
		}
	}
	if log := p.logs.String(); strings.Contains(log, "the store fails") {
		t.Error("the store is said to fail")
	}
}
