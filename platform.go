package weixin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// PlatformConfig is a third-party platform of WeChat's open platform. The accounts
// that have authorised it need no configuration: requests name them by their
// AppID.
//
// WeChat pushes tickets and events to the platform's authorisation-event URL, which
// has to be one with the handler `weixin_callback`.
type PlatformConfig struct {
	// The platform's AppID. Placeholders such as `{env.COMPONENT_APPID}` are
	// resolved when the configuration is loaded. Required.
	AppID string `json:"appid,omitempty"`

	// The platform's AppSecret. Write it as a placeholder, such as
	// `{env.COMPONENT_SECRET}` or `{file./run/secrets/component}`: placeholders are
	// resolved when the configuration is loaded, and the secret itself appears
	// nowhere. Required.
	AppSecret string `json:"secret,omitempty"`

	// The token that pushes are signed with, as the platform's console has it under
	// the URL for messages and events. Write it as a placeholder. Required.
	PushToken string `json:"push_token,omitempty"`

	// The key that pushes are encrypted with, which has 43 characters and stands
	// beside that token. Write it as a placeholder. Required.
	PushAESKey string `json:"push_aes_key,omitempty"`

	// The API's base URL for the platform and the accounts that have authorised it.
	// Default: the app's
	Upstream string `json:"upstream,omitempty"`

	// The DNS server to ask for that upstream's address, as an IP with or without a
	// port. Default: the app's
	Resolver string `json:"resolver,omitempty"`

	// What applications get that ask for the platform's token, or for that of an
	// account which has authorised it: `virtual` is a token that is good for this
	// proxy alone; `real` is WeChat's, for applications that call WeChat directly;
	// `off` is status 403. Refresh tokens are never WeChat's. Default: virtual
	Issue string `json:"issue,omitempty"`

	// How many of the accounts that have authorised the platform a process keeps in
	// memory. What is known of the others is in the store. Default: 100000
	AuthorizersInMemory int `json:"authorizers_in_memory,omitempty"`
}

const (
	optionPushToken  = "push_token"
	optionPushAESKey = "push_aes_key"
	optionInMemory   = "authorizers_in_memory"
)

// How many authorizers a process keeps in memory.
const (
	defaultInMemory = 100_000
	maxInMemory     = 10_000_000
)

// platforms are those of a configuration, by name.
type platforms struct {
	all       []*platform.Platform
	receivers map[*platform.Platform]*push.Receiver
	closed    bool
}

// named returns the platform of that name, or nil.
func (p *platforms) named(name string) *platform.Platform {
	for _, of := range p.all {
		if of.Component.Name == name {
			return of
		}
	}
	return nil
}

// names returns the platforms' names in order.
func (p *platforms) names() []string {
	names := make([]string, len(p.all))
	for i, of := range p.all {
		names[i] = of.Component.Name
	}
	return names
}

// components returns the platforms' own accounts.
func (p *platforms) components() []*account.Account {
	accounts := make([]*account.Account, len(p.all))
	for i, of := range p.all {
		accounts[i] = of.Component
	}
	return accounts
}

// provisionPlatforms resolves the platforms.
func (app *App) provisionPlatforms(observerOf func(string) *accountObserver) error {
	app.platforms.receivers = make(map[*platform.Platform]*push.Receiver)
	for _, name := range sortedKeys(app.Platforms) {
		if err := app.addPlatform(name, app.Platforms[name], observerOf(name)); err != nil {
			return fmt.Errorf("platform %s: %w", name, err)
		}
	}
	return nil
}

// addPlatform resolves one platform.
func (app *App) addPlatform(name string, cfg *PlatformConfig, observer account.Observer) error {
	if err := cmp.Or(checkName(name), app.checkPlatformName(name)); err != nil {
		return err
	}
	if cfg == nil {
		cfg = new(PlatformConfig)
	}
	owner := "platform " + name
	cred, err := app.componentOf(owner, cfg)
	if err != nil {
		return err
	}
	receiver, err := app.receiverOf(owner, cred.ID, cfg)
	if err != nil {
		return err
	}
	if err := cmp.Or(checkIssue(cfg.Issue), checkInMemory(cfg.AuthorizersInMemory)); err != nil {
		return err
	}
	u, err := app.upstreamOf(owner, wechat.Platform, cfg.Upstream)
	if err != nil {
		return err
	}
	app.warnOfLiteral(owner, optionSecret, cfg.AppSecret)
	app.warnOfLiteral(owner, optionPushToken, cfg.PushToken)
	app.warnOfLiteral(owner, optionPushAESKey, cfg.PushAESKey)
	if upstream.IsCleartext(u) {
		app.logger.Warn("the AppSecret and the tokens go to the upstream unencrypted: use https",
			zap.String("platform", name), zap.Stringer("upstream", u))
	}
	p, err := platform.New(platform.Config{
		Name: name, Credentials: cred, Upstream: u, Resolver: app.resolvers.byOwner[owner], Issue: cfg.Issue, Observer: observer,
		InMemory: cmp.Or(cfg.AuthorizersInMemory, defaultInMemory),
		Manager:  app.tokens.credentials, Store: app.tokens.store, Endpoints: app.endpoint, Runner: app.runner, Logger: app.logger,
	})
	if err != nil {
		return err
	}
	app.platforms.all = append(app.platforms.all, p)
	app.platforms.receivers[p] = receiver
	return nil
}

// checkPlatformName refuses names that something else has, or that an account of
// a platform could have.
func (app *App) checkPlatformName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("%q is no name of a platform, since callers' accounts have it before a colon: write it without a colon", name)
	}
	if _, ok := app.Accounts[name]; ok {
		return errors.New("there is an account of this name: give the platform a name of its own")
	}
	return nil
}

// componentOf returns what a platform proves itself with.
func (app *App) componentOf(owner string, cfg *PlatformConfig) (wechat.Credentials, error) {
	cred, err := app.resolveCredentials(owner, cfg.AppID, cfg.AppSecret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	other := ""
	for a := range app.accounts.All() {
		if a.Credentials.ID == cred.ID {
			other = "account " + a.Name
		}
	}
	for _, a := range app.platforms.components() {
		if a.Credentials.ID == cred.ID {
			other = "platform " + a.Name
		}
	}
	if other != "" {
		return wechat.Credentials{}, fmt.Errorf("appid %s is that of %s already: give every platform an appid of its own%s",
			cred.ID, other, app.positions.of(owner, optionAppID))
	}
	return cred, nil
}

// receiverOf returns what opens the pushes to a platform.
func (app *App) receiverOf(owner, appID string, cfg *PlatformConfig) (*push.Receiver, error) {
	token, err := app.resolve(owner, optionPushToken, cfg.PushToken)
	if err != nil {
		return nil, err
	}
	encoded, err := app.resolve(owner, optionPushAESKey, cfg.PushAESKey)
	if err != nil {
		return nil, err
	}
	if err := checkPushSecrets(token, encoded); err != nil {
		return nil, fmt.Errorf("%w%s", err, app.positions.of(owner, optionPushAESKey))
	}
	key, err := push.ParseKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", optionPushAESKey, err, app.positions.of(owner, optionPushAESKey))
	}
	return push.NewReceiver(appID, token, key), nil
}

// checkPushSecrets refuses the key in place of the token, and the reverse.
func checkPushSecrets(token, encodedKey string) error {
	_, tokenErr := push.ParseKey(token)
	_, keyErr := push.ParseKey(encodedKey)
	if tokenErr == nil && keyErr != nil {
		return errors.New("push_token and push_aes_key are swapped: write the one of 43 characters as push_aes_key")
	}
	return nil
}

// checkInMemory refuses numbers of authorizers that no process can keep.
func checkInMemory(n int) error {
	if n < 0 || n > maxInMemory {
		return fmt.Errorf("%s %d is no number from 1 to %d: leave it out for %d", optionInMemory, n, maxInMemory, defaultInMemory)
	}
	return nil
}

// runner returns what the process knows of a credential, across configurations.
func (app *App) runner(key string) (*credential.Runner, error) {
	runner, _, err := runnerPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return credential.NewRunner(), nil
	})
	if err != nil {
		return nil, err
	}
	app.runners = append(app.runners, key)
	return runner.(*credential.Runner), nil
}

// start begins to keep the platforms' tokens warm.
func (p *platforms) start() {
	for _, of := range p.all {
		of.KeepWarm()
	}
}

// release ends that, and waits for what is under way.
func (p *platforms) release(ctx context.Context) {
	var wg sync.WaitGroup
	for _, of := range p.all {
		wg.Go(func() { of.Release(ctx) })
	}
	wg.Wait()
}

// close gives back what the configuration holds of the process's knowledge.
func (p *platforms) close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	errs := make([]error, 0, len(p.all))
	for _, of := range p.all {
		errs = append(errs, of.Close())
	}
	return errors.Join(errs...)
}

// platform returns the platform of that name, or the only one there is.
func (app *App) platform(name string) (*platform.Platform, error) {
	names := app.platforms.names()
	switch {
	case len(names) == 0:
		return nil, errNoPlatform
	case name == "" && len(names) == 1:
		return app.platforms.all[0], nil
	case name == "":
		return nil, fmt.Errorf("there are several platforms: write one of %s", strings.Join(names, ", "))
	}
	if p := app.platforms.named(name); p != nil {
		return p, nil
	}
	return nil, noSuchPlatform(name, names)
}

var errNoPlatform = errors.New("no platform is configured: add platform <name> { … } to the weixin global option")

func noSuchPlatform(name string, names []string) error {
	return fmt.Errorf("there is no platform %s: write one of %s", name, strings.Join(names, ", "))
}

// allServed returns what the proxy serves, in the order of the names: the accounts,
// and the platforms' own.
func (app *App) allServed() []*account.Account {
	all := slices.AppendSeq(app.platforms.components(), app.accounts.All())
	slices.SortFunc(all, func(a, b *account.Account) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// servedNames returns the names of what the proxy serves: accounts and platforms.
func (app *App) servedNames() []string {
	return slices.Sorted(slices.Values(slices.Concat(app.accounts.Names(), app.platforms.names())))
}

// platformOfAuthorizer returns the platform of <platform>:<appid>, or nil where a
// name is none of an account that could have authorised one.
func (app *App) platformOfAuthorizer(name string) *platform.Platform {
	of, appID, ok := strings.Cut(name, ":")
	if !ok || !wechat.IsAppID(appID) {
		return nil
	}
	return app.platforms.named(of)
}

// servedNamed returns the account of that name, which may be a platform's own, or
// nil.
func (app *App) servedNamed(name string) *account.Account {
	if p := app.platforms.named(name); p != nil {
		return p.Component
	}
	return app.accounts.Named(name)
}
