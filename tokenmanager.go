package weixin

import (
	"context"
	"net/http"
	"sync"
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

// workingSetSize is how many accounts that come and go a process keeps in memory.
const workingSetSize = 1 << 14

// workingSet holds the accounts of the process that are in no configuration, as
// far as they are in use. It outlives configurations: an account that is asked
// for by a newer one is made again for that, with what is known of its token.
var workingSet = sync.OnceValues(func() (*credential.WorkingSet[*account.Account], error) {
	return credential.NewWorkingSet(workingSetSize, func(a *account.Account) { a.Credential().End() })
})

// Acquire returns an account that is in no configuration, such as that of an
// appid which a platform was authorised by, and has its token kept warm while it
// is in use. produce makes one that is not in memory, and binds it.
func (m *TokenManager) Acquire(id string, produce func(bind func(*account.Account) *account.Account) *account.Account) (*account.Account, error) {
	set, err := workingSet()
	if err != nil {
		return nil, err
	}
	return m.acquireFrom(set, id, produce), nil
}

func (m *TokenManager) acquireFrom(set *credential.WorkingSet[*account.Account], id string, produce func(bind func(*account.Account) *account.Account) *account.Account) *account.Account {
	isCurrent := func(a *account.Account) bool { return a.Credential().IsOf(m.credentials) }
	return set.Acquire(id, isCurrent, func(old *account.Account, ok bool) *account.Account {
		runner := credential.NewRunner()
		if ok {
			runner = old.Credential().Runner()
		}
		a := produce(func(a *account.Account) *account.Account { return m.bind(a, runner) })
		m.KeepWarm(a, 0)
		return a
	})
}
