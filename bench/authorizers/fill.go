package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// filled is what the process that fills a store tells.
type filled struct {
	Took   time.Duration `json:"took"`
	Synced time.Duration `json:"synced"`
	Saved  time.Duration `json:"saved"` // for each, where the store was empty
}

// sampled is how many authorizers are synced into an empty store.
const sampled = 2000

// fill has another process fill a store, so that this one's memory is its own.
func (p *place) fill(ctx context.Context, at string) (filled, error) {
	self, err := os.Executable()
	if err != nil {
		return filled{}, err
	}
	cmd := exec.CommandContext(ctx, self, fillCommand, p.title, at, strconv.Itoa(p.authorizers))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return filled{}, fmt.Errorf("filling the store: %w", err)
	}
	var f filled
	return f, json.Unmarshal(out, &f)
}

// fillAs is what that process does.
func fillAs(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 3 {
		return fmt.Errorf("%s is for this program itself", fillCommand)
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	open := openFiles
	if args[0] == "Redis" {
		open = openRedis
	}
	_, st, err := open(ctx, "", args[1])
	if err != nil {
		return err
	}
	defer st.close()
	var f filled
	sample := min(n, sampled)
	if f.Saved, err = syncAll(ctx, st, sample); err != nil {
		return err
	}
	f.Saved /= time.Duration(sample)
	begun := time.Now()
	if err := fillStore(ctx, st, args[1], n); err != nil {
		return err
	}
	f.Took = time.Since(begun)
	if f.Synced, err = syncAll(ctx, st, n); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(f)
}

// syncAll syncs a platform with so many authorizers, as a process of its own, and
// returns how long that takes.
func syncAll(ctx context.Context, st store.Store, authorizers int) (time.Duration, error) {
	pf, err := newPlatform(st, &weChat{authorizers: authorizers}, 1000)
	if err != nil {
		return 0, err
	}
	if err := pf.Ticket(ctx, "ticket@@@"+strings.Repeat("0123456789", 8), time.Now()); err != nil {
		return 0, err
	}
	begun := time.Now()
	synced, err := pf.Sync(ctx)
	took := time.Since(begun)
	if err == nil && synced != authorizers {
		err = fmt.Errorf("%d of %d authorizers were synced", synced, authorizers)
	}
	pf.Release(ctx)
	if closeErr := pf.Close(); err == nil {
		err = closeErr
	}
	return took, err
}

// fillers is how many authorizers are saved at the same time.
const fillers = 32

// fillStore saves authorizers whose tokens have just been fetched.
func fillStore(ctx context.Context, st *opened, at string, n int) error {
	b := &bulk{Store: st}
	if strings.HasPrefix(at, "redis:") {
		client, err := store.NewRedisClient(at, time.Minute, zap.NewNop())
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		b.client = client
	}
	pf, err := newPlatform(b, &weChat{}, 1000)
	if err != nil {
		return err
	}
	errs := make([]error, fillers)
	var wg sync.WaitGroup
	for filler := range fillers {
		wg.Go(func() {
			for i := filler; i < n && errs[filler] == nil; i += fillers {
				errs[filler] = pf.Save(ctx, platform.Authorization{
					AppID: appID(i), AccessToken: accessToken(appID(i)), ExpiresIn: 2 * time.Hour, RefreshToken: refreshToken(appID(i)),
				})
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	pf.Release(ctx)
	if err := pf.Close(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushLocked(ctx)
}

// bulk is a store for the first records there are: it looks for none, locks
// nothing, and leaves the index to be made when the platform is synced. Redis gets
// many at once.
type bulk struct {
	store.Store

	mu      sync.Mutex
	client  redis.UniversalClient // or nil
	waiting map[string][]byte
}

// bulkSize is how many values Redis gets at once.
const bulkSize = 1000

// Load implements store.Store.
func (b *bulk) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

// Lock implements store.Store.
func (b *bulk) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// Save implements store.Store.
func (b *bulk) Save(ctx context.Context, key string, value []byte) error {
	if strings.HasPrefix(key, "weixin/authorizers/") {
		return nil
	}
	if b.client == nil {
		return b.Store.Save(ctx, key, value)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(map[string][]byte)
	}
	b.waiting[key] = value
	if len(b.waiting) < bulkSize {
		return nil
	}
	return b.flushLocked(ctx)
}

func (b *bulk) flushLocked(ctx context.Context) error {
	if len(b.waiting) == 0 {
		return nil
	}
	_, err := b.client.Pipelined(context.WithoutCancel(ctx), func(p redis.Pipeliner) error {
		for key, value := range b.waiting {
			p.Set(ctx, "weixin:"+key, value, 30*24*time.Hour)
		}
		return nil
	})
	clear(b.waiting)
	return err
}
