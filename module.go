// Package weixin is a Caddy module that stands between applications and the
// WeChat API. It puts each account's access_token into the requests that pass
// through, keeps it valid, and sends a request again that WeChat has refused
// for its token.
//
// This package is Caddy's face: the app (module.go), the handler (handler.go),
// the transport for reverse_proxy (transport.go), the status page
// (statuspage.go), what operators use, and the Caddyfile (caddyfile.go); all that
// Caddy gets is listed in register.go. A request is admitted by internal/gateway
// and forwarded by internal/proxy; the token's life is in internal/credential, of
// which tokenmanager.go is the face here; WeChat's facts are in internal/wechat.
package weixin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/store"
)

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

	positions option.Positions

	provisioning provisioning
	served       served
	registry     *gateway.Registry
	mirrors      accountMirrors
	endpoint     upstream.RoundTripper // to where tokens are fetched
}

var appForms = option.Forms{
	"upstream": `"https://api.weixin.qq.com"`,
	"resolver": `"223.5.5.5"`,
	"store":    `{"module": "storage"}`,
	"accounts": `{"shop": {"appid": "{env.WEIXIN_APPID}", "secret": "{env.WEIXIN_SECRET}"}}`,
	"callers":  `{"orders": {"key": "{env.ORDERS_KEY}"}}`,

	"platforms": `{"isv": {"appid": "{env.COMPONENT_APPID}", "secret": "{env.COMPONENT_SECRET}", "push_token": "{env.COMPONENT_TOKEN}", "push_aes_key": "{env.COMPONENT_AES_KEY}"}}`,
}

// UnmarshalJSON decodes the app's options.
func (app *App) UnmarshalJSON(data []byte) error {
	type plain App
	app.positions = option.PositionsOf(data)
	if err := option.DecodeMembers[AccountConfig](data, "accounts", "account"); err != nil {
		return err
	}
	if err := option.DecodeMembers[PlatformConfig](data, "platforms", "platform"); err != nil {
		return err
	}
	if err := option.DecodeMembers[CallerConfig](data, "callers", "caller"); err != nil {
		return err
	}
	if err := option.Decode(data, (*plain)(app), appForms); err != nil {
		return err
	}
	var module struct {
		Module string `json:"module"`
	}
	if app.StoreRaw != nil && (json.Unmarshal(app.StoreRaw, &module) != nil || module.Module == "") {
		return option.Errorf(`store has not the form it should have: write "store": %s, for example`, appForms["store"])
	}
	return nil
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "weixin",
		New: func() caddy.Module { return new(App) },
	}
}

// budgets are what the accounts of the process share, across configurations.
var budgets = credential.NewProcess()

// Provision resolves the accounts. It does not touch the network.
func (app *App) Provision(ctx caddy.Context) error {
	values := option.Values{Positions: app.positions, Logger: ctx.Logger()}
	app.provisioning = provisioning{Values: values, upstream: app.Upstream}
	st, err := app.loadStore(ctx)
	if err != nil {
		return err
	}
	if err := app.addResolvers(); err != nil {
		return err
	}
	if err := app.makeEndpoint(); err != nil {
		return err
	}
	app.served.tokens = newTokenManager(budgets, st, app.endpoint, app.provisioning.Logger)
	app.mirrors = accountMirrors{Values: values, tokens: app.served.tokens}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	observerOf, err := observers(ctx)
	if err != nil {
		return err
	}
	if err := app.addAccounts(observerOf); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(app.Platforms)) {
		cfg := cmp.Or(app.Platforms[name], new(PlatformConfig))
		if err := addPlatform(&app.provisioning, &app.served, name, cfg, observerOf(name)); err != nil {
			return fmt.Errorf("platform %s: %w", name, err)
		}
	}
	return app.makeRegistry(ctx)
}

// addResolvers resolves what the app, the accounts and the platforms say of DNS.
func (app *App) addResolvers() error {
	if err := app.provisioning.resolvers.add(app.provisioning.Values, "weixin", app.Resolver); err != nil {
		return err
	}
	configured := make(map[string]string)
	for name, cfg := range app.Accounts {
		if cfg != nil {
			configured["account "+name] = cfg.Resolver
		}
	}
	for name, cfg := range app.Platforms {
		if cfg != nil {
			configured["platform "+name] = cfg.Resolver
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(configured)) {
		if err := app.provisioning.resolvers.add(app.provisioning.Values, owner, cmp.Or(configured[owner], app.Resolver)); err != nil {
			return fmt.Errorf("%s: %w", owner, err)
		}
	}
	return nil
}

// makeEndpoint makes the connections on which tokens are fetched.
func (app *App) makeEndpoint() (err error) {
	connections := upstream.NewTransport(fetchTimeout)
	// On a connection that was kept, a fetch might be sent twice.
	connections.DisableKeepAlives = true
	app.endpoint, err = upstream.NewResolving(connections, app.provisioning.resolvers.all, func(t *http.Transport) (upstream.RoundTripper, error) {
		return upstream.NewRoundTripper(upstream.NetHTTP, t)
	})
	return err
}

func (app *App) addAccounts(observerOf func(string) *accountObserver) (err error) {
	accounts := make([]*account.Account, 0, len(app.Accounts))
	for _, name := range slices.Sorted(maps.Keys(app.Accounts)) {
		a, err := app.newAccount(name, cmp.Or(app.Accounts[name], new(AccountConfig)), observerOf)
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		accounts = append(accounts, a)
	}
	app.served.accounts, err = account.NewDirectory(accounts...)
	if duplicate, ok := errors.AsType[*account.DuplicateError](err); ok {
		return app.provisioning.Wrong("account "+duplicate.Account.Name, duplicate.Account.Kind.ID, fmt.Errorf("account %s: %w", duplicate.Account.Name, err))
	}
	return err
}

// newAccount resolves one account, and has its token, tickets and mirrors be kept.
func (app *App) newAccount(name string, cfg *AccountConfig, observerOf func(string) *accountObserver) (*account.Account, error) {
	a, err := newAccount(&app.provisioning, name, cfg)
	if err != nil {
		return nil, err
	}
	if err := app.served.tokens.add(a); err != nil {
		return nil, err
	}
	a.Observer = observerOf(name)
	if err := checkTickets(cfg.Tickets); err != nil {
		return nil, err
	}
	app.served.tokens.tickets.add(a, cfg.Tickets == ticketsPass)
	return a, app.mirrors.add(a, cfg.Mirrors)
}

// makeRegistry makes what requests are admitted by.
func (app *App) makeRegistry(ctx caddy.Context) (err error) {
	tokens := app.served.tokens
	if app.registry, err = gateway.NewRegistry(app.served.accounts, tokens.credentials.Now, app.provisioning.Logger); err != nil {
		return err
	}
	if err := app.registry.AddPlatforms(app.served.platforms.all...); err != nil {
		return err
	}
	app.registry.Ticket = tokens.tickets.answer
	for _, name := range slices.Sorted(maps.Keys(app.Callers)) {
		cfg := cmp.Or(app.Callers[name], new(CallerConfig))
		if err := addCaller(ctx, app.provisioning.Values, &app.served, app.registry, name, cfg); err != nil {
			return fmt.Errorf("caller %s: %w", name, err)
		}
	}
	app.registry.WarnOfRealTokens()
	return nil
}

func (app *App) loadStore(ctx caddy.Context) (store.Store, error) {
	if app.StoreRaw == nil {
		app.StoreRaw = json.RawMessage(`{"module":"storage"}`)
		defer func() { app.StoreRaw = nil }()
	}
	if err := checkStore(app.provisioning.Values, app.StoreRaw); err != nil {
		return nil, err
	}
	mod, err := ctx.LoadModule(app, "StoreRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the token store: %v", err)
	}
	return mod.(store.Store), nil
}

// Start begins to keep the tokens valid. It does not wait for WeChat.
func (app *App) Start() error {
	s := &app.served
	for a := range s.accounts.All() {
		s.tokens.KeepWarm(a, startDelay, time.Duration(s.accounts.Len()-1)*startPause)
	}
	s.platforms.start()
	s.tokens.tickets.keepWarm()
	app.mirrors.start()
	s.setRunning(true)
	return nil
}

const (
	// startDelay is when accounts begin: an upstream may be a site of this very
	// Caddy, as the sandbox is, which begins to listen while apps are started.
	startDelay = 100 * time.Millisecond

	// startPause is how far apart accounts begin, on average.
	startPause = time.Millisecond
)

// stopTimeout bounds the wait for tokens that WeChat is about to issue.
const stopTimeout = 5 * time.Second

// Stop ends keeping the tokens valid. Requests that are still under way get
// theirs.
func (app *App) Stop() error {
	s := &app.served
	s.setRunning(false)
	app.mirrors.stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for a := range s.accounts.All() {
		wg.Go(func() { s.tokens.Release(ctx, a) })
	}
	wg.Go(func() { s.platforms.release(ctx) })
	wg.Go(func() { s.tokens.tickets.release(ctx) })
	wg.Wait()
	return nil
}

// Cleanup gives back what Provision took.
func (app *App) Cleanup() error {
	app.mirrors.stop()
	app.mirrors.close()
	if err := app.served.platforms.close(); err != nil {
		return err
	}
	if app.registry != nil {
		if err := app.registry.Close(); err != nil {
			return err
		}
	}
	if app.served.tokens != nil {
		if err := app.served.tokens.close(); err != nil {
			return err
		}
	}
	if app.endpoint != nil {
		app.endpoint.CloseIdleConnections()
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

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
