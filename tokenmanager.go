package weixin

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// fetchTimeout bounds one request to a token endpoint.
const fetchTimeout = 10 * time.Second

// TokenManager keeps accounts supplied with a valid access_token: it is the
// process's credentials by account, as one configuration sees them. What the
// process knows of an account's token outlives the configuration in a
// credential.Runner. How a token is kept alive is told in the package credential.
type TokenManager struct {
	credentials *credential.Manager
	store       *store.Watched
	endpoint    http.RoundTripper // to the token endpoints
	tickets     *ticketKeeper
}

// newTokenManager returns a manager whose tokens are shared through st and come
// from the endpoints that rt reaches. Budgets are those of the process.
func newTokenManager(process *credential.Process, st store.Store, rt http.RoundTripper, logger *zap.Logger) *TokenManager {
	watched := store.Watch(st, logger)
	m := &TokenManager{
		credentials: credential.NewManager(credential.Config{Store: watched, Process: process, Logger: logger}),
		store:       watched,
		endpoint:    rt,
	}
	m.tickets = newTicketKeeper(m)
	return m
}

// bind completes an account with what the process knows of its token. From then
// on requests get it from the account.
func (m *TokenManager) bind(a *account.Account, runner *credential.Runner) *account.Account {
	return a.Bind(m.credentials, m.endpoint, runner)
}

// KeepWarm starts to keep an account's token warm, at some time within the given
// one.
func (m *TokenManager) KeepWarm(a *account.Account, within time.Duration) {
	m.credentials.KeepWarm(a.Credential(), within)
}

// Release ends KeepWarm, and waits for what is under way, so that no token that
// WeChat has issued is lost.
func (m *TokenManager) Release(ctx context.Context, a *account.Account) {
	m.credentials.Release(ctx, a.Credential())
}
