// Package weixin is a Caddy module that stands between applications and the
// WeChat API. It puts each account's access_token into the requests that pass
// through, keeps it valid, and sends a request again that WeChat has refused
// for its token.
//
// This package is Caddy's face: the app (module.go), the handler (handler.go),
// the transport for reverse_proxy (transport.go), the status page
// (statuspage.go), what operators use, and the Caddyfile (caddyfile.go). A
// request is admitted by internal/gateway and forwarded by internal/proxy; the
// token's life is in internal/credential, of which tokenmanager.go is the face
// here; WeChat's facts are in internal/wechat.
package weixin

import (
	"cmp"
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

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/store"
)

func init() {
	caddy.RegisterModule(App{})
}

// App holds the WeChat accounts, keeps their tokens valid, and gives them to
// the `weixin` handler and the `weixin` transport.
type App struct {
	// The WeChat API's base URL, for accounts of kind `official` that have none of
	// their own.
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

	// The third-party platforms by name. The name is what handlers, log lines and
	// metrics call the platform. The accounts that have authorised it are not
	// configured.
	Platforms map[string]*PlatformConfig `json:"platforms,omitempty"`

	// The applications that may use the proxy, by name. Once there is one,
	// nothing passes without the key of one. Default: none; who may use the
	// proxy is then decided by address.
	Callers map[string]*CallerConfig `json:"callers,omitempty"`

	logger    *zap.Logger
	tokens    *TokenManager
	accounts  *account.Directory
	platforms platforms
	registry  *gateway.Registry
	resolvers resolvers
	endpoint  upstream.RoundTripper

	mirrors []*accountMirror

	positions positions
	runners   []string // keys of what this configuration holds of runnerPool
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
	observerOf, err := observers(ctx)
	if err != nil {
		return err
	}
	if err := app.provisionAccounts(observerOf); err != nil {
		return err
	}
	if err := app.provisionPlatforms(observerOf); err != nil {
		return err
	}
	if app.registry, err = gateway.NewRegistry(app.accounts, app.tokens.credentials.Now, app.logger); err != nil {
		return err
	}
	if err := app.registry.AddPlatforms(app.platforms.all...); err != nil {
		return err
	}
	app.registry.Ticket = app.tokens.tickets.answer
	for _, name := range sortedKeys(app.Callers) {
		if err := app.addCaller(ctx, name, app.Callers[name]); err != nil {
			return fmt.Errorf("caller %s: %w", name, err)
		}
	}
	app.registry.WarnOfRealTokens()
	return nil
}

func (app *App) provisionAccounts(observerOf func(string) *accountObserver) (err error) {
	accounts := make([]*account.Account, 0, len(app.Accounts))
	for _, name := range sortedKeys(app.Accounts) {
		a, err := app.newAccount(name, app.Accounts[name])
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		a.Observer = observerOf(name)
		if err := cmp.Or(app.addTickets(a, app.Accounts[name].Tickets), app.addMirrors(a, app.Accounts[name])); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		accounts = append(accounts, a)
	}
	app.accounts, err = account.NewDirectory(accounts...)
	if duplicate, ok := errors.AsType[*account.DuplicateError](err); ok {
		return fmt.Errorf("account %s: %w%s", duplicate.Account.Name, err, app.positions.of("account "+duplicate.Account.Name, duplicate.Account.Kind.ID))
	}
	return err
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

// checkName refuses names that could not be written in a Caddyfile or a URL.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n/{}") {
		return fmt.Errorf("%q is no name: write one without spaces, slashes and braces", name)
	}
	return nil
}

// warnOfLiteral warns of a secret that stands in the configuration itself.
func (app *App) warnOfLiteral(owner, option, value string) {
	if !gateway.HasPlaceholder(value) {
		app.logger.Warn("a secret stands in the configuration itself, where it can be read: write a placeholder such as {env.WEIXIN_SECRET}",
			zap.String("of", owner), zap.String("option", option))
	}
}

// Start begins to keep the tokens valid. It does not wait for WeChat.
func (app *App) Start() error {
	for a := range app.accounts.All() {
		app.tokens.KeepWarm(a, time.Duration(app.accounts.Len()-1)*startPause)
	}
	app.platforms.start()
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
	for a := range app.accounts.All() {
		wg.Go(func() { app.tokens.Release(ctx, a) })
	}
	wg.Go(func() { app.platforms.release(ctx) })
	wg.Go(func() { app.tokens.tickets.release(ctx) })
	wg.Wait()
	return nil
}

// Cleanup gives back what Provision took.
func (app *App) Cleanup() error {
	app.stopMirrors()
	app.closeMirrors()
	if err := app.platforms.close(); err != nil {
		return err
	}
	for _, key := range app.runners {
		if _, err := runnerPool.Delete(key); err != nil {
			return err
		}
	}
	app.runners = nil
	if app.registry != nil {
		if err := app.registry.Close(); err != nil {
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

// account returns the account of that name, or the only one there is. Platforms
// are none.
func (app *App) account(name string) (*account.Account, error) {
	if app.accounts.Len() == 0 {
		return nil, errNoAccount
	}
	if name != "" {
		if app.platforms.named(name) != nil {
			return nil, fmt.Errorf("%s is a platform, which is not served here: write one of %s", name, strings.Join(app.accounts.Names(), ", "))
		}
		if a := app.accounts.Named(name); a != nil {
			return a, nil
		}
		return nil, fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(app.accounts.Names(), ", "))
	}
	if app.accounts.Len() > 1 {
		return nil, fmt.Errorf("there are several accounts: write one of %s", strings.Join(app.accounts.Names(), ", "))
	}
	return app.accounts.Only(), nil
}

var errNoAccount = errors.New("no account is configured: add one to the weixin global option")

// served returns the account of that name, or the only one there is. It may be a
// platform's own, which stands for that of <platform>:<appid> as well.
func (app *App) served(name string) (*account.Account, error) {
	names := app.servedNames()
	switch {
	case len(names) == 0:
		return nil, errNoAccount
	case name == "" && len(names) == 1:
		name = names[0]
	case name == "":
		return nil, fmt.Errorf("there are several accounts: write one of %s", strings.Join(names, ", "))
	}
	if a := app.servedNamed(name); a != nil {
		return a, nil
	}
	if p := app.platformOfAuthorizer(name); p != nil {
		return p.Component, nil
	}
	return nil, fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(names, ", "))
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
