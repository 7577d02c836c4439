package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// RedisClient is a connection to a Redis that keeps something else than a store
// does. It takes the URLs that `store redis` takes, and what it says of an error
// holds no password.
type RedisClient struct {
	redis.UniversalClient

	timeout time.Duration
	secrets redisSecrets
}

// NewRedisClient returns a client for a URL, whose placeholders it resolves. It
// does not connect. timeout is how long to wait for a connection, and for an answer;
// 0 is a second. Its errors repeat nothing of the URL.
func NewRedisClient(rawURL string, timeout time.Duration, logger *zap.Logger) (*RedisClient, error) {
	if rawURL == "" {
		return nil, errors.New("url is missing: " + redisURLExample)
	}
	resolved, err := resolveRedisURL(rawURL)
	if err != nil {
		return nil, err
	}
	options, err := parseRedisURL(resolved)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = defaultRedisTimeout
	}
	c := &RedisClient{timeout: timeout, secrets: newRedisSecrets(options.passwords()...)}
	c.UniversalClient = options.client(timeout)
	logRedis(logger, c.secrets)
	return c, nil
}

// Bounded returns a context for what is done in one go: a wait for a connection,
// and one for the answer.
func (c *RedisClient) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 2*c.timeout)
}

// Explained returns an error of the client's as it may be shown, a *RefusalError
// where the cure is known. What the server itself has answered may still repeat
// what it was sent.
func (c *RedisClient) Explained(err error) error {
	return explainedRedis(err, c.secrets, "")
}

// redisLogged are the passwords of all clients: go-redis has one logger for them.
var redisLogged struct {
	mu      sync.Mutex
	secrets redisSecrets
}

// logRedis has go-redis's own messages in a logger, without these passwords and
// those of earlier clients.
func logRedis(logger *zap.Logger, secrets redisSecrets) {
	redisLogged.mu.Lock()
	defer redisLogged.mu.Unlock()
	all := slices.Clone(redisLogged.secrets)
	for _, secret := range secrets {
		if !slices.Contains(all, secret) {
			all = append(all, secret)
		}
	}
	redisLogged.secrets = all
	redis.SetLogger(redisLogger{logger, all})
}
