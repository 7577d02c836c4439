package gateway

import (
	"crypto/sha256"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
)

// authorizerTokens are the digests of the last real tokens that applications have
// got for accounts that have authorised a platform, with whose they are. There may
// be a million accounts, so the oldest are forgotten. The old and the new
// configuration share them during a reload.
type authorizerTokens struct {
	mu     sync.RWMutex
	owners map[tokenDigest]string
	oldest int // in order, once that is full
	order  []tokenDigest
}

// maxAuthorizerTokens bounds them: some 100 bytes each.
const maxAuthorizerTokens = 1 << 16

// addAuthorizers has the real tokens of a platform's authorizers be recognised.
func (r *realIssuers) addAuthorizers(component *account.Account) (*authorizerTokens, error) {
	key := "authorizers " + component.ID()
	value, _, err := realTokenPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &authorizerTokens{owners: make(map[tokenDigest]string)}, nil
	})
	if err != nil {
		return nil, err
	}
	r.keys = append(r.keys, key)
	return value.(*authorizerTokens), nil
}

// note remembers a token that is handed out.
func (t *authorizerTokens) note(accessToken, appID string) {
	if t == nil {
		return
	}
	digest := tokenDigest(sha256.Sum256([]byte(accessToken)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.owners[digest]; known {
		return
	}
	t.owners[digest] = appID
	if len(t.order) < maxAuthorizerTokens {
		t.order = append(t.order, digest)
		return
	}
	delete(t.owners, t.order[t.oldest])
	t.order[t.oldest] = digest
	t.oldest = (t.oldest + 1) % maxAuthorizerTokens
}

// owner returns the AppID of the account whose token this is, or "".
func (t *authorizerTokens) owner(accessToken string) string {
	if t == nil {
		return ""
	}
	digest := tokenDigest(sha256.Sum256([]byte(accessToken)))
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.owners[digest]
}

// Destruct implements caddy.Destructor. There is nothing to be freed.
func (*authorizerTokens) Destruct() error { return nil }
