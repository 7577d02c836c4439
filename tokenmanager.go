package weixin

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
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
	runners     runners
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
	m.tickets = newTicketKeeper(m.credentials, rt)
	return m
}

// add completes an account with what the process knows of its token across
// configurations.
func (m *TokenManager) add(a *account.Account) error {
	runner, err := m.runners.of(a.ID())
	if err != nil {
		return err
	}
	m.bind(a, runner)
	return a.MakeVirtualKey()
}

// bind completes an account with what the process knows of its token. From then
// on requests get it from the account.
func (m *TokenManager) bind(a *account.Account, runner *credential.Runner) *account.Account {
	return a.Bind(m.credentials, m.endpoint, runner)
}

// KeepWarm starts to keep an account's token warm, after some time and then at some
// time within another.
func (m *TokenManager) KeepWarm(a *account.Account, after, within time.Duration) {
	m.credentials.KeepWarm(a.Credential(), after, within)
}

// Release ends KeepWarm, and waits for what is under way, so that no token that
// WeChat has issued is lost.
func (m *TokenManager) Release(ctx context.Context, a *account.Account) {
	m.credentials.Release(ctx, a.Credential())
}

// close gives back what the configuration holds of the process's knowledge.
func (m *TokenManager) close() error {
	err := cmp.Or(m.runners.close(), m.tickets.cleanup())
	m.credentials.Close()
	return err
}

// Status returns an account's status, as far as this process knows. It asks
// nobody.
func (m *TokenManager) Status(a *account.Account) AccountStatus {
	return m.statusWith(a, m.store.State())
}

// statusWith returns an account's status while the store is in a state.
func (m *TokenManager) statusWith(a *account.Account, state store.State) AccountStatus {
	is := m.credentials.Status(a.Credential())
	status := AccountStatus{
		Name: a.Name, Kind: a.Kind.Name, AgentID: a.AgentID, Method: a.Credential().Method,
		State: is.State, Since: is.Since, Fingerprint: is.Fingerprint, FetchedAt: is.FetchedAt, ExpiresAt: is.ExpiresAt,
		RetryAt: is.RetryAt, Fetches: is.Fetches, Replays: is.Replays, Quota: is.Quotas, EarlyDeaths: is.EarlyDeaths,
		Usable: is.Usable, isHealthy: is.Healthy, isCompeting: is.Competing, checkedAt: is.CheckedAt, store: state, kind: a.Kind, isLost: a.IsOutOfReach(time.Now()),
	}
	if a.Kind == wechat.WeCom {
		status.CorpID = a.Credentials.ID
	} else {
		status.AppID = a.Credentials.ID
	}
	if e := is.LastError; e != nil {
		status.LastError = &StatusError{Errcode: e.Errcode, Unreachable: e.Unreachable, Errmsg: e.Message, At: e.At}
		status.LastError.Advice = status.LastError.advice(a.Kind, wechat.English)
	}
	status.noteTrouble(a)
	status.Advice = status.advice(wechat.English)
	status.Warnings = status.warnings(wechat.English)
	status.Tickets = m.tickets.status(a)
	return status
}

// History returns how often this process has fetched the account's token in the
// last hour, and how often it has replayed a request, in slots of two minutes,
// the newest last.
func (m *TokenManager) History(a *account.Account) (fetches, replays []int) {
	return m.credentials.History(a.Credential())
}

// look has the status of accounts be what all processes know together.
func (m *TokenManager) look(ctx context.Context, accounts iter.Seq[*account.Account]) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var wg sync.WaitGroup
	turns := make(chan struct{}, lookAtOnce)
	for a := range accounts {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return
		}
		wg.Go(func() {
			m.credentials.Look(ctx, a.Credential(), lookPause)
			m.tickets.look(ctx, a)
			<-turns
		})
	}
	wg.Wait()
}
