package weixin

import "github.com/dgraph-io/ristretto/v2"

// tokenCache is the in-process cache over the store. It may drop, delay or
// evict what is put into it, so it answers "this token, or ask again", and is
// never the only place where a token is.
type tokenCache struct {
	cache *ristretto.Cache[uint64, *Token]
}

// newTokenCache returns a cache for about that many accounts.
func newTokenCache(accounts int64) (*tokenCache, error) {
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *Token]{
		NumCounters: 10 * accounts,
		MaxCost:     accounts,
		BufferItems: 64,
		// The cost is the number of tokens, not bytes.
		IgnoreInternalCost: true,
		ShouldUpdate: func(cur, prev *Token) bool {
			return cur.generation >= prev.generation
		},
	})
	if err != nil {
		return nil, err
	}
	return &tokenCache{cache: cache}, nil
}

// get takes no lock of ours and allocates nothing.
func (c *tokenCache) get(a *Account) (*Token, bool) {
	t, ok := c.cache.Get(a.key)
	// Two accounts may have the same key, if hardly ever.
	return t, ok && t.state == a.state
}

// set puts a token into the cache and waits until it can be seen: of two Sets
// of a new key that overtake each other, ristretto may keep the first.
func (c *tokenCache) set(a *Account, t *Token) {
	c.cache.Set(a.key, t, 1)
	c.cache.Wait()
}

// close ends the cache's goroutines. Nothing may use the cache any more:
// ristretto panics where a Set meets a Close.
func (c *tokenCache) close() {
	c.cache.Close()
}
