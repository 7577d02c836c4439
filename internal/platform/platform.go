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
	"errors"
	"net/http"
	"net/url"
	"time"

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

	config Config
}

// New returns a platform. It touches neither store nor network.
func New(c Config) (*Platform, error) { panic("not built yet") }

// KeepWarm starts to keep the component token warm while it is in use.
func (p *Platform) KeepWarm() { panic("not built yet") }

// Release ends KeepWarm, and waits for what is under way.
func (p *Platform) Release(ctx context.Context) { panic("not built yet") }

// Close gives back what the configuration holds of the process's knowledge.
func (p *Platform) Close() error { panic("not built yet") }

// Errors of Authorizer.
var (
	// ErrNotAuthorized means that the appid has not authorised the platform, or has
	// withdrawn.
	ErrNotAuthorized = errors.New("it has not authorised the platform")

	// ErrTooManyUnknown means that too many appids of which nothing is known were
	// asked for within a minute.
	ErrTooManyUnknown = errors.New("too many appids of which nothing is known were asked for within a minute")
)

// Authorizer returns the account of an appid that has authorised the platform:
// from memory, from the store, or else from what WeChat says. Its name is
// <platform>:<appid>. The error is ErrNotAuthorized, ErrTooManyUnknown, that of the
// component's Token where WeChat could not be asked, or that of ctx.
func (p *Platform) Authorizer(ctx context.Context, appID string) (*account.Account, error) {
	panic("not built yet")
}

// Ticket takes a component_verify_ticket that was pushed. Where it returns an error
// the store has not got it, and WeChat has to push it again.
func (p *Platform) Ticket(ctx context.Context, ticket string, created time.Time) error {
	panic("not built yet")
}

// Authorized takes the news that an appid has authorised the platform, or has
// changed what it allows. The error is as that of Ticket.
func (p *Platform) Authorized(ctx context.Context, appID string, at time.Time) error {
	panic("not built yet")
}

// Unauthorized takes the news that an appid has withdrawn. News older than its last
// authorisation change nothing. The error is as that of Ticket.
func (p *Platform) Unauthorized(ctx context.Context, appID string, at time.Time) error {
	panic("not built yet")
}

// Authorization is what api_query_auth says of an appid.
type Authorization struct {
	AppID        string
	AccessToken  string
	ExpiresIn    time.Duration
	RefreshToken string
}

// String returns the appid alone.
func (a Authorization) String() string { return a.AppID }

// GoString returns the appid alone.
func (a Authorization) GoString() string { return a.AppID }

// Save saves an authorisation. Where it returns an error the store has not got it;
// the refresh token can be read again from WeChat.
func (p *Platform) Save(ctx context.Context, a Authorization) error { panic("not built yet") }

// VirtualRefreshToken returns what applications get in place of an authorizer's
// refresh token. It is always the same, and worth nothing.
func (p *Platform) VirtualRefreshToken(appID string) string { panic("not built yet") }

// TicketStatus is what can be told of the ticket without showing it.
type TicketStatus struct {
	ReceivedAt time.Time // zero where there is none
	ExpiresAt  time.Time
}

// TicketStatus returns how old the ticket is, as far as this process knows.
func (p *Platform) TicketStatus() TicketStatus { panic("not built yet") }

// Look has ticket and component token be what all processes know together, if that
// was not looked for lately.
func (p *Platform) Look(ctx context.Context) { panic("not built yet") }

// Count returns how many authorizers there are in the store, and how many in memory.
func (p *Platform) Count(ctx context.Context) (known, inMemory int, err error) {
	panic("not built yet")
}

// List returns up to limit appids of authorizers after one, in order, and the one
// to go on after, or "" at the end.
func (p *Platform) List(ctx context.Context, after string, limit int) (appIDs []string, next string, err error) {
	panic("not built yet")
}

// Sync reads all authorizers from WeChat, and returns how many there are.
func (p *Platform) Sync(ctx context.Context) (int, error) { panic("not built yet") }
