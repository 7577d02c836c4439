package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestRedisClient(t *testing.T) {
	server := startRedis(t, "--requirepass", "not-a-secret-here")
	t.Setenv("MIRROR_URL", fmt.Sprintf("redis://:not-a-secret-here@%s/3", server.addr()))
	c, err := NewRedisClient("{env.MIRROR_URL}", 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := c.Bounded(t.Context())
	defer cancel()
	if err := c.Set(ctx, "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Explained(c.LPush(ctx, "key", "x").Err()); !redis.HasErrorPrefix(err, "WRONGTYPE") {
		t.Errorf("error %v", err)
	}
	if c.Explained(nil) != nil {
		t.Error("no error becomes one")
	}
}

func TestRedisClientRefusesURLs(t *testing.T) {
	for _, rawURL := range []string{"", "http://not-a-secret@127.0.0.1", "redis://:not-a-secret/x@127.0.0.1", "{env.NOT_SET_AT_ALL}", "redis://not-a-secret@127.0.0.1"} {
		_, err := NewRedisClient(rawURL, 0, zap.NewNop())
		if err == nil {
			t.Errorf("%s is taken", rawURL)
		} else if strings.Contains(err.Error(), "not-a-secret") {
			t.Errorf("the error has a part of the URL: %v", err)
		}
	}
}

// go-redis has one logger, whoever came last: what it says has nobody's password.
func TestRedisLoggerKnowsAllPasswords(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	for _, password := range []string{"not-a-secret-1", "not-a-secret-2"} {
		c, err := NewRedisClient("redis://:"+password+"@127.0.0.1:1/0", 0, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	redisLogged.mu.Lock()
	logger := redisLogger{zap.New(core), redisLogged.secrets}
	redisLogged.mu.Unlock()
	logger.Printf(t.Context(), "%s and %s", "not-a-secret-1", "not-a-secret-2")
	if got := logs.All()[logs.Len()-1].Message; got != "REDACTED and REDACTED" {
		t.Errorf("logged: %s", got)
	}
}
