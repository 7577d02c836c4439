package store

import (
	"context"
	"strings"
	"testing"
)

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
