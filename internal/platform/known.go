package platform

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// Known returns the account of an appid that has authorised the platform, as far
// as memory or the store know: it asks WeChat nothing, and takes no room in
// memory. The error is ErrNotAuthorized, or a *credential.UnsavedError where the
// store could not be asked.
func (p *Platform) Known(ctx context.Context, appID string) (*account.Account, error) {
	if !canBeAppID(appID) {
		return nil, ErrNotAuthorized
	}
	m, a := p.config.Manager, p.accountOf(appID)
	err := m.Hear(ctx, a.Credential(), lookEvery)
	standing := m.Standing(a.Credential())
	switch {
	case !standing.Known && err != nil:
		return nil, &credential.UnsavedError{Name: a.Name, Err: err}
	case !standing.Known:
		return nil, ErrNotAuthorized
	case !standing.WithdrawnAt.IsZero():
		return nil, fmt.Errorf("%w any more: it has withdrawn, at %s", ErrNotAuthorized, standing.WithdrawnAt.UTC().Format(time.RFC3339))
	}
	return a, nil
}
