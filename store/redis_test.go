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
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(programtest.Tests{M: m})
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
	port := strconv.Itoa(freePort(t))
	address := "127.0.0.1:" + port
	startRedis(t, "--tls-port", port, "--tls-cert-file", dir+"/cert.pem", "--tls-key-file", dir+"/key.pem",
		"--tls-ca-cert-file", dir+"/cert.pem", "--tls-auth-clients", "no")
	patience := caddy.Duration(10 * time.Second) // a busy machine takes its time for a handshake
	s := open(t, &Redis{URL: "rediss://" + address, Timeout: patience})
	_, err = s.Load(context.Background(), "k")
	wantCode(t, err, "tls", "certificate")
	exercise(t, open(t, &Redis{URL: "rediss://" + address + "?skip_verify=true", Timeout: patience}))
	s = open(t, &Redis{URL: "redis://" + address})
	_, err = s.Load(context.Background(), "k")
	wantCode(t, err, "unreachable", "rediss://")
}

// Where sentinels know the primary, their addresses are enough.
func TestRedisSentinel(t *testing.T) {
	r := startRedis(t)
	file := t.TempDir() + "/sentinel.conf"
	if err := os.WriteFile(file, fmt.Appendf(nil, "sentinel monitor primary 127.0.0.1 %d 1\n", r.port), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	cmd := exec.Command("redis-server", file, "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	waitFor(t, fmt.Sprintf("127.0.0.1:%d", port))
	exercise(t, open(t, &Redis{URL: fmt.Sprintf("redis://127.0.0.1:%d/0?master_name=primary", port)}))
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

// After a reload, requests that the configuration before has taken go on with the
// store that is closed with it.
func TestRedisOutlivesItsConfiguration(t *testing.T) {
	f := startFake(t, func(cmd []string) (string, error) {
		if strings.EqualFold(cmd[0], "get") {
			return "$5\r\nvalue\r\n", nil
		}
		return "+OK\r\n", nil
	})
	before := open(t, &Redis{URL: "redis://" + f.addr})
	after := open(t, &Redis{URL: "redis://" + f.addr})
	if err := before.Cleanup(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Redis{before, after} {
		if value, err := s.Load(t.Context(), "key"); err != nil || string(value) != "value" {
			t.Errorf("%q, %v", value, err)
		}
	}
}
