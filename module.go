// Package weixin is a Caddy module that stands between applications and the
// WeChat API. It puts each account's access_token into the requests that pass
// through, keeps it valid, and sends a request again that WeChat has refused
// for its token.
//
// The core is free of Caddy: the token's life is in the package credential, of
// which tokenmanager.go is the face here; a request's way is in
// transport.go, with body.go and answer.go; WeChat's facts are in the package
// wechat. Around it are the app (module.go), the handler (handler.go), the
// transport for reverse_proxy (reverseproxy.go), the status page
// (statuspage.go) and the Caddyfile (caddyfile.go).
package weixin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

func init() {
	caddy.RegisterModule(App{})
}

// App holds the WeChat accounts, keeps their tokens valid, and gives them to
// the `weixin` handler and the `weixin` transport.
type App struct {
	// The WeChat API's base URL, for accounts that have none of their own.
	// Default: `https://api.weixin.qq.com`
	Upstream string `json:"upstream,omitempty"`

	// The DNS server to ask for upstreams' addresses, as an IP with or without a
	// port, for accounts that have none of their own. It is needed where the
	// system's DNS or its hosts file leads WeChat's names to this proxy, which
	// would otherwise call itself. Default: the system's
	Resolver string `json:"resolver,omitempty"`

	// Where tokens are kept and shared with other processes.
	// Default: the storage that Caddy itself uses.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=weixin.stores inline_key=module"`

	// The accounts by name. The name is what handlers, log lines and metrics
	// call the account.
	Accounts map[string]*AccountConfig `json:"accounts,omitempty"`

	// The applications that may use the proxy, by name. Once there is one,
	// nothing passes without the key of one. Default: none; who may use the
	// proxy is then decided by address.
	Callers map[string]*CallerConfig `json:"callers,omitempty"`

	logger      *zap.Logger
	tokens      *TokenManager
	accounts    map[string]*Account // by name
	byAppID     map[string]*Account
	byVirtualID map[virtualID]*Account
	issue       map[string]string // by the account's name
	callers     []*caller
	callersByID map[virtualID]*caller
	realIssuers *realIssuers
	resolvers   resolvers
	endpoint    upstream.RoundTripper

	// upstreamHosts are the names of the accounts' upstreams, which are as
	// little another site's as their AppSecrets are.
	upstreamHosts map[string]bool

	mirrors []*accountMirror

	positions positions
	runners   []string // keys of what this configuration holds of runnerPool
}

// AccountConfig is an official account or a mini program.
type AccountConfig struct {
	// The AppID. Placeholders such as `{env.WEIXIN_APPID}` are resolved when
	// the configuration is loaded. Required.
	AppID string `json:"appid,omitempty"`

	// The AppSecret. Write it as a placeholder, such as `{env.WEIXIN_SECRET}`
	// or `{file./run/secrets/weixin}`: placeholders are resolved when the
	// configuration is loaded, and the secret itself appears nowhere. Required.
	AppSecret string `json:"secret,omitempty"`

	// How tokens are fetched: `stable` uses /cgi-bin/stable_token, whose
	// tokens other callers of the account share; `classic` uses
	// /cgi-bin/token, where every fetch ends the token before. Default: stable
	Token string `json:"token,omitempty"`

	// The WeChat API's base URL for this account. Default: the app's.
	Upstream string `json:"upstream,omitempty"`

	// The DNS server to ask for this account's upstream's address, as an IP
	// with or without a port. Default: the app's
	Resolver string `json:"resolver,omitempty"`

	// What applications get that ask for a token themselves: `virtual` is a
	// token that is good for this proxy alone; `real` is the account's own, for
	// applications that call WeChat directly; `off` is status 403.
	// Default: virtual
	Issue string `json:"issue,omitempty"`

	// What applications get that ask for a ticket of the JS-SDK or for cards:
	// `kept` is one that the proxy keeps, with an `expires_in` that is true;
	// `pass` is WeChat's own answer. Default: kept
	Tickets string `json:"tickets,omitempty"`

	// The places in Redis where the account's token and tickets are written for
	// applications that call WeChat directly.
	Mirrors []*MirrorConfig `json:"mirrors,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "weixin",
		New: func() caddy.Module { return new(App) },
	}
}

// runnerPool holds what the process knows about its accounts' tokens, so that a
// reload loses none of it.
var runnerPool = caddy.NewUsagePool()

// budgets are what the accounts of the process share, across configurations.
var budgets = credential.NewProcess()

// Provision resolves the accounts. It does not touch the network.
func (app *App) Provision(ctx caddy.Context) error {
	app.logger = ctx.Logger()
	st, err := app.loadStore(ctx)
	if err != nil {
		return err
	}
	if err := app.provisionResolvers(); err != nil {
		return err
	}
	connections := upstream.NewTransport(fetchTimeout)
	// On a connection that was kept, a fetch might be sent twice.
	connections.DisableKeepAlives = true
	app.endpoint, err = upstream.NewResolving(connections, app.resolvers.all, func(t *http.Transport) (upstream.RoundTripper, error) {
		return upstream.NewRoundTripper(upstream.NetHTTP, t)
	})
	if err != nil {
		return err
	}
	app.tokens = newTokenManager(budgets, st, app.endpoint, app.logger)
	observerOf, err := reporters(ctx)
	if err != nil {
		return err
	}
	app.accounts = make(map[string]*Account, len(app.Accounts))
	app.byAppID = make(map[string]*Account, len(app.Accounts))
	app.byVirtualID = make(map[virtualID]*Account, len(app.Accounts))
	app.issue = make(map[string]string, len(app.Accounts))
	app.callersByID = make(map[virtualID]*caller, len(app.Callers))
	app.upstreamHosts = make(map[string]bool)
	app.realIssuers = &realIssuers{accounts: make(map[*issuedTokens]*Account)}
	for _, name := range sortedKeys(app.Accounts) {
		if err := app.addAccount(name, app.Accounts[name]); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		app.accounts[name].watcher = observerOf(name)
		if err := app.addMirrors(app.accounts[name], app.Accounts[name]); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		if app.issue[name] == issueReal {
			if err := app.realIssuers.add(app.accounts[name]); err != nil {
				return err
			}
		}
	}
	for _, name := range sortedKeys(app.Callers) {
		if err := app.addCaller(ctx, name, app.Callers[name]); err != nil {
			return fmt.Errorf("caller %s: %w", name, err)
		}
	}
	app.warnOfRealTokens()
	return nil
}

func (app *App) loadStore(ctx caddy.Context) (store.Store, error) {
	if app.StoreRaw == nil {
		app.StoreRaw = json.RawMessage(`{"module":"storage"}`)
		defer func() { app.StoreRaw = nil }()
	}
	if err := app.checkStore(); err != nil {
		return nil, err
	}
	mod, err := ctx.LoadModule(app, "StoreRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the token store: %v", err)
	}
	return mod.(store.Store), nil
}

// addAccount resolves one account.
func (app *App) addAccount(name string, cfg *AccountConfig) error {
	if err := checkName(name); err != nil {
		return err
	}
	if cfg == nil {
		cfg = new(AccountConfig)
	}
	owner := "account " + name
	appID, err := app.resolve(owner, optionAppID, cfg.AppID)
	if err != nil {
		return err
	}
	secret, err := app.resolve(owner, optionSecret, cfg.AppSecret)
	if err != nil {
		return err
	}
	if err := checkNotSwapped(appID, secret); err != nil {
		return fmt.Errorf("%w%s", err, app.positions.of(owner, optionAppID))
	}
	if other, ok := app.byAppID[appID]; ok {
		return fmt.Errorf("appid %s is that of account %s already: give every account an appid of its own", appID, other.Name)
	}
	source, err := wechat.NewSource(cfg.Token)
	if err != nil {
		return err
	}
	if err := checkIssue(cfg.Issue); err != nil {
		return err
	}
	u, err := app.upstreamOf(owner, cfg)
	if err != nil {
		return err
	}
	app.warnOfLiteral("account "+name, "secret", cfg.AppSecret)
	if upstream.IsCleartext(u) {
		app.logger.Warn("the AppSecret and the tokens go to the upstream unencrypted: use https",
			zap.String("account", name), zap.Stringer("upstream", u))
	}
	account := &Account{
		Name:        name,
		Credentials: wechat.Credentials{AppID: appID, AppSecret: secret},
		Source:      loopGuard{source, app},
		Place:       wechat.Official,
		Upstream:    u,
		Resolver:    app.resolvers.byAccount[name],
	}
	key := accountID(account.Credentials, account.Source, account.Upstream)
	runner, _, err := runnerPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return credential.NewRunner(), nil
	})
	if err != nil {
		return err
	}
	app.runners = append(app.runners, key)
	app.tokens.bind(account, runner.(*credential.Runner))
	account.virtualID = newVirtualID("account", appID)
	if account.virtualKey, err = virtualKey(account.Credentials); err != nil {
		return err
	}
	app.accounts[name], app.byAppID[appID], app.byVirtualID[account.virtualID] = account, account, account
	app.issue[name] = cfg.Issue
	if err := app.addTickets(account, cfg.Tickets); err != nil {
		return err
	}
	app.upstreamHosts[strings.ToLower(u.Hostname())] = true
	return nil
}

// checkName refuses names that could not be written in a Caddyfile or a URL.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n/{}") {
		return fmt.Errorf("%q is no name: write one without spaces, slashes and braces", name)
	}
	return nil
}

func checkIssue(issue string) error {
	switch issue {
	case "", issueVirtual, issueReal, issueOff:
		return nil
	}
	return fmt.Errorf("unknown way to issue tokens %s: write virtual, real or off", issue)
}

// warnOfLiteral warns of a secret that stands in the configuration itself.
func (app *App) warnOfLiteral(owner, option, value string) {
	if !hasPlaceholder(value) {
		app.logger.Warn("a secret stands in the configuration itself, where it can be read: write a placeholder such as {env.WEIXIN_SECRET}",
			zap.String("of", owner), zap.String("option", option))
	}
}

// Start begins to keep the tokens valid. It does not wait for WeChat.
func (app *App) Start() error {
	for _, a := range app.accounts {
		app.tokens.KeepWarm(a, time.Duration(len(app.accounts)-1)*startPause)
	}
	app.tokens.tickets.keepWarm()
	app.startMirrors()
	app.setRunning(true)
	return nil
}

// startPause is how far apart accounts begin, on average.
const startPause = time.Millisecond

// stopTimeout bounds the wait for tokens that WeChat is about to issue.
const stopTimeout = 5 * time.Second

// Stop ends keeping the tokens valid. Requests that are still under way get
// theirs.
func (app *App) Stop() error {
	app.setRunning(false)
	app.stopMirrors()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, a := range app.accounts {
		wg.Go(func() { app.tokens.Release(ctx, a) })
	}
	wg.Go(func() { app.tokens.tickets.release(ctx) })
	wg.Wait()
	return nil
}

// Cleanup gives back what Provision took.
func (app *App) Cleanup() error {
	app.stopMirrors()
	app.closeMirrors()
	for _, key := range app.runners {
		if _, err := runnerPool.Delete(key); err != nil {
			return err
		}
	}
	app.runners = nil
	if app.realIssuers != nil {
		if err := app.realIssuers.release(); err != nil {
			return err
		}
	}
	if app.tokens != nil {
		if err := app.tokens.tickets.cleanup(); err != nil {
			return err
		}
		app.tokens.credentials.Close()
	}
	if app.endpoint != nil {
		app.endpoint.CloseIdleConnections()
	}
	return nil
}

// account returns the account of that name, or the only one there is.
func (app *App) account(name string) (*Account, error) {
	if len(app.accounts) == 0 {
		return nil, errors.New("no account is configured: add one to the weixin global option")
	}
	if name != "" {
		if a, ok := app.accounts[name]; ok {
			return a, nil
		}
		return nil, fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(sortedKeys(app.accounts), ", "))
	}
	if len(app.accounts) > 1 {
		return nil, fmt.Errorf("there are several accounts: write one of %s", strings.Join(sortedKeys(app.accounts), ", "))
	}
	return app.onlyAccount(), nil
}

// onlyAccount returns the account if there is but one.
func (app *App) onlyAccount() *Account {
	if len(app.accounts) != 1 {
		return nil
	}
	for _, a := range app.accounts {
		return a
	}
	return nil
}

// loadApp returns the app for a handler or transport.
func loadApp(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("weixin")
	if err != nil {
		return nil, fmt.Errorf("loading the weixin app: %w", err)
	}
	return app.(*App), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
