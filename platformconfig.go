package weixin

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
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

const optionInMemory = "authorizers_in_memory"

// How many authorizers a process keeps in memory.
const (
	defaultInMemory = 100_000
	maxInMemory     = 10_000_000
)

var platformForms = option.Forms{ //nolint:gosec // they are placeholders
	"appid":        `"{env.COMPONENT_APPID}"`,
	"secret":       `"{env.COMPONENT_SECRET}"`,
	"push_token":   `"{env.COMPONENT_TOKEN}"`,
	"push_aes_key": `"{env.COMPONENT_AES_KEY}"`,
	"upstream":     `"https://api.weixin.qq.com"`,
	"resolver":     `"223.5.5.5"`,
	"issue":        `"virtual"`,

	optionInMemory: `100000`,
}

// UnmarshalJSON decodes a platform's options.
func (c *PlatformConfig) UnmarshalJSON(data []byte) error {
	type plain PlatformConfig
	return option.Decode(data, (*plain)(c), platformForms)
}

// checkPlatformName refuses names that an account of a platform could have.
func checkPlatformName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("%q is no name of a platform, since callers' accounts have it before a colon: write it without a colon", name)
	}
	return nil
}

// addPlatform adds a platform to what is served.
func addPlatform(p *provisioning, s *served, name string, cfg *PlatformConfig, observer account.Observer) error {
	if err := cmp.Or(option.CheckName(name), checkPlatformName(name)); err != nil {
		return err
	}
	if s.accounts.Named(name) != nil {
		return errNamedAsAccount
	}
	owner := "platform " + name
	cred, err := cfg.credentials(p, s, owner)
	if err != nil {
		return err
	}
	receiver, err := cfg.receiver(p.Values, owner, cred.ID)
	if err != nil {
		return err
	}
	if err := cmp.Or(checkIssue(cfg.Issue), checkInMemory(cfg.AuthorizersInMemory)); err != nil {
		return err
	}
	u, err := p.upstreamOf(owner, wechat.Platform, cfg.Upstream)
	if err != nil {
		return err
	}
	p.WarnOfLiteral(owner, option.Secret, cfg.AppSecret)
	p.WarnOfLiteral(owner, option.PushToken, cfg.PushToken)
	p.WarnOfLiteral(owner, option.PushAESKey, cfg.PushAESKey)
	p.warnOfCleartext("platform", name, u)
	made, err := platform.New(platform.Config{
		Name: name, Credentials: cred, Upstream: u, Resolver: p.resolvers.byOwner[owner], Issue: cfg.Issue, Observer: observer,
		InMemory: cmp.Or(cfg.AuthorizersInMemory, defaultInMemory),
		Manager:  s.tokens.credentials, Store: s.tokens.store, Endpoints: s.tokens.endpoint, Runner: s.tokens.runners.of, Logger: p.Logger,
	})
	if err != nil {
		return err
	}
	s.platforms.add(made, receiver)
	return nil
}

var errNamedAsAccount = errors.New("there is an account of this name: give the platform a name of its own")

// credentials returns what the platform proves itself with, which nothing else
// that is served does.
func (c *PlatformConfig) credentials(p *provisioning, s *served, owner string) (wechat.Credentials, error) {
	cred, err := p.credentialsOf(owner, c.AppID, c.AppSecret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	other := ""
	for a := range s.accounts.All() {
		if a.Credentials.ID == cred.ID {
			other = "account " + a.Name
		}
	}
	for _, a := range s.platforms.components() {
		if a.Credentials.ID == cred.ID {
			other = "platform " + a.Name
		}
	}
	if other != "" {
		return wechat.Credentials{}, p.Wrong(owner, option.AppID,
			fmt.Errorf("appid %s is that of %s already: give every platform an appid of its own", cred.ID, other))
	}
	return cred, nil
}

// receiver returns what opens the pushes to a platform.
func (c *PlatformConfig) receiver(values option.Values, owner, appID string) (*push.Receiver, error) {
	token, err := values.Resolve(owner, option.PushToken, c.PushToken)
	if err != nil {
		return nil, err
	}
	encoded, err := values.Resolve(owner, option.PushAESKey, c.PushAESKey)
	if err != nil {
		return nil, err
	}
	if err := checkPushSecrets(token, encoded); err != nil {
		return nil, values.Wrong(owner, option.PushAESKey, err)
	}
	key, err := push.ParseKey(encoded)
	if err != nil {
		return nil, values.Wrong(owner, option.PushAESKey, fmt.Errorf("%s: %w", option.PushAESKey, err))
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
