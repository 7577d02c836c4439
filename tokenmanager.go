package weixin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
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

// Token is an access_token as requests use it. It prints as its fingerprint.
type Token = credential.Value

// Account is a WeChat account as the token manager and the transport see it.
type Account struct {
	credential credential.Credential // first, as every request looks at it

	Name        string
	Credentials wechat.Credentials
	Source      wechat.Source
	Place       wechat.Place
	Upstream    *url.URL
	Resolver    *upstream.Resolver // of the upstream's name; nil for the system's

	endpoint http.RoundTripper
	watcher  accountObserver

	redaction  redaction
	apiErrors  sampler // of errcodes that were logged, by their label
	unreadable sampler // of answers that were

	virtualID  virtualID
	virtualKey []byte
}

// bind completes an account with what the process knows of its token.
func (m *TokenManager) bind(a *Account, runner *credential.Runner) *Account {
	a.endpoint = m.endpoint
	a.watcher = nobody{}
	identity := url.PathEscape(a.Credentials.AppID) + "-" + a.Source.Method()
	a.credential = credential.Credential{
		ID:       credential.ID{Identity: identity, Upstream: a.Upstream.String(), Secret: a.Credentials.AppSecret},
		Name:     a.Name,
		Method:   a.Source.Method(),
		Source:   (*tokenEndpoint)(a),
		Policy:   policyOf(a.Source),
		Former:   formerPlace,
		Observer: (*tokenObserver)(a),
		Advisor:  logAdvisor{},
	}
	m.credentials.Bind(&a.credential, runner)
	return a
}

// accountID identifies an account's token: what makes for another token makes
// for another ID.
func accountID(cred wechat.Credentials, source wechat.Source, upstream *url.URL) string {
	h := sha256.New()
	for _, s := range []string{cred.AppID, cred.AppSecret, source.Method(), upstream.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Token returns the account's token. Where there is a valid one that takes one
// look, no lock, and allocates nothing. Where there is none it waits for one, as
// long as ctx allows. The error is a *TokenError, errStillRejected, or that of
// ctx.
func (m *TokenManager) Token(ctx context.Context, a *Account) (*Token, error) {
	if t := a.credential.Current(m.now()); t != nil {
		return t, nil
	}
	t, err := m.credentials.Value(ctx, &a.credential)
	return t, tokenError(a, err)
}

// Replacement is what to use in place of a rejected token, and whom to tell what
// came of it.
type Replacement = credential.Replacement

// Replace returns a token to use in place of one that WeChat has rejected. It is
// compare-and-swap: where another token has taken the rejected one's place
// already, it returns that. A token that is found to be good is returned after a
// moment, to be tried once more. by is the caller, or the client's address: who
// had tokens fetched in vain too often is not listened to for a while.
//
// The error is errStillRejected where the token is not replaced for now, a
// *TokenError where none could be had, or that of ctx.
func (m *TokenManager) Replace(ctx context.Context, a *Account, rejected *Token, by string) (*Replacement, error) {
	r, err := m.credentials.Replace(ctx, &a.credential, rejected, by)
	if err != nil {
		return nil, tokenError(a, err)
	}
	if r.Wait > 0 {
		timer := time.NewTimer(r.Wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return &r, nil
}

// TokenLasting returns a token that lives for that long at least, if WeChat
// gives one. Where every fetch kills the token before, half of its life is
// enough. It is for tokens that leave the proxy.
func (m *TokenManager) TokenLasting(ctx context.Context, a *Account, left time.Duration) (*Token, error) {
	t, err := m.credentials.ValueLasting(ctx, &a.credential, left)
	return t, tokenError(a, err)
}

// Renew gets another token at once, whatever went before: it ends a back-off.
// If the fingerprint of a rejected token is given, it does so only if that is
// the current one still. It is for operators, and for systems that have found a
// token rejected themselves.
func (m *TokenManager) Renew(ctx context.Context, a *Account, rejected string) error {
	return tokenError(a, m.credentials.Renew(ctx, &a.credential, rejected))
}

// RenewGently is Renew for those who are no operators. What it refuses, for the
// account's sake, is a *credential.RefusedError.
func (m *TokenManager) RenewGently(ctx context.Context, a *Account) error {
	return tokenError(a, m.credentials.RenewGently(ctx, &a.credential))
}

// KeepWarm starts to keep an account's token warm, at some time within the given
// one.
func (m *TokenManager) KeepWarm(a *Account, within time.Duration) {
	m.credentials.KeepWarm(&a.credential, within)
}

// Release ends KeepWarm, and waits for what is under way, so that no token that
// WeChat has issued is lost.
func (m *TokenManager) Release(ctx context.Context, a *Account) {
	m.credentials.Release(ctx, &a.credential)
}

// now returns the time by which tokens live.
func (m *TokenManager) now() time.Time { return m.credentials.Now() }

// replayed counts a request that was sent again.
func (m *TokenManager) replayed(a *Account) { m.credentials.Replayed(&a.credential) }

// current returns the token there is, or nil. It may not be one to be used.
//
//nolint:unused // for who recognises real tokens that come back
func (a *Account) current() *Token { return a.credential.Peek() }

// workingSetSize is how many accounts that come and go a process keeps in memory.
const workingSetSize = 1 << 14

// workingSet holds the accounts of the process that are in no configuration, as
// far as they are in use. It outlives configurations: an account that is asked
// for by a newer one is made again for that, with what is known of its token.
var workingSet = sync.OnceValues(func() (*credential.WorkingSet[*Account], error) {
	return credential.NewWorkingSet(workingSetSize, func(a *Account) { a.credential.End() })
})

// Acquire returns an account that is in no configuration, such as that of an
// appid which a platform was authorised by, and has its token kept warm while it
// is in use. produce makes one that is not in memory, and binds it.
func (m *TokenManager) Acquire(id string, produce func(bind func(*Account) *Account) *Account) (*Account, error) {
	set, err := workingSet()
	if err != nil {
		return nil, err
	}
	return m.acquireFrom(set, id, produce), nil
}

func (m *TokenManager) acquireFrom(set *credential.WorkingSet[*Account], id string, produce func(bind func(*Account) *Account) *Account) *Account {
	isCurrent := func(a *Account) bool { return a.credential.IsOf(m.credentials) }
	return set.Acquire(id, isCurrent, func(old *Account, ok bool) *Account {
		runner := credential.NewRunner()
		if ok {
			runner = old.credential.Runner()
		}
		a := produce(func(a *Account) *Account { return m.bind(a, runner) })
		m.KeepWarm(a, 0)
		return a
	})
}

// tokenError returns an error of the package credential as callers of the token
// manager know it.
func tokenError(a *Account, err error) error {
	if u, ok := errors.AsType[*credential.UnavailableError](err); ok {
		return &TokenError{
			Account: a.Name, Errcode: u.Errcode, Message: u.Message, RetryAt: u.RetryAt,
			Timeout: u.Timeout, BackingOff: u.BackingOff,
		}
	}
	return err
}
