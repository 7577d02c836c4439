package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	// syncSavers is how many refresh tokens are saved at the same time.
	syncSavers = 16

	// A refresh token that the store does not take is offered so often, with
	// syncSavePause in between.
	syncSaveTries = 3
	syncSavePause = time.Second
)

var errClosed = errors.New("the configuration has changed meanwhile: sync again")

// syncs are the times that a platform is synced: one at a time, for all who want it.
type syncs struct {
	mu      sync.Mutex
	current *syncing
	closed  bool
}

// syncing is one reading of the list.
type syncing struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	count  int
	err    error
}

// Sync reads all authorizers from WeChat, and returns how many there are. Their
// refresh tokens are in the store then, and the index holds them and no others.
// Where the list could not be read to its end, what was read is saved, and nothing
// leaves the index.
//
// Who calls it while it is under way gets what comes of that. No caller's leaving
// ends it.
func (p *Platform) Sync(ctx context.Context) (int, error) {
	s, err := p.beginSync()
	if err != nil {
		return 0, err
	}
	select {
	case <-s.done:
		return s.count, s.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// beginSync returns what is under way, or begins.
func (p *Platform) beginSync() (*syncing, error) {
	p.syncs.mu.Lock()
	defer p.syncs.mu.Unlock()
	if p.syncs.closed {
		return nil, errClosed
	}
	if s := p.syncs.current; s != nil {
		return s, nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &syncing{cancel: cancel, done: make(chan struct{})}
	p.syncs.current = s
	go func() {
		defer cancel(nil)
		s.count, s.err = p.sync(ctx)
		if s.err != nil && ctx.Err() != nil {
			s.err = context.Cause(ctx)
		}
		p.syncs.mu.Lock()
		p.syncs.current = nil
		p.syncs.mu.Unlock()
		close(s.done)
	}()
	return s, nil
}

// close ends what is under way, and waits for that.
func (s *syncs) close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	current := s.current
	s.mu.Unlock()
	if current == nil {
		return
	}
	current.cancel(errClosed)
	select {
	case <-current.done:
	case <-ctx.Done():
	}
}

func (p *Platform) sync(ctx context.Context) (int, error) {
	begun, log := p.config.Manager.Now(), p.config.Logger.With(zap.String("platform", p.config.Name))
	r, err := p.index.replace(ctx)
	if err != nil {
		return 0, err
	}
	defer r.end()
	err = listPages(ctx, p.config.Manager.Now, p.list, func(page listedPage) error {
		listed, err := p.takeListed(ctx, page)
		r.add(listed)
		return err
	})
	whole := err == nil
	if !whole {
		log.Warn("the list of authorizers was not read to its end; those that were read are saved", zap.Int("authorizers", r.count()), zap.Error(err))
	}
	isNewer := func(appID string) bool { return p.isAuthorizedSince(ctx, appID, begun) }
	if commitErr := r.commit(ctx, whole, isNewer); err == nil {
		err = commitErr
	}
	if err != nil {
		return r.count(), err
	}
	log.Info("authorizers were read from WeChat", zap.Int("authorizers", r.count()), zap.Duration("took", p.config.Manager.Now().Sub(begun)))
	return r.count(), nil
}

// isAuthorizedSince reports whether it is known from elsewhere that an account has
// authorised the platform since a time, as far as can be told.
func (p *Platform) isAuthorizedSince(ctx context.Context, appID string, since time.Time) bool {
	c := p.accountOf(appID).Credential()
	err := p.config.Manager.Hear(ctx, c, time.Second)
	standing := p.config.Manager.Standing(c)
	return err != nil || standing.WithdrawnAt.IsZero() && standing.GrantedAt.After(since)
}

// takeListed saves the refresh tokens of a page, and returns the appids that have
// authorised the platform.
func (p *Platform) takeListed(ctx context.Context, page listedPage) ([]string, error) {
	var (
		taken = make([]bool, len(page.authorizers))
		errs  = make([]error, syncSavers)
		wg    sync.WaitGroup
	)
	for saver := range syncSavers {
		wg.Go(func() {
			for i := saver; i < len(taken) && errs[saver] == nil; i += syncSavers {
				taken[i], errs[saver] = p.takeAuthorizer(ctx, page.authorizers[i], page.asked)
			}
		})
	}
	wg.Wait()
	var appIDs []string
	for i, a := range page.authorizers {
		if taken[i] {
			appIDs = append(appIDs, a.AppID)
		}
	}
	return appIDs, cmp.Or(errs...)
}

// takeAuthorizer saves the refresh token of an account as it was listed, and
// reports whether the account has authorised the platform still.
func (p *Platform) takeAuthorizer(ctx context.Context, a wechat.ListedAuthorizer, asked time.Time) (bool, error) {
	if !canBeAppID(a.AppID) {
		return false, nil
	}
	if a.RefreshToken == "" {
		p.unknown.forget(a.AppID)
		return true, nil // nobody has called api_query_auth
	}
	c := p.accountOf(a.AppID).Credential()
	for try := 1; ; try++ {
		authorized, err := p.takeRefreshToken(ctx, c, a.RefreshToken, asked)
		if err == nil || try == syncSaveTries || ctx.Err() != nil {
			p.unknown.forget(a.AppID)
			return authorized, err
		}
		pause(ctx, syncSavePause)
	}
}

// takeRefreshToken saves a refresh token as of a time. What the store has got from
// elsewhere since is left as it is.
func (p *Platform) takeRefreshToken(ctx context.Context, c *credential.Credential, refreshToken string, asked time.Time) (authorized bool, err error) {
	m := p.config.Manager
	if err := m.Hear(ctx, c, time.Second); err != nil {
		return false, err
	}
	withdrawnAt := m.Standing(c).WithdrawnAt
	switch {
	case withdrawnAt.IsZero() && m.Kept(c) == refreshToken:
		return true, nil
	case withdrawnAt.After(asked.Truncate(time.Second)):
		return false, nil
	}
	if err := m.Put(ctx, c, credential.Grant{Kept: refreshToken}, asked); err != nil {
		return false, fmt.Errorf("saving a refresh token: %w", err)
	}
	return true, nil
}
