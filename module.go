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
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
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

	// The applications that may use the proxy, by name. Once there is one,
	// nothing passes without the key of one. Default: none; who may use the
	// proxy is then decided by address.
	Callers map[string]*CallerConfig `json:"callers,omitempty"`

	logger    *zap.Logger
	tokens    *TokenManager
	accounts  *account.Directory
	registry  *gateway.Registry
	resolvers resolvers
	endpoint  upstream.RoundTripper

	mirrors []*accountMirror

	positions positions
	runners   []string // keys of what this configuration holds of runnerPool
}

// AccountConfig is an official account, a mini program, or an application of a
// WeCom corporation.
type AccountConfig struct {
	// What the account is: `official`, which is everything with an AppID and an
	// AppSecret at api.weixin.qq.com, or `wecom`, which is one application of a
	// corporation at qyapi.weixin.qq.com. Default: official
	Kind string `json:"kind,omitempty"`

	// The corporation's ID, for kind `wecom`, which needs it. Placeholders are
	// resolved when the configuration is loaded.
	CorpID string `json:"corpid,omitempty"`

	// The application's AgentId, for kind `wecom`: a number.
	AgentID AgentID `json:"agentid,omitempty"`

	// The AppID. Placeholders such as `{env.WEIXIN_APPID}` are resolved when
	// the configuration is loaded. Required for kind `official`.
	AppID string `json:"appid,omitempty"`

	// The AppSecret, or the WeCom application's Secret. Write it as a placeholder, such as `{env.WEIXIN_SECRET}`
	// or `{file./run/secrets/weixin}`: placeholders are resolved when the
	// configuration is loaded, and the secret itself appears nowhere. Required.
	AppSecret string `json:"secret,omitempty"`

	// How tokens are fetched: `stable` uses /cgi-bin/stable_token, whose
	// tokens other callers of the account share; `classic` uses
	// /cgi-bin/token, where every fetch ends the token before. Default: stable
	Token string `json:"token,omitempty"`

	// The API's base URL for this account, which may have a path. Default: the
	// app's, or for kind `wecom` `https://qyapi.weixin.qq.com`
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

	// The keys of calls that are encrypted and signed. Default: none; requests
	// go out as they are
	APISecurity *APISecurityConfig `json:"api_security,omitempty"`
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
	if err := app.provisionAccounts(ctx); err != nil {
		return err
	}
	if app.registry, err = gateway.NewRegistry(app.accounts, app.tokens.credentials.Now, app.logger); err != nil {
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

func (app *App) provisionAccounts(ctx caddy.Context) error {
	observerOf, err := observers(ctx)
	if err != nil {
		return err
	}
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

// newAccount resolves one account.
func (app *App) newAccount(name string, cfg *AccountConfig) (*account.Account, error) {
	if err := cmp.Or(checkName(name), checkAccountName(name)); err != nil {
		return nil, err
	}
	if cfg == nil {
		cfg = new(AccountConfig)
	}
	owner := "account " + name
	if err := app.checkKind(owner, cfg); err != nil {
		return nil, err
	}
	kind := wechat.KindNamed(cfg.Kind)
	cred, err := app.credentialsOf(owner, cfg)
	if err != nil {
		return nil, err
	}
	agentID, err := app.agentIDOf(owner, cfg)
	if err != nil {
		return nil, err
	}
	if err := checkTokenMethod(kind, cfg.Token); err != nil {
		return nil, err
	}
	if err := checkIssue(cfg.Issue); err != nil {
		return nil, err
	}
	u, err := app.upstreamOf(owner, kind, cfg)
	if err != nil {
		return nil, err
	}
	security, err := app.newAPISecurity(name, cred.ID, cfg.APISecurity)
	if err != nil {
		return nil, err
	}
	app.warnOfLiteral("account "+name, "secret", cfg.AppSecret)
	if upstream.IsCleartext(u) {
		app.logger.Warn("the AppSecret and the tokens go to the upstream unencrypted: use https",
			zap.String("account", name), zap.Stringer("upstream", u))
	}
	return app.bind(&account.Account{
		Name:        name,
		Kind:        kind,
		AgentID:     agentID,
		Credentials: cred,
		Endpoint:    kind.TokenEndpoint(cfg.Token),
		Upstream:    u,
		Resolver:    app.resolvers.byAccount[name],
		Security:    security,
		Issue:       cfg.Issue,
	})
}

// bind completes an account with what the process knows of its token.
func (app *App) bind(a *account.Account) (*account.Account, error) {
	runner, _, err := runnerPool.LoadOrNew(a.ID(), func() (caddy.Destructor, error) {
		return credential.NewRunner(), nil
	})
	if err != nil {
		return nil, err
	}
	app.runners = append(app.runners, a.ID())
	app.tokens.bind(a, runner.(*credential.Runner))
	return a, a.MakeVirtualKey()
}

// credentialsOf returns what an account proves itself with.
func (app *App) credentialsOf(owner string, cfg *AccountConfig) (wechat.Credentials, error) {
	if cfg.Kind == wechat.WeCom.Name {
		return app.corpCredentialsOf(owner, cfg)
	}
	appID, err := app.resolve(owner, optionAppID, cfg.AppID)
	if err != nil {
		return wechat.Credentials{}, err
	}
	secret, err := app.resolve(owner, optionSecret, cfg.AppSecret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	if err := cmp.Or(checkNotSwapped(appID, secret), checkAppID(appID)); err != nil {
		return wechat.Credentials{}, fmt.Errorf("%w%s", err, app.positions.of(owner, optionAppID))
	}
	return wechat.Credentials{ID: appID, Secret: secret}, nil
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
	case "", account.IssueVirtual, account.IssueReal, account.IssueOff:
		return nil
	}
	return fmt.Errorf("unknown way to issue tokens %s: write virtual, real or off", issue)
}

// checkTokenMethod refuses ways to fetch a token that the kind has not.
func checkTokenMethod(kind *wechat.Kind, name string) error {
	if kind.TokenEndpoint(name) != nil {
		return nil
	}
	return fmt.Errorf("unknown token method %q: write stable or classic", name)
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

// account returns the account of that name, or the only one there is.
func (app *App) account(name string) (*account.Account, error) {
	if app.accounts.Len() == 0 {
		return nil, errors.New("no account is configured: add one to the weixin global option")
	}
	if name != "" {
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
