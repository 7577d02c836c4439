// Package store keeps what the proxy's processes share about an account: its
// token, its back-off and its budgets, in one small sealed value.
//
// To add a store, write a Caddy module in the namespace weixin.stores whose
// type implements Store. The token manager does the rest: it seals values
// before it saves them, merges what several processes have written, watches
// the store while another process holds a lock, bounds every call in time and
// goes on without a store that fails. A store that knows what an operator has to
// do about an error returns a *RefusalError, whose advice the status shows.
// Errors are logged and shown, so they hold no password.
package store

import "context"

// Store is what the token manager needs to share values between processes.
// Its methods are safe for concurrent use and return when ctx is done.
type Store interface {
	// Load returns the value that was saved last under key, or an error that
	// is fs.ErrNotExist where there is none. A store that cannot tell returns
	// another error.
	Load(ctx context.Context, key string) ([]byte, error)

	// Save puts value under key. Whoever loads it later sees the old value or
	// the new one, never a part of one.
	Save(ctx context.Context, key string, value []byte) error

	// Lock waits until no other process holds the lock of that name, and takes
	// it. A lock outlives its process by some seconds at most. unlock gives it
	// back, and is called once.
	//
	// Names are hardly ever used twice, so a store keeps nothing of a lock that
	// was given back.
	Lock(ctx context.Context, name string) (unlock func(), err error)
}
