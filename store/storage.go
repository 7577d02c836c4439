package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

func init() {
	caddy.RegisterModule(Storage{})
}

// Storage keeps tokens in a Caddy storage: files by default, or whatever
// storage plugin is configured. Processes that use the same storage share
// their tokens.
type Storage struct {
	// The storage module to use. Default: the storage that Caddy itself uses
	// (see the `storage` global option).
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=caddy.storage inline_key=module"`

	storage certmagic.Storage
}

// CaddyModule returns the Caddy module information.
func (Storage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "weixin.stores.storage",
		New: func() caddy.Module { return new(Storage) },
	}
}

// Provision opens the storage.
func (s *Storage) Provision(ctx caddy.Context) error {
	if s.StorageRaw == nil {
		s.storage = ctx.Storage()
		return nil
	}
	mod, err := ctx.LoadModule(s, "StorageRaw")
	if err != nil {
		return fmt.Errorf("loading storage module: %v", err)
	}
	s.storage, err = mod.(caddy.StorageConverter).CertMagicStorage()
	if err != nil {
		return fmt.Errorf("opening storage: %v", err)
	}
	return nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store storage [<module> ...]
//
// The module is any of Caddy's storage modules, written as in the `storage`
// global option.
func (s *Storage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if !d.NextArg() {
		if d.NextBlock(d.Nesting()) {
			return d.Errf("store storage has no options of its own: write store storage <module> { %s … }", d.Val())
		}
		return nil
	}
	name := d.Val()
	if _, err := caddy.GetModule("caddy.storage." + name); err != nil {
		return d.Errf("there is no storage %s, as there is no module caddy.storage.%s: write store storage file_system <directory>, or build Caddy with the plugin", name, name)
	}
	unm, err := caddyfile.UnmarshalModule(d, "caddy.storage."+name)
	if err != nil {
		return err
	}
	converter, ok := unm.(caddy.StorageConverter)
	if !ok {
		return d.Errf("caddy.storage.%s is no storage module", name)
	}
	s.StorageRaw = caddyconfig.JSONModuleObject(converter, "module", name, nil)
	return nil
}

// Load implements Store.
func (s *Storage) Load(ctx context.Context, key string) ([]byte, error) {
	return s.storage.Load(ctx, key)
}

// Save implements Store.
func (s *Storage) Save(ctx context.Context, key string, value []byte) error {
	return s.storage.Store(ctx, key, value)
}

// unlockTimeout bounds giving a lock back, which happens even when the context
// it was taken with is done.
const unlockTimeout = 5 * time.Second

// Lock implements Store.
func (s *Storage) Lock(ctx context.Context, name string) (func(), error) {
	if err := s.storage.Lock(ctx, name); err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		// A lock that cannot be given back becomes stale by itself.
		_ = s.storage.Unlock(ctx, name)
	}, nil
}

// Interface guards
var (
	_ Store                 = (*Storage)(nil)
	_ caddy.Provisioner     = (*Storage)(nil)
	_ caddyfile.Unmarshaler = (*Storage)(nil)
)
