package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/caddy-weixin/caddy-weixin/store"
)

// ErrUnsealable means that a stored value was not sealed for its ID, or was
// changed since.
var ErrUnsealable = errUnsealable

// SealedStore keeps what is no credential but belongs to some. It is sealed as
// records are: who does not know the secret of its ID can neither read it nor make
// one up. No call takes longer than it may, even where the store does not heed its
// context.
type SealedStore struct{ shared sharedStore }

// NewSealedStore returns one that keeps its values in a store.
func NewSealedStore(st store.Store) *SealedStore {
	return &SealedStore{sharedStore{store: st}}
}

// Load returns the value of an ID, nil where there is none. The error is
// ErrUnsealable where there is another's.
func (s *SealedStore) Load(ctx context.Context, key string, id *ID) ([]byte, error) {
	sealed, err := s.shared.read(ctx, key)
	if err != nil || sealed == nil {
		return nil, err
	}
	return sealerOf(id).unseal(sealed)
}

// Save saves the value of an ID.
func (s *SealedStore) Save(ctx context.Context, key string, id *ID, value []byte) error {
	sealed, err := sealerOf(id).seal(value)
	if err != nil {
		return err
	}
	return s.shared.write(ctx, key, sealed)
}

// Lock waits for a lock of the store's until ctx is done.
func (s *SealedStore) Lock(ctx context.Context, name string) (unlock func(), err error) {
	lockCtx, cancel := context.WithCancel(ctx)
	locked, giveUp := s.shared.takeLock(lockCtx, cancel, name)
	select {
	case l := <-locked:
		if l.err != nil {
			cancel()
			return nil, l.err
		}
		return func() { l.unlock(); cancel() }, nil
	case <-ctx.Done():
		giveUp()
		return nil, ctx.Err()
	}
}

// Place returns in a few characters where the secret belongs, for keys in a store.
func (id *ID) Place() string {
	sum := sha256.Sum256([]byte(id.Upstream))
	return hex.EncodeToString(sum[:4])
}
