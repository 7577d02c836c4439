package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// redisLockTTL is how long a lock outlives its process: longer than what is
	// done under it, which is bounded at 10 s, so that it need not be renewed.
	redisLockTTL = 15 * time.Second

	// redisLockMargin is how long before its end a lock is left to expire, where
	// it cannot be compared and deleted in one step.
	redisLockMargin = 3 * time.Second

	// redisLockRetry is how often a lock that is held is tried.
	redisLockRetry = 50 * time.Millisecond
)

// redisLock is a key that one process has set, with a value that no other has.
type redisLock struct {
	store *Redis
	key   string
	value string
	end   time.Time // the key does not expire before this
}

// Lock implements Store.
func (s *Redis) Lock(ctx context.Context, name string) (func(), error) {
	l := &redisLock{store: s, key: s.Prefix + "locks/" + name, value: rand.Text()}
	retry := time.NewTicker(redisLockRetry)
	defer retry.Stop()
	for {
		taken, err := l.take(ctx)
		if err == nil && taken {
			return func() { l.giveBack(ctx) }, nil
		}
		if err == nil {
			select {
			case <-retry.C:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if ctx.Err() != nil {
			l.giveBack(ctx) // it may have been taken all the same, and nobody waits
		}
		return nil, err
	}
}

// take tries once, and reports whether the lock is this process's now.
func (l *redisLock) take(ctx context.Context) (bool, error) {
	s := l.store
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	l.end = time.Now().Add(redisLockTTL)
	ok, err := s.client.SetNX(ctx, l.key, l.value, redisLockTTL).Result()
	if err != nil || ok {
		return ok, s.Explained(err)
	}
	// A SET whose answer was lost with its connection is sent again by the
	// client, and finds the key that it has set itself.
	holder, err := s.client.Get(ctx, l.key).Result()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil && holder == l.value, s.Explained(err)
}

const compareAndDelete = `if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`

// giveBack deletes the key if it is still this process's. One that cannot be
// given back expires by itself.
func (l *redisLock) giveBack(ctx context.Context) {
	s := l.store
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	if s.noScripts.Load() {
		_, _ = l.compareThenDelete(ctx)
		return
	}
	err := s.client.Eval(ctx, compareAndDelete, []string{l.key}, l.value).Err()
	if err == nil {
		return
	}
	_, refused := redisReply(err)
	if deleted, _ := l.compareThenDelete(ctx); deleted && (refused || errors.Is(err, io.EOF)) {
		s.noScripts.Store(true)
	}
}

// compareThenDelete is for users without scripting. Between its two steps the
// key could expire and become another's, so nothing is sent later than a margin
// before that. Were a command to take longer than the margin on its way, one
// account could be fetched for twice, once.
func (l *redisLock) compareThenDelete(ctx context.Context) (deleted bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, l.end.Add(-redisLockMargin))
	defer cancel()
	holder, err := l.store.client.Get(ctx, l.key).Result()
	if err != nil || holder != l.value {
		return false, err
	}
	n, err := l.store.client.Del(ctx, l.key).Result()
	return n > 0, err
}
