package mirror

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-weixin/caddy-weixin/store"
)

// Writer keeps one SDK's keys in one Redis. It is safe for concurrent use. Its
// errors may be shown: they hold no value, no key and nothing of a URL, and are a
// *store.RefusalError where the cure is known.
type Writer struct {
	Client *store.RedisClient
	Preset Preset
	Prefix string // "" is the SDK's own

	// Now is the clock. Default: time.Now
	Now func() time.Time
}

// Write writes a value for an account. A value at its end is removed, so that an
// older one does not stay.
func (w *Writer) Write(ctx context.Context, account Account, value Value) error {
	entries := Entries(w.Preset, w.Prefix, account, value, w.now())
	if len(entries) == 0 {
		return w.Remove(ctx, account, value.Type)
	}
	return w.pipelined(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for _, e := range entries {
			if e.Value == "" {
				p.Del(ctx, e.Key)
			} else {
				p.Set(ctx, e.Key, e.Value, e.TTL)
			}
		}
	})
}

// Remove removes whatever is written for an account of a type of values.
func (w *Writer) Remove(ctx context.Context, account Account, t Type) error {
	keys := Keys(w.Preset, w.Prefix, account, t)
	if len(keys) == 0 {
		return nil
	}
	return w.pipelined(ctx, func(ctx context.Context, p redis.Pipeliner) {
		for _, key := range keys {
			p.Del(ctx, key) // one at a time: in a cluster they are on several nodes
		}
	})
}

func (w *Writer) pipelined(ctx context.Context, fill func(context.Context, redis.Pipeliner)) error {
	ctx, cancel := w.Client.Bounded(ctx)
	defer cancel()
	_, err := w.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		fill(ctx, p)
		return nil
	})
	return w.explained(err)
}

// explained returns an error as it may be shown. A server's answer may repeat
// what it was sent, a token that is, so its first word has to do.
func (w *Writer) explained(err error) error {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return w.Client.Explained(err)
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	if strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		code = "ERR"
	}
	shown := errors.New("Redis answers " + code)
	if advice, ok := store.Explain(w.Client.Explained(err)); ok {
		return &store.RefusalError{Advice: advice, Err: shown}
	}
	return shown
}

func (w *Writer) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}
