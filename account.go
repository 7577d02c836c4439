package weixin

import (
	"cmp"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

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
	u, err := app.upstreamOf(owner, kind, cfg.Upstream)
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
		Resolver:    app.resolvers.byOwner[owner],
		Security:    security,
		Issue:       cfg.Issue,
	})
}

// bind completes an account with what the process knows of its token.
func (app *App) bind(a *account.Account) (*account.Account, error) {
	runner, err := app.runner(a.ID())
	if err != nil {
		return nil, err
	}
	app.tokens.bind(a, runner)
	return a, a.MakeVirtualKey()
}

// credentialsOf returns what an account proves itself with.
func (app *App) credentialsOf(owner string, cfg *AccountConfig) (wechat.Credentials, error) {
	if cfg.Kind == wechat.WeCom.Name {
		return app.corpCredentialsOf(owner, cfg)
	}
	return app.resolveCredentials(owner, cfg.AppID, cfg.AppSecret)
}

// resolveCredentials returns an AppID and an AppSecret with their placeholders
// replaced.
func (app *App) resolveCredentials(owner, appID, secret string) (wechat.Credentials, error) {
	appID, err := app.resolve(owner, optionAppID, appID)
	if err != nil {
		return wechat.Credentials{}, err
	}
	secret, err = app.resolve(owner, optionSecret, secret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	if err := cmp.Or(checkNotSwapped(appID, secret), checkAppID(appID)); err != nil {
		return wechat.Credentials{}, fmt.Errorf("%w%s", err, app.positions.of(owner, optionAppID))
	}
	return wechat.Credentials{ID: appID, Secret: secret}, nil
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
