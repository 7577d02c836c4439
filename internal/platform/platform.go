// Package platform keeps third-party platforms: a platform's pushed ticket, its
// component_access_token, and the tokens of the accounts that have authorised it,
// which nobody configures and of which there may be a million. Each is a
// credential: the ticket is the component token's parent, and that the parent of
// every authorizer's.
//
// The package decides nothing about requests and writes no answers.
package platform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// Config is what a configuration knows of a platform.
type Config struct {
	Name        string
	Credentials wechat.Credentials // the component's appid and secret
	Upstream    *url.URL
	Resolver    *upstream.Resolver
	Issue       string           // as account.Account has it
	Observer    account.Observer // of the platform and of all its authorizers, under the platform's name

	// InMemory is how many authorizers a process keeps in memory.
	InMemory int

	Manager   *credential.Manager
	Store     store.Store       // for the index of authorizers
	Endpoints http.RoundTripper // to WeChat's token endpoints

	// Runner returns what the process knows of a credential by its key, across
	// configurations.
	Runner func(key string) (*credential.Runner, error)

	Logger *zap.Logger
}

// Platform is a third-party platform, as one configuration has it.
type Platform struct {
	// Component is the platform's own account. Its token is the
	// component_access_token.
	Component *account.Account

	config      Config
	api         *wechat.ComponentAPI
	ticket      *credential.Credential
	authorizers *workingSet
	searches    searches
	unknown     *unknown
	index       *index
	syncs       syncs
	refreshKey  []byte // of virtual refresh tokens
}

// New returns a platform. It touches neither store nor network.
func New(c Config) (*Platform, error) { return newPlatform(c, processSets) }

func newPlatform(c Config, sets *workingSets) (*Platform, error) {
	p := &Platform{
		config: c,
		api:    &wechat.ComponentAPI{Base: c.Upstream, RoundTripper: c.Endpoints, Component: c.Credentials},
	}
	var err error
	if p.refreshKey, err = refreshKey(c.Credentials); err != nil {
		return nil, err
	}
	if err := p.bindComponent(); err != nil {
		return nil, err
	}
	if p.authorizers, err = sets.acquire(p.key(), c.InMemory); err != nil {
		return nil, err
	}
	p.unknown = newUnknown(c.Manager.Now)
	p.index = newIndex(c.Store, p.Component.Credential().ID, c.Logger, c.Manager.Now)
	return p, nil
}

// key is by what the process knows the platform: what makes for another token
// makes for another key.
func (p *Platform) key() string {
	h := sha256.New()
	for _, s := range []string{p.config.Credentials.ID, p.config.Credentials.Secret, p.config.Upstream.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return "platform " + hex.EncodeToString(h.Sum(nil)[:16])
}

// KeepWarm starts to keep the component token warm while it is in use.
func (p *Platform) KeepWarm() {
	p.config.Manager.KeepWarm(p.Component.Credential(), 0, 0)
	p.index.keep()
}

// Release ends KeepWarm, and waits for what is under way.
func (p *Platform) Release(ctx context.Context) {
	p.syncs.close(ctx)
	p.index.close(ctx)
	for _, c := range []*credential.Credential{p.Component.Credential(), p.ticket} {
		p.config.Manager.Release(ctx, c)
	}
	p.config.Manager.Settle(ctx)
}

// Close gives back what the configuration holds of the process's knowledge.
func (p *Platform) Close() error {
	p.authorizers.release()
	return nil
}

// Errors of Authorizer.
var (
	// ErrNotAuthorized means that the appid has not authorised the platform, or has
	// withdrawn.
	ErrNotAuthorized = errors.New("it has not authorised the platform")

	// ErrTooManyUnknown means that too many appids of which nothing is known were
	// asked for within a minute.
	ErrTooManyUnknown = errors.New("too many appids of which nothing is known were asked for within a minute")
)
