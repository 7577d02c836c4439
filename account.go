package weixin

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
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

var accountForms = option.Forms{ //nolint:gosec // they are placeholders
	"kind":     `"official"`,
	"appid":    `"{env.WEIXIN_APPID}"`,
	"corpid":   `"{env.CORPID}"`,
	"agentid":  `"1000002"`,
	"secret":   `"{env.WEIXIN_SECRET}"`,
	"token":    `"stable"`,
	"upstream": `"https://api.weixin.qq.com"`,
	"resolver": `"223.5.5.5"`,
	"issue":    `"virtual"`,
	"tickets":  `"kept"`,
	"mirrors":  `[{"preset": "wxjava", "url": "redis://127.0.0.1:6379/0"}]`,

	optionAPISecurity: `{` + apiSecurityForms.Example() + `}`,
}

// UnmarshalJSON decodes an account's options.
func (c *AccountConfig) UnmarshalJSON(data []byte) error {
	type plain AccountConfig
	return option.Decode(data, (*plain)(c), accountForms)
}

// newAccount resolves one account.
func newAccount(p *provisioning, name string, cfg *AccountConfig) (*account.Account, error) {
	if err := cmp.Or(option.CheckName(name), checkAccountName(name)); err != nil {
		return nil, err
	}
	owner := "account " + name
	if err := cfg.checkKind(p.Values, owner); err != nil {
		return nil, err
	}
	kind := wechat.KindNamed(cfg.Kind)
	cred, err := cfg.credentials(p, owner)
	if err != nil {
		return nil, err
	}
	agentID, err := agentIDOf(p.Values, owner, cfg.AgentID)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkTokenMethod(kind, cfg.Token), checkIssue(cfg.Issue)); err != nil {
		return nil, err
	}
	u, err := p.upstreamOf(owner, kind, cfg.Upstream)
	if err != nil {
		return nil, err
	}
	security, err := newAPISecurity(p.Values, name, cred.ID, cfg.APISecurity)
	if err != nil {
		return nil, err
	}
	p.WarnOfLiteral(owner, option.Secret, cfg.AppSecret)
	p.warnOfCleartext("account", name, u)
	return &account.Account{
		Name:        name,
		Kind:        kind,
		AgentID:     agentID,
		Credentials: cred,
		Endpoint:    kind.TokenEndpoint(cfg.Token),
		Upstream:    u,
		Resolver:    p.resolvers.byOwner[owner],
		Security:    security,
		Issue:       cfg.Issue,
	}, nil
}

// credentials returns what the account proves itself with.
func (c *AccountConfig) credentials(p *provisioning, owner string) (wechat.Credentials, error) {
	if c.Kind == wechat.WeCom.Name {
		return corpCredentialsOf(p.Values, owner, c.CorpID, c.AppSecret)
	}
	return p.credentialsOf(owner, c.AppID, c.AppSecret)
}

// checkKind refuses a kind that there is not, and options that are not of the
// account's kind. Its errors say where the option stands.
func (c *AccountConfig) checkKind(values option.Values, owner string) error {
	refuse := func(name, message string) error {
		return errors.New(message + values.Positions.Of(owner, name))
	}
	if err := checkKindName(c.Kind); err != nil {
		return refuse(option.Kind, err.Error())
	}
	switch kind := wechat.KindNamed(c.Kind); {
	case kind == wechat.WeCom && c.AppID != "":
		return refuse(option.AppID, "appid is no option of kind wecom: write corpid {env.CORPID}, for example")
	case kind == wechat.WeCom && c.Token != "":
		return refuse("token", "token is no option of kind wecom, which has gettoken alone: leave it out")
	case kind == wechat.WeCom && c.APISecurity != nil:
		return refuse(optionAPISecurity, "api_security is no option of kind wecom, whose API has none: leave it out here, and write it in the account of the mini program whose calls it is for")
	case kind == wechat.Official && c.CorpID != "":
		return refuse(option.CorpID, "corpid is no option of kind official: write appid, or for an application of a WeCom corporation kind wecom beside it")
	case kind == wechat.Official && c.AgentID != "":
		return refuse(option.AgentID, "agentid is no option of kind official: leave it out, or for an application of a WeCom corporation write kind wecom beside it")
	}
	return nil
}

// checkTokenMethod refuses ways to fetch a token that the kind has not.
func checkTokenMethod(kind *wechat.Kind, name string) error {
	if kind.TokenEndpoint(name) != nil {
		return nil
	}
	return fmt.Errorf("unknown token method %q: write stable or classic", name)
}

// Ways to answer applications that ask for a ticket.
const (
	ticketsKept = "kept" // with one that the proxy keeps
	ticketsPass = "pass" // with WeChat's answer
)

func checkTickets(way string) error {
	switch way {
	case "", ticketsKept, ticketsPass:
		return nil
	}
	return fmt.Errorf("unknown way to answer who asks for a ticket %s: write kept or pass", way)
}
