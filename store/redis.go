package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/bsm/redislock"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Redis{})
}

// Redis keeps tokens in Redis, for proxies on several machines.
type Redis struct {
	// The URL of the Redis server, as go-redis reads it: `redis://`, `rediss://`
	// for TLS, or `unix://`, with user, password and database. Further
	// addresses, `?addr=<host>:<port>&addr=…`, make it a cluster;
	// `?master_name=<name>` makes the addresses those of sentinels.
	// Placeholders such as `{env.REDIS_URL}` are resolved when the
	// configuration is loaded. Required.
	URL string `json:"url,omitempty"`

	// What all keys begin with. Default: `weixin:`
	Prefix string `json:"prefix,omitempty"`

	// How long to wait for a connection, and for an answer. Default: 1s
	Timeout caddy.Duration `json:"timeout,omitempty"`

	client redis.UniversalClient
	locker *redislock.Client
}

const (
	defaultRedisPrefix  = "weixin:"
	defaultRedisTimeout = time.Second

	// redisLockTTL is how long a lock outlives its process: longer than what is
	// done under it can take, so that it need not be renewed.
	redisLockTTL = 15 * time.Second

	// redisLockRetry is how often a lock that is held is tried.
	redisLockRetry = 50 * time.Millisecond

	// redisRecordTTL lets go of accounts that nobody has used for so long.
	redisRecordTTL = 30 * 24 * time.Hour
)

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "weixin.stores.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

// Provision sets up the client. It does not connect.
func (s *Redis) Provision(ctx caddy.Context) error {
	if s.URL == "" {
		return errors.New("url is missing: write store redis redis://127.0.0.1:6379/0, for example")
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(s.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %v", err)
	}
	if s.Timeout < 0 {
		return errors.New("timeout must not be negative")
	}
	timeout := time.Duration(s.Timeout)
	if timeout == 0 {
		timeout = defaultRedisTimeout
	}
	if s.Prefix == "" {
		s.Prefix = defaultRedisPrefix
	}
	if s.client, err = newRedisClient(resolved, timeout); err != nil {
		return err
	}
	s.locker = redislock.New(s.client)
	redis.SetLogger(redisLogger{ctx.Logger()})
	return nil
}

// Cleanup closes the client.
func (s *Redis) Cleanup() error {
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}

// newRedisClient returns a client for any URL that go-redis reads. Its errors
// do not repeat the URL, which may hold a password.
func newRedisClient(rawURL string, timeout time.Duration) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "unix" && u.Host == "" {
		return nil, errors.New("url is no Redis URL: write it like redis://127.0.0.1:6379/0")
	}
	refused := func(err error) error {
		return fmt.Errorf("url is no Redis URL: %s: write it like redis://127.0.0.1:6379/0", withoutURL(err, rawURL))
	}
	query := u.Query()
	switch {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, refused(err)
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.ContextTimeoutEnabled = timeout, timeout, timeout, true
		return redis.NewFailoverClient(o), nil
	case query.Has("addr"):
		o, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, refused(err)
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.ContextTimeoutEnabled = timeout, timeout, timeout, true
		return redis.NewClusterClient(o), nil
	default:
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, refused(err)
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.ContextTimeoutEnabled = timeout, timeout, timeout, true
		return redis.NewClient(o), nil
	}
}

func withoutURL(err error, rawURL string) string {
	return strings.ReplaceAll(err.Error(), rawURL, "the URL")
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis <url> {
//		prefix  <prefix>
//		timeout <duration>
//	}
func (s *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if !d.NextArg() {
		return d.Err("store redis needs a URL: write store redis redis://127.0.0.1:6379/0, for example")
	}
	s.URL = d.Val()
	if !strings.Contains(s.URL, "{") {
		client, err := newRedisClient(s.URL, defaultRedisTimeout)
		if err != nil {
			return d.Err(err.Error())
		}
		_ = client.Close() // it has not connected
	}
	if d.NextArg() {
		return d.Errf("store redis takes one URL, but there is also %s: write a cluster's as redis://a:6379?addr=b:6379", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var value string
		if !d.AllArgs(&value) || value == "" {
			return d.Errf("%s takes one value", option)
		}
		switch option {
		case "prefix":
			if s.Prefix != "" {
				return d.Err("prefix is given twice")
			}
			s.Prefix = value
		case "timeout":
			timeout, err := caddy.ParseDuration(value)
			if err != nil || timeout <= 0 {
				return d.Errf("timeout %s is no duration above 0: write it like 1s", value)
			}
			if s.Timeout != 0 {
				return d.Err("timeout is given twice")
			}
			s.Timeout = caddy.Duration(timeout)
		default:
			return d.Errf("unknown option %s of store redis: write one of prefix, timeout", option)
		}
	}
	return nil
}

// Load implements Store.
func (s *Redis) Load(ctx context.Context, key string) ([]byte, error) {
	value, err := s.client.Get(ctx, s.Prefix+key).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, fs.ErrNotExist
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return nil, nil // somebody else's, to be overwritten
	}
	return value, err
}

// Save implements Store.
func (s *Redis) Save(ctx context.Context, key string, value []byte) error {
	return s.client.Set(ctx, s.Prefix+key, value, redisRecordTTL).Err()
}

// Lock implements Store.
func (s *Redis) Lock(ctx context.Context, name string) (func(), error) {
	lock, err := s.locker.Obtain(ctx, s.Prefix+"locks/"+name, redisLockTTL, &redislock.Options{
		RetryStrategy: redislock.LinearBackoff(redisLockRetry),
	})
	if err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		// A lock that cannot be given back expires by itself.
		_ = lock.Release(ctx)
	}, nil
}

// redisLogger has the client's own messages in Caddy's log, where they are for
// those who look for them: failures are reported by who meets them.
type redisLogger struct{ logger *zap.Logger }

// Printf implements go-redis's logger.
func (l redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.logger.Debug(fmt.Sprintf(format, v...))
}

// Interface guards
var (
	_ Store                 = (*Redis)(nil)
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddy.CleanerUpper    = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
)
