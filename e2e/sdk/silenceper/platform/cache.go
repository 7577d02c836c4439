package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/silenceper/wechat/v2/cache"
)

// notingCache is the SDK's own in memory, whose reads are not safe beside writes,
// and notes what was ever in it.
type notingCache struct {
	mu     sync.Mutex
	memory *cache.Memory
	values []string
}

func newNotingCache() *notingCache { return &notingCache{memory: cache.NewMemory()} }

func (c *notingCache) Get(key string) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memory.Get(key)
}

func (c *notingCache) Set(key string, value any, lifetime time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values = append(c.values, fmt.Sprint(value))
	return c.memory.Set(key, value, lifetime)
}

func (c *notingCache) IsExist(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memory.IsExist(key)
}

func (c *notingCache) Delete(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memory.Delete(key)
}

func (c *notingCache) noted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values
}
