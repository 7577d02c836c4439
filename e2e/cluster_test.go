package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// redisServer is a real Redis.
type redisServer struct {
	t    *testing.T
	port int
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	programtest.Require(t, "redis-server")
	programtest.Require(t, "redis-cli")
	r := &redisServer{t: t, port: freePort(t)}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	r.cmd = exec.Command("redis-server", "--port", fmt.Sprint(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	if !eventually(func() bool { return r.cli("ping") == "PONG" }) {
		r.t.Fatal("redis-server does not answer")
	}
}

func (r *redisServer) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

func (r *redisServer) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

func (r *redisServer) cli(args ...string) string {
	out, _ := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(r.port)}, args...)...).Output()
	return strings.TrimSpace(string(out))
}

// option is the store option of a proxy that uses the server.
func (r *redisServer) option() string {
	return fmt.Sprintf("store redis redis://127.0.0.1:%d/0", r.port)
}

// startCluster starts n proxies that share a store.
func startCluster(t *testing.T, w *weChat, n int, c config) []*caddy {
	t.Helper()
	if c.dataDir == "" {
		c.dataDir = t.TempDir()
	}
	nodes := make([]*caddy, n)
	for i := range nodes {
		nodes[i] = startCaddy(t, w, c)
	}
	return nodes
}

// traffic sends requests to nodes until it is stopped.
type traffic struct {
	wg        sync.WaitGroup
	stopping  chan struct{}
	sent      atomic.Int64
	failures  failures
	mu        sync.Mutex
	latencies []time.Duration
}

// startTraffic sends so many requests a second, spread over the nodes.
func startTraffic(nodes []*caddy, perSecond int) *traffic {
	tr := &traffic{stopping: make(chan struct{})}
	tr.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tr.stopping:
				return
			case <-tick.C:
				node := nodes[i%len(nodes)]
				tr.wg.Go(func() { tr.send(node) })
			}
		}
	})
	return tr
}

func (tr *traffic) send(node *caddy) {
	tr.sent.Add(1)
	start := time.Now()
	failure := ""
	res, err := client.Get(node.url + "/cgi-bin/user/get")
	if err != nil {
		failure = err.Error()
	} else {
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if !strings.HasPrefix(string(body), `{"total"`) {
			failure = string(body)
		}
	}
	if failure != "" {
		tr.failures.add(failure)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.latencies = append(tr.latencies, time.Since(start))
}

// stop waits for the last request, and checks that none has failed.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	close(tr.stopping)
	tr.wg.Wait()
	slices.Sort(tr.latencies)
	t.Logf("%d requests; those that waited took %v, the slowest %v", tr.sent.Load(), tr.typicalWait(), tr.slowest())
	tr.failures.report(t)
}

func (tr *traffic) slowest() time.Duration { return tr.latencies[len(tr.latencies)-1] }

// typicalWait is the median of those that had to wait.
func (tr *traffic) typicalWait() time.Duration {
	i, _ := slices.BinarySearch(tr.latencies, 100*time.Millisecond)
	waited := tr.latencies[i:]
	if len(waited) == 0 {
		return 0
	}
	return waited[len(waited)/2]
}

// dieOnce kills the tokens, and waits until there is another. A death that comes
// before the last was noticed is not noticed on its own.
func (w *weChat) dieOnce() {
	w.t.Helper()
	before := w.status().Fetches
	w.revoke()
	if !eventually(func() bool { return w.status().Fetches > before }) {
		w.t.Error("nobody fetches another token")
	}
}

// stores are the stores a cluster can share, as options of weixin.
func stores(t *testing.T, f func(t *testing.T, option string)) {
	t.Run("redis", func(t *testing.T) { f(t, startRedis(t).option()) })
	t.Run("files", func(t *testing.T) { f(t, "store storage") })
}

// One fetch for every death in the whole cluster, and nobody notices.
func TestClusterFetchesOnce(t *testing.T) {
	for method, account := range map[string]string{"stable": defaultAccount, "classic": classicAccount} {
		t.Run(method, func(t *testing.T) {
			stores(t, func(t *testing.T, option string) {
				w := startWeChat(t)
				nodes := startCluster(t, w, 3, config{global: option + "\n" + account, fast: true})
				wantOK(t, get(t, nodes[0].url+"/cgi-bin/user/get"))
				const latency = 300 * time.Millisecond
				w.setLatency(latency)
				tr := startTraffic(nodes, 600)
				for range 5 {
					time.Sleep(700 * time.Millisecond)
					w.dieOnce()
				}
				time.Sleep(700 * time.Millisecond)
				tr.stop(t)
				if n := w.status().Fetches; n != 6 {
					t.Errorf("%d fetches, want 6: one to begin with, and one for each of five deaths", n)
				}
				// Who waits for a store's own polling waits for seconds. How long the
				// slowest took says more about the machine.
				if d := tr.typicalWait(); d > latency+300*time.Millisecond {
					t.Errorf("requests that waited took %v, while the fetch took %v", d, latency)
				}
			})
		})
	}
}

// The node that fetches is killed in the middle of it.
func TestNodeDiesWhileFetching(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, option string) {
		w := startWeChat(t)
		nodes := startCluster(t, w, 3, config{global: option + "\n" + classicAccount})
		wantOK(t, get(t, nodes[0].url+"/cgi-bin/user/get"))
		w.setLatency(5 * time.Second)
		w.revoke()
		before := w.count("/cgi-bin/token")
		go func() {
			if res, err := client.Get(nodes[0].url + "/cgi-bin/user/get"); err == nil {
				res.Body.Close()
			}
		}()
		if !eventually(func() bool { return w.count("/cgi-bin/token") > before }) {
			t.Fatal("the node does not fetch")
		}
		nodes[0].kill()
		w.setLatency(0)
		start := time.Now()
		tr := startTraffic(nodes[1:], 20)
		time.Sleep(500 * time.Millisecond)
		tr.stop(t)
		t.Logf("recovered after %v", time.Since(start))
		if tr.slowest() > 15*time.Second {
			t.Errorf("a request took %v", tr.slowest())
		}
	})
}

// Whatever happens to Redis, requests are served, with one extra fetch at most.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		fault, repair func(r *redisServer)
	}{
		{"killed", func(r *redisServer) { r.kill() }, func(r *redisServer) { r.start() }},
		{"paused", func(r *redisServer) { r.signal(syscall.SIGSTOP) }, func(r *redisServer) { r.signal(syscall.SIGCONT) }},
		{"full", func(r *redisServer) { r.cli("config", "set", "maxmemory", "1") }, func(r *redisServer) { r.cli("config", "set", "maxmemory", "0") }},
		{"flushed", func(r *redisServer) { r.cli("flushall") }, func(*redisServer) {}},
		{"corrupted", func(r *redisServer) {
			for key := range strings.Lines(r.cli("keys", "weixin:weixin/tokens/*")) {
				r.cli("set", strings.TrimSpace(key), "somebody else's")
			}
		}, func(*redisServer) {}},
		{"of another type", func(r *redisServer) {
			for key := range strings.Lines(r.cli("keys", "weixin:weixin/tokens/*")) {
				r.cli("del", strings.TrimSpace(key))
				r.cli("lpush", strings.TrimSpace(key), "a list")
			}
		}, func(*redisServer) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRedis(t)
			w := startWeChat(t)
			nodes := startCluster(t, w, 2, config{global: r.option() + "\n" + defaultAccount})
			for _, node := range nodes {
				wantOK(t, get(t, node.url+"/cgi-bin/user/get"))
			}
			tr := startTraffic(nodes, 50)
			c.fault(r)
			time.Sleep(300 * time.Millisecond)
			w.revoke()
			time.Sleep(3 * time.Second)
			c.repair(r)
			token := func() string {
				return r.cli("get", strings.TrimSpace(r.cli("keys", "weixin:weixin/tokens/"+appID+"-stable-*")))
			}
			if !eventually(func() bool { return strings.HasPrefix(token(), "weixin1") && haveStoreBack(nodes) }) {
				t.Errorf("the store does not get the token back")
			}
			tr.stop(t)
			if n := w.status().Fetches; n > 3 {
				t.Errorf("%d fetches", n)
			}
			// A node that knows nothing takes the newest token from the store.
			before := w.status().Fetches
			fresh := startCluster(t, w, 1, config{global: r.option() + "\n" + defaultAccount})[0]
			a := get(t, fresh.url+"/cgi-bin/user/get")
			wantOK(t, a)
			wantReplayed(t, a, "")
			if n := w.status().Fetches; n != before {
				t.Errorf("a new node fetched although the store has the token")
			}
		})
	}
}

// haveStoreBack reports whether all nodes that had no store have it again.
func haveStoreBack(nodes []*caddy) bool {
	return !slices.ContainsFunc(nodes, func(p *caddy) bool {
		failed := len(p.logged("the store fails; tokens are kept in memory alone until it is back")) > 0
		return failed && len(p.logged("the store is back")) == 0
	})
}

func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.kill()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: r.option() + "\n" + defaultAccount})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if !eventually(func() bool {
		return len(p.logged("the store fails; tokens are kept in memory alone until it is back")) == 1
	}) {
		t.Error("that the store is down is not logged")
	}
	r.start()
	if !eventually(func() bool { return len(p.logged("the store is back")) == 1 }) {
		t.Error("that the store is back is not logged")
	}
}

// Several nodes do not multiply the calls that are in vain.
func TestBackoffIsShared(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, option string) {
		w := startWeChat(t)
		w.fail("token", 40164, 1000)
		nodes := startCluster(t, w, 4, config{global: option + "\n" + defaultAccount})
		start := time.Now()
		for time.Since(start) < 5*time.Second {
			for _, node := range nodes {
				get(t, node.url+"/cgi-bin/user/get")
			}
		}
		// 1, 2 and 4 seconds apart.
		if n := w.status().FetchesRefused; n > 5 {
			t.Errorf("the endpoint was asked %d times", n)
		}
	})
}

func TestRedisOptions(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	w := startWeChat(t)
	p := startCaddy(t, w, config{
		global: "store redis {env.REDIS_URL} {\n prefix wx-test/\n timeout 500ms\n }\n" + defaultAccount,
		env:    []string{fmt.Sprintf("REDIS_URL=redis://:not-a-secret-here@127.0.0.1:%d/3", r.port)},
	})
	r.cli("config", "set", "requirepass", "not-a-secret-here")
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	if !eventually(func() bool {
		return strings.HasPrefix(r.cli("-a", "not-a-secret-here", "-n", "3", "keys", "*"), "wx-test/weixin/tokens/"+appID+"-stable-")
	}) {
		t.Errorf("the keys are %s", r.cli("-a", "not-a-secret-here", "-n", "3", "keys", "*"))
	}
	if p.logs.contains("not-a-secret-here") {
		t.Error("the password is in the log")
	}
}
