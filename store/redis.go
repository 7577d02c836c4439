package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Redis))
}

// Redis keeps tokens in Redis, for proxies on several machines.
type Redis struct {
	// The URL of the Redis server, as go-redis reads it: `redis://`, `rediss://`
	// for TLS, or `unix://`, with user, password and database. What is special
	// in a password is percent-encoded: @ is %40, / is %2F, # is %23. Further
	// addresses, `?addr=<host>:<port>&addr=…`, make it a cluster;
	// `?master_name=<name>` makes the addresses those of sentinels.
	// Placeholders such as `{env.REDIS_URL}` are resolved when the
	// configuration is loaded. Required.
	URL string `json:"url,omitempty"`

	// What all keys begin with. Default: `weixin:`
	Prefix string `json:"prefix,omitempty"`

	// How long to wait for a connection, and for an answer; a call takes no
	// longer than both together. Default: 1s
	Timeout caddy.Duration `json:"timeout,omitempty"`

	client    redis.UniversalClient
	clientKey string // in redisClients
	timeout   time.Duration
	secrets   redisSecrets
	noScripts atomic.Bool // the server has refused EVAL
}

const (
	defaultRedisPrefix  = "weixin:"
	defaultRedisTimeout = time.Second

	// redisRecordTTL lets go of accounts that nobody has used for so long.
	redisRecordTTL = 30 * 24 * time.Hour
)

// CaddyModule returns the Caddy module information.
func (*Redis) CaddyModule() caddy.ModuleInfo {
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
	if s.Timeout < 0 {
		return errors.New("timeout must not be negative: write it like 1s")
	}
	if s.timeout = time.Duration(s.Timeout); s.timeout == 0 {
		s.timeout = defaultRedisTimeout
	}
	if s.Prefix == "" {
		s.Prefix = defaultRedisPrefix
	}
	resolved, err := resolveRedisURL(s.URL)
	if err != nil {
		return err
	}
	options, err := parseRedisURL(resolved)
	if err != nil {
		return err
	}
	s.secrets = newRedisSecrets(options.passwords()...)
	if resolved == s.URL && len(s.secrets) > 0 {
		ctx.Logger().Warn("the password of Redis stands in the configuration itself, where it can be read: write a placeholder such as {env.REDIS_URL}")
	}
	s.clientKey = resolved + " " + s.timeout.String()
	client, _, err := redisClients.LoadOrNew(s.clientKey, func() (caddy.Destructor, error) {
		return pooledRedis{options.client(s.timeout)}, nil
	})
	if err != nil {
		return err
	}
	s.client = client.(pooledRedis).UniversalClient
	logRedis(ctx.Logger(), s.secrets)
	return nil
}

// Cleanup closes the client, unless another configuration uses it.
func (s *Redis) Cleanup() error {
	if s.clientKey == "" {
		return nil
	}
	_, err := redisClients.Delete(s.clientKey)
	s.clientKey = ""
	return err
}

// redisClients are the process's, by URL and timeout. After a reload, requests that
// the configuration before has taken still need theirs.
var redisClients = caddy.NewUsagePool()

type pooledRedis struct{ redis.UniversalClient }

// Destruct implements caddy.Destructor.
func (c pooledRedis) Destruct() error { return c.Close() }

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
		if _, err := parseRedisURL(s.URL); err != nil {
			return d.Err(err.Error())
		}
	}
	if d.NextArg() {
		// It may be the rest of a password.
		return d.Err("store redis takes one URL, but there is more on the line: write a space in a password as %20, and a cluster's nodes as redis://a:6379?addr=b:6379")
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
				return d.Err("prefix is given twice: leave one out")
			}
			s.Prefix = value
		case "timeout":
			timeout, err := caddy.ParseDuration(value)
			if err != nil || timeout <= 0 {
				return d.Errf("timeout %s is no duration above 0: write it like 1s", value)
			}
			if s.Timeout != 0 {
				return d.Err("timeout is given twice: leave one out")
			}
			s.Timeout = caddy.Duration(timeout)
		default:
			return d.Errf("unknown option %s of store redis: write one of prefix, timeout", option)
		}
	}
	return nil
}

// bounded returns a context for one command: a wait for a connection, and one
// for the answer, with whatever is tried again.
func (s *Redis) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*s.timeout)
}

// Load implements Store.
func (s *Redis) Load(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	value, err := s.client.Get(ctx, s.Prefix+key).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, fs.ErrNotExist
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return nil, nil // somebody else's, to be overwritten
	}
	return value, s.Explained(err)
}

// Save implements Store.
func (s *Redis) Save(ctx context.Context, key string, value []byte) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.Explained(s.client.Set(ctx, s.Prefix+key, value, redisRecordTTL).Err())
}

// redisLogger has the client's own messages in Caddy's log, where they are for
// those who look for them: failures are reported by who meets them.
type redisLogger struct {
	logger  *zap.Logger
	secrets redisSecrets
}

// Printf implements go-redis's logger.
func (l redisLogger) Printf(_ context.Context, format string, v ...any) {
	l.logger.Debug(l.secrets.redact(fmt.Sprintf(format, v...)))
}

// Interface guards
var (
	_ Store                 = (*Redis)(nil)
	_ Explainer             = (*Redis)(nil)
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddy.CleanerUpper    = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
)
