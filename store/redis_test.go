package store

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// exercise does with a store what the manager does, and fails the test where it
// does not do what it must.
func exercise(t *testing.T, s Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := s.Load(ctx, "weixin/tokens/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("load of a key that is missing: %v", err)
	}
	for _, value := range []string{"one", "two"} {
		if err := s.Save(ctx, "weixin/tokens/a", []byte(value)); err != nil {
			t.Fatalf("save: %v", err)
		}
		if got, err := s.Load(ctx, "weixin/tokens/a"); err != nil || string(got) != value {
			t.Fatalf("load: %q, %v", got, err)
		}
	}
	for range 2 {
		unlock, err := s.Lock(ctx, "weixin-a")
		if err != nil {
			t.Fatalf("lock: %v", err)
		}
		// Nobody else gets it while it is held.
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		if _, err := s.Lock(short, "weixin-a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("lock that is held: %v", err)
		}
		cancel()
		// Somebody gets it as soon as it is given back.
		unlock()
		start := time.Now()
		unlock, err = s.Lock(ctx, "weixin-a")
		if err != nil || time.Since(start) > 2*time.Second {
			t.Fatalf("lock that was given back: %v, after %v", err, time.Since(start))
		}
		unlock()
	}
}

// aclLine is the line that the documentation gives, for a prefix.
func aclLine(prefix, commands string) []string {
	return []string{"ACL", "SETUSER", "proxy", "reset", "on", ">not-a-secret-here", "resetkeys", "~" + prefix + "*", commands}
}

func setUser(t *testing.T, r *redisServer, prefix, commands string) {
	t.Helper()
	line := append(aclLine(prefix, commands)[:8:8], strings.Fields(commands)...)
	if got := r.do(line...); got != "OK" {
		t.Fatalf("%v: %s", line, got)
	}
}

// What the documentation says is enough, with and without scripting, is enough;
// and each command of it is needed.
func TestRedisACL(t *testing.T) {
	for name, c := range map[string]struct {
		prefix, commands, database string
		denied                     int // what the ACL log tells
	}{
		"with scripting":              {"", "+get +set +del +eval", "", 0},
		"without scripting":           {"", "+get +set +del", "", 1},
		"with a prefix":               {"wx-test/", "+get +set +del +eval", "", 0},
		"with a prefix, no scripting": {"wx-test/", "+get +set +del", "", 1},
		"with a database":             {"", "+get +set +del +eval +select", "3", 0},
		"all but scripting":           {"", "+@all -@scripting", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRedis(t)
			prefix := c.prefix
			if prefix == "" {
				prefix = defaultRedisPrefix
			}
			setUser(t, r, prefix, c.commands)
			s := open(t, &Redis{URL: fmt.Sprintf("redis://proxy:not-a-secret-here@%s/%s", r.addr(), c.database), Prefix: c.prefix})
			exercise(t, s)
			if n := strings.Count(r.do("ACL", "LOG"), "reason\n"); n != c.denied {
				t.Errorf("%d commands were denied, want %d:\n%s", n, c.denied, r.do("ACL", "LOG"))
			}
		})
	}
	for _, missing := range []string{"get", "set"} {
		t.Run("without "+missing, func(t *testing.T) {
			r := startRedis(t)
			setUser(t, r, defaultRedisPrefix, strings.ReplaceAll("+get +set +del +eval", "+"+missing, "-"+missing))
			s := open(t, &Redis{URL: "redis://proxy:not-a-secret-here@" + r.addr()})
			wantDenied(t, s, missing)
		})
	}
	t.Run("of other keys", func(t *testing.T) {
		r := startRedis(t)
		setUser(t, r, "other:", "+get +set +del +eval")
		s := open(t, &Redis{URL: "redis://proxy:not-a-secret-here@" + r.addr()})
		wantDenied(t, s, "get")
		wantDenied(t, s, "set")
	})
}

// wantDenied checks that what needs a command is refused for what it is.
func wantDenied(t *testing.T, s Store, command string) {
	t.Helper()
	ctx := context.Background()
	var errs []error
	if command == "get" {
		_, err := s.Load(ctx, "k")
		errs = append(errs, err)
	} else {
		_, err := s.Lock(ctx, "l")
		errs = append(errs, s.Save(ctx, "k", []byte("v")), err)
	}
	for _, err := range errs {
		advice, ok := Explain(err)
		if !ok || advice.Code != "denied" || !strings.Contains(advice.English, "~weixin:* +get +set +del +eval") || !strings.Contains(advice.Chinese, "~weixin:* +get") {
			t.Errorf("%v: %+v", err, advice)
		}
		if !strings.Contains(err.Error(), "NOPERM") || !strings.Contains(err.Error(), "ACL SETUSER") {
			t.Errorf("got %v", err)
		}
	}
}

// Who has no scripting has a lock all the same.
func TestRedisLockExcludes(t *testing.T) {
	for _, commands := range []string{"+get +set +del +eval", "+get +set +del"} {
		t.Run(commands, func(t *testing.T) {
			r := startRedis(t)
			setUser(t, r, defaultRedisPrefix, commands)
			var inside, most atomic.Int32
			var wg sync.WaitGroup
			for range 4 {
				s := open(t, &Redis{URL: "redis://proxy:not-a-secret-here@" + r.addr()})
				for range 3 {
					wg.Go(func() {
						unlock, err := s.Lock(context.Background(), "one")
						if err != nil {
							t.Error(err)
							return
						}
						most.Store(max(most.Load(), inside.Add(1)))
						time.Sleep(2 * time.Millisecond)
						inside.Add(-1)
						unlock()
					})
				}
			}
			wg.Wait()
			if most.Load() != 1 {
				t.Errorf("%d held the lock at once", most.Load())
			}
			if keys := r.do("KEYS", "*"); keys != "" {
				t.Errorf("%s was kept", keys)
			}
		})
	}
}

// A lock that has expired and become another's is not given back.
func TestRedisLockOfAnother(t *testing.T) {
	for _, commands := range []string{"+get +set +del +eval", "+get +set +del"} {
		t.Run(commands, func(t *testing.T) {
			r := startRedis(t)
			setUser(t, r, defaultRedisPrefix, commands)
			s := open(t, &Redis{URL: "redis://proxy:not-a-secret-here@" + r.addr()})
			unlock, err := s.Lock(context.Background(), "one")
			if err != nil {
				t.Fatal(err)
			}
			const key = "weixin:locks/one"
			if ttl := r.do("PTTL", key); len(ttl) != 5 || ttl < "14000" {
				t.Errorf("the lock expires in %s ms", ttl)
			}
			r.do("SET", key, "another's")
			unlock()
			if got := r.do("GET", key); got != "another's" {
				t.Errorf("the lock is %q", got)
			}
		})
	}
}

// Near its end a lock is left alone where it cannot be compared and deleted in
// one step: it might be another's by the time of the second.
func TestRedisLockIsLeftToExpire(t *testing.T) {
	f := startFake(t, minimal(unknownCommand))
	s := open(t, &Redis{URL: "redis://" + f.addr})
	for _, c := range []struct {
		left time.Duration
		want bool
	}{{redisLockMargin - time.Millisecond, false}, {redisLockMargin + time.Second, true}} {
		l := &redisLock{store: s, key: "weixin:locks/one", value: "mine"}
		if taken, err := l.take(context.Background()); err != nil || !taken {
			t.Fatal(taken, err)
		}
		l.end = time.Now().Add(c.left)
		before := len(f.commands())
		l.giveBack(context.Background())
		if got := slices.Contains(f.commands()[before:], "del"); got != c.want {
			t.Errorf("%v before its end: deleted %v, want %v", c.left, got, c.want)
		}
	}
}

// The client sends a SET again whose answer it has lost. It finds its own key.
func TestRedisLockWhoseAnswerIsLost(t *testing.T) {
	server := minimal(unknownCommand)
	var lost atomic.Bool
	f := startFake(t, func(cmd []string) (string, error) {
		reply, err := server(cmd)
		if cmd[0] == "set" && lost.CompareAndSwap(false, true) {
			return "", errHangUp
		}
		return reply, err
	})
	s := open(t, &Redis{URL: "redis://" + f.addr})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	unlock, err := s.Lock(ctx, "one")
	if err != nil || !lost.Load() {
		t.Fatal(err, lost.Load())
	}
	unlock()
	if unlock, err = s.Lock(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Whether a server refuses what it does not know or hangs up, a store needs no
// more than GET, SET and DEL.
func TestRedisSpeaksToAnything(t *testing.T) {
	for name, unknown := range map[string]func([]string) (string, error){
		"refuses": unknownCommand,
		"hangs up": func(cmd []string) (string, error) {
			if cmd[0] == "eval" {
				return unknownCommand(cmd)
			}
			return hangUp(cmd)
		},
		"hangs up on EVAL": hangUp,
	} {
		for _, user := range []string{"", ":not-a-secret-here@", "proxy:not-a-secret-here@"} {
			t.Run(name+" "+user, func(t *testing.T) {
				f := startFake(t, minimal(unknown))
				exercise(t, open(t, &Redis{URL: "redis://" + user + f.addr}))
				for _, cmd := range []string{"hello", "client", "evalsha", "multi", "watch"} {
					if slices.Contains(f.commands(), cmd) {
						t.Errorf("%s was sent", cmd)
					}
				}
				evals := 0
				for _, cmd := range f.commands() {
					if cmd == "eval" {
						evals++
					}
				}
				if evals > 8 {
					t.Errorf("scripting was tried %d times", evals)
				}
			})
		}
	}
}

// A cluster of one node, by way of ?addr=, with the ACL that is documented.
func TestRedisCluster(t *testing.T) {
	r := startRedis(t, "--cluster-enabled", "yes")
	r.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for end := time.Now().Add(5 * time.Second); !strings.Contains(r.do("CLUSTER", "INFO"), "cluster_state:ok") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	setUser(t, r, defaultRedisPrefix, "+get +set +del +eval +cluster|slots +cluster|shards +command +asking")
	exercise(t, open(t, &Redis{URL: fmt.Sprintf("redis://proxy:not-a-secret-here@%s?addr=%[1]s", r.addr())}))
	if log := r.do("ACL", "LOG"); log != "" {
		t.Errorf("denied:\n%s", log)
	}
	// A database number is refused there.
	s := open(t, &Redis{URL: fmt.Sprintf("redis://%s/3", r.addr())})
	_, err := s.Load(context.Background(), "k")
	wantCode(t, err, "cluster", "?addr=")
}

func wantCode(t *testing.T, err error, code string, parts ...string) {
	t.Helper()
	advice, ok := Explain(err)
	if !ok || advice.Code != code || advice.English == "" || advice.Chinese == "" {
		t.Errorf("%v: got %+v, want %s", err, advice, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(advice.English, part) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: there is no %s", err, part)
		}
	}
}

// What a real server says is said as what it is.
func TestRedisRefusals(t *testing.T) {
	ctx := context.Background()
	r := startRedis(t)
	address := r.addr()
	r.do("ACL", "SETUSER", "other", "on", ">not-a-secret-here", "~*", "+@all")
	save := func(url string) error { return open(t, &Redis{URL: url}).Save(ctx, "k", []byte("v")) }

	wantCode(t, save("redis://other:not-the-one@"+address), "wrong_password", "%40")
	wantCode(t, save("redis://"+address+"/99"), "database", "/0")
	wantCode(t, save("rediss://"+address), "unreachable", "rediss://")
	wantCode(t, save("redis://no-such-host.invalid:6379"), "unreachable", "DNS")
	wantCode(t, save("redis://127.0.0.1:1"), "unreachable", "firewall")
	wantCode(t, save("unix:///nowhere/redis.sock"), "unreachable")

	r.do("CONFIG", "SET", "maxmemory", "1")
	wantCode(t, save("redis://"+address), "full", "maxmemory")
	r.do("CONFIG", "SET", "maxmemory", "0")
	r.do("REPLICAOF", "127.0.0.1", "1")
	r.do("CONFIG", "SET", "replica-serve-stale-data", "yes")
	wantCode(t, save("redis://"+address), "read_only", "master_name")
	r.do("REPLICAOF", "NO", "ONE")
	r.do("CONFIG", "SET", "requirepass", "not-a-secret-here")
	wantCode(t, save("redis://"+address), "unauthenticated", "password")
	if err := save("redis://:not-a-secret-here@" + address); err != nil {
		t.Error(err)
	}
}

// What is hard to have a real server say.
func TestRedisReplies(t *testing.T) {
	for reply, code := range map[string]string{
		"NOAUTH Authentication required.":                                                                 "unauthenticated",
		"NOPERM this user has no permissions to run the 'get' command":                                    "denied",
		"ERR unknown command `GET`, with args beginning with: `k`, ":                                      "unsupported",
		"MOVED 3999 127.0.0.1:6381":                                                                       "cluster",
		"CLUSTERDOWN Hash slot not served":                                                                "cluster",
		"LOADING Redis is loading the dataset in memory":                                                  "loading",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk": "full",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":                "replication",
		"DENIED Redis is running in protected mode":                                                       "denied",
		"ERR max number of clients reached":                                                               "full",
		"READONLY You can't write against a read only replica.":                                           "read_only",
		"OOM command not allowed when used memory > 'maxmemory'.":                                         "full",
		"ERR DB index is out of range":                                                                    "database",
		"ERR something else":                                                                              "",
	} {
		t.Run(code+" "+strings.Fields(reply)[0], func(t *testing.T) {
			f := startFake(t, func([]string) (string, error) { return "-" + reply + "\r\n", nil })
			s := open(t, &Redis{URL: "redis://" + f.addr})
			_, loadErr := s.Load(context.Background(), "k")
			_, lockErr := s.Lock(context.Background(), "l")
			for _, err := range []error{loadErr, s.Save(context.Background(), "k", nil), lockErr} {
				if code != "" {
					wantCode(t, err, code)
				} else if _, ok := Explain(err); ok || err == nil {
					t.Errorf("got %v", err)
				}
				if err != nil && strings.Contains(err.Error(), "with args") {
					t.Errorf("%v: it repeats what was sent", err)
				}
			}
		})
	}
}

// Redis repeats what it was sent when it does not know AUTH.
func TestRedisPasswordIsNotRepeated(t *testing.T) {
	const password = "p@ss/word#here"
	for name, answer := range map[string]func([]string) (string, error){
		"unknown": unknownCommand,
		"chatty":  func(cmd []string) (string, error) { return "-ERR no: " + strings.Join(cmd, " ") + "\r\n", nil },
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, answer)
			s := open(t, &Redis{URL: "redis://proxy:p%40ss%2Fword%23here@" + f.addr})
			_, err := s.Load(context.Background(), "k")
			if err == nil || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "word") && strings.Contains(err.Error(), "p@ss") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A value that is another's counts as none, and is overwritten.
func TestRedisWrongType(t *testing.T) {
	r := startRedis(t)
	s := open(t, &Redis{URL: "redis://" + r.addr()})
	r.do("LPUSH", "weixin:k", "a list")
	if got, err := s.Load(context.Background(), "k"); err != nil || got != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := s.Save(context.Background(), "k", []byte("v")); err != nil || r.do("GET", "weixin:k") != "v" {
		t.Errorf("got %q, %v", r.do("GET", "weixin:k"), err)
	}
	if ttl := r.do("TTL", "weixin:k"); ttl < "2591990" || len(ttl) != 7 {
		t.Errorf("the value expires in %s s", ttl)
	}
}

func TestRedisTLS(t *testing.T) {
	dir := t.TempDir()
	cert := httptest.NewTLSServer(nil)
	defer cert.Close()
	c := cert.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(dir+"/"+name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	startRedis(t, "--tls-port", port, "--tls-cert-file", dir+"/cert.pem", "--tls-key-file", dir+"/key.pem",
		"--tls-ca-cert-file", dir+"/cert.pem", "--tls-auth-clients", "no")
	s := open(t, &Redis{URL: "rediss://" + address})
	_, err = s.Load(context.Background(), "k")
	wantCode(t, err, "tls", "certificate")
	exercise(t, open(t, &Redis{URL: "rediss://" + address + "?skip_verify=true"}))
	s = open(t, &Redis{URL: "redis://" + address})
	_, err = s.Load(context.Background(), "k")
	wantCode(t, err, "unreachable", "rediss://")
}

func TestRedisUnixSocket(t *testing.T) {
	path := t.TempDir() + "/redis.sock"
	startRedis(t, "--unixsocket", path)
	exercise(t, open(t, &Redis{URL: "unix://" + path}))
}

// No call takes longer than a wait for a connection and one for an answer, on
// whatever it hangs.
func TestRedisTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	calls := map[string]func(ctx context.Context, s *Redis) error{
		"load": func(ctx context.Context, s *Redis) error { _, err := s.Load(ctx, "k"); return err },
		"save": func(ctx context.Context, s *Redis) error { return s.Save(ctx, "k", bytes.Repeat([]byte("v"), 1<<20)) },
		"lock": func(ctx context.Context, s *Redis) error { _, err := s.Lock(ctx, "l"); return err },
	}
	check := func(t *testing.T, s *Redis) {
		for name, call := range calls {
			start := time.Now()
			err := call(context.Background(), s)
			if took := time.Since(start); took > 2*timeout+300*time.Millisecond {
				t.Errorf("%s took %v", name, took)
			}
			wantCode(t, err, "unreachable")
		}
	}
	t.Run("answers", func(t *testing.T) {
		r := startRedis(t)
		s := open(t, &Redis{URL: "redis://" + r.addr(), Timeout: caddy.Duration(timeout)})
		if err := s.Save(context.Background(), "k", nil); err != nil {
			t.Fatal(err)
		}
		r.signal(syscall.SIGSTOP)
		defer r.signal(syscall.SIGCONT)
		check(t, s)
	})
	t.Run("connections", func(t *testing.T) {
		// A full backlog neither accepts nor refuses.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		check(t, open(t, &Redis{URL: "redis://" + l.Addr().String(), Timeout: caddy.Duration(timeout)}))
	})
	t.Run("the pool", func(t *testing.T) {
		f := startFake(t, func([]string) (string, error) { time.Sleep(3 * timeout); return "", errHangUp })
		s := open(t, &Redis{URL: "redis://" + f.addr + "?pool_size=1", Timeout: caddy.Duration(timeout)})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { check(t, s) })
		}
		wg.Wait()
	})
}
