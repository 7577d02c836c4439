package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
