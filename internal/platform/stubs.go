package platform

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// This file stands in for the index and the gate for unknown appids, which are
// built elsewhere, and goes when these are merged.

type unknown struct{}

func newUnknown(func() time.Time) *unknown { return &unknown{} }

func (*unknown) find(ctx context.Context, _ string, ask func(context.Context) error) error {
	return ask(ctx)
}

func (*unknown) forget(string) {}

func canBeAppID(appID string) bool { return appID != "" && len(appID) <= 64 }

type index struct{}

func newIndex(store.Store, credential.ID, *zap.Logger, func() time.Time) *index { return &index{} }

func (*index) note(string) {}

func (*index) add(context.Context, string) error { return nil }

func (*index) remove(context.Context, string) error { return nil }

func (*index) keep() {}

func (*index) close(context.Context) {}

var errNotBuilt = errors.New("not built yet")

// Count returns how many authorizers there are in the store, and how many in memory.
func (p *Platform) Count(context.Context) (known, inMemory int, err error) {
	return 0, p.authorizers.Len(), errNotBuilt
}

// List returns up to limit appids of authorizers after one, in order, and the one
// to go on after, or "" at the end.
func (p *Platform) List(context.Context, string, int) (appIDs []string, next string, err error) {
	return nil, "", errNotBuilt
}

// Sync reads all authorizers from WeChat, and returns how many there are.
func (p *Platform) Sync(context.Context) (int, error) { return 0, errNotBuilt }
