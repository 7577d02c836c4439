package platform

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// withdrawnPause is how often it is asked whether an account that has withdrawn
// has authorised the platform again: the news may have been lost.
const withdrawnPause = 5 * time.Minute

// authorizerPolicy is how the tokens of accounts are kept that have authorised the
// platform.
var authorizerPolicy = &credential.Policy{
	Lead:                 10 * time.Minute,
	Idle:                 idle,
	ConfigurationBackoff: credential.Waits{Least: 10 * time.Second, Most: withdrawnPause},
	LookEvery:            lookEvery,
	Quiet:                true,
	IsOthers:             wechat.IsMerchants,
	Withdrawn: credential.Failure{
		Errcode: wechat.Unauthorized, Message: "the account has withdrawn its authorisation", Class: credential.Configuration,
	},
	Zone: beijing,
}

// Authorizer returns the account of an appid that has authorised the platform:
// from memory, from the store, or else from what WeChat says. Its name is
// <platform>:<appid>. The error is ErrNotAuthorized, ErrTooManyUnknown, that of the
// component's Token or another where WeChat could not be asked, a
// *credential.UnsavedError where the store could not, or that of ctx.
func (p *Platform) Authorizer(ctx context.Context, appID string) (*account.Account, error) {
	if a, ok := p.authorizers.Get(appID); ok && a.Credential().IsOf(p.config.Manager) {
		c := a.Credential()
		if c.Current(p.config.Manager.Now()) != nil || p.config.Manager.Standing(c).WithdrawnAt.IsZero() {
			return a, nil
		}
	}
	if !canBeAppID(appID) {
		return nil, ErrNotAuthorized
	}
	return p.searches.do(ctx, appID, func(ctx context.Context) (*account.Account, error) { return p.search(ctx, appID) })
}

// search looks for an account that is not in memory, or has withdrawn.
func (p *Platform) search(ctx context.Context, appID string) (*account.Account, error) {
	m, a := p.config.Manager, p.accountOf(appID)
	c := a.Credential()
	err := m.Hear(ctx, c, lookEvery)
	standing := m.Standing(c)
	switch {
	case standing.Known:
		p.admit(appID, a)
	case err != nil:
		return nil, &credential.UnsavedError{Name: a.Name, Err: err}
	}
	if standing.Known && standing.WithdrawnAt.IsZero() {
		p.index.note(appID)
		return a, nil
	}
	if since := m.Now().Sub(standing.WithdrawnAt); since.Abs() < withdrawnPause {
		return nil, ErrNotAuthorized
	}
	if err := p.unknown.find(ctx, appID, func(ctx context.Context) error { return p.find(ctx, appID, a) }); err != nil {
		return nil, err
	}
	p.admit(appID, a)
	return a, nil
}

// find asks WeChat about an account, and saves what it says.
func (p *Platform) find(ctx context.Context, appID string, a *account.Account) error {
	refreshToken, err := p.ask(ctx, appID)
	if err != nil {
		return err
	}
	if err := p.config.Manager.Put(ctx, a.Credential(), credential.Grant{Kept: refreshToken}, time.Time{}); err != nil {
		return err
	}
	p.index.note(appID)
	return nil
}

// ask returns the refresh token of an account, as WeChat has it. A component token
// that is refused is replaced, once. The error is ErrNotAuthorized, or one that
// says nothing of the account.
func (p *Platform) ask(ctx context.Context, appID string) (refreshToken string, err error) {
	err = p.withToken(ctx, func(token string) error {
		refreshToken, err = p.api.Authorizer(p.resolving(ctx), token, appID)
		return err
	})
	wxErr, refused := errors.AsType[*wechat.Error](err)
	switch {
	case refused && (wxErr.Code == wechat.Unauthorized || wxErr.Code == wechat.InvalidAppID):
		return "", ErrNotAuthorized
	case err != nil:
		return "", fmt.Errorf("asking WeChat whether %s has authorised platform %s: %w", appID, p.config.Name, err)
	case refreshToken == "":
		return "", fmt.Errorf("%w, as far as can be told before api_query_auth is called with its authorization_code", ErrNotAuthorized)
	}
	return refreshToken, nil
}

func isTokenError(err error) bool {
	wxErr, ok := errors.AsType[*wechat.Error](err)
	return ok && wechat.Platform.IsTokenError(wxErr.Code)
}

// accountOf returns the account of an appid, with what the process knows of it. It
// is not put into memory.
func (p *Platform) accountOf(appID string) *account.Account {
	runner := credential.NewRunner()
	if a, ok := p.authorizers.Get(appID); ok {
		if a.Credential().IsOf(p.config.Manager) {
			return a
		}
		runner = a.Credential().Runner()
	}
	a := &account.Account{
		Name:        p.config.Name + ":" + appID,
		Kind:        wechat.Platform,
		Credentials: wechat.Credentials{ID: appID},
		Upstream:    p.config.Upstream,
		Resolver:    p.config.Resolver,
		Issue:       p.config.Issue,
		Observer:    p.config.Observer,
		Component:   p.Component,
		Origin: &account.Origin{
			Identity: "authorizer-" + url.PathEscape(p.config.Credentials.ID) + "-" + url.PathEscape(appID),
			Secret:   p.config.Credentials.Secret, Method: "authorizer", Source: &authorizerSource{p, appID},
			Parent: p.Component.Credential(), Policy: authorizerPolicy, Durability: credential.BeforeUse,
		},
	}
	return a.Bind(p.config.Manager, p.config.Endpoints, runner)
}

// admit keeps an account in memory, as far as there is room, and its token warm
// while it is in use.
func (p *Platform) admit(appID string, a *account.Account) {
	if known, ok := p.authorizers.Get(appID); ok && known == a {
		return
	}
	p.config.Manager.KeepWarm(a.Credential(), 0, 0)
	p.authorizers.Put(appID, a)
}

// authorizerSource is where the token of an account comes from that has authorised
// the platform.
type authorizerSource struct {
	platform *Platform
	appID    string
}

// Fetch implements credential.Source. kept is the refresh token, which is read from
// WeChat where it is lost or refused.
func (s *authorizerSource) Fetch(ctx context.Context, parent *credential.Value, kept string, _ bool) (credential.Grant, error) {
	p := s.platform
	ctx = p.resolving(ctx)
	refreshToken, token, err := kept, wechat.AuthorizerGrant{}, errLost
	if kept != "" {
		token, err = p.api.AuthorizerToken(ctx, parent.Secret(), s.appID, kept)
	}
	if isRefreshTokenError(err) {
		if refreshToken, err = s.read(ctx, parent, err); err == nil {
			token, err = p.api.AuthorizerToken(ctx, parent.Secret(), s.appID, refreshToken)
		}
	}
	if err != nil {
		return credential.Grant{}, s.failed(err, parent)
	}
	parent.Accept()
	grant, err := p.notOwn(token.Grant)
	if token.RefreshToken != "" {
		refreshToken = token.RefreshToken
	}
	// What is kept already is left as it is: a newer one may have come meanwhile.
	if refreshToken != kept {
		grant.Kept = refreshToken
	}
	return grant, err
}

// errLost is what a refresh token that is not there is taken for: one that WeChat
// refuses.
var errLost error = &wechat.Error{
	Code: wechat.InvalidRefreshToken, Msg: "WeChat tells no refresh token before api_query_auth is called with the account's authorization_code",
}

func isRefreshTokenError(err error) bool {
	wxErr, ok := errors.AsType[*wechat.Error](err)
	return ok && wxErr.Code == wechat.InvalidRefreshToken
}

// read returns the refresh token as WeChat has it, or else why it was needed.
func (s *authorizerSource) read(ctx context.Context, parent *credential.Value, cause error) (refreshToken string, err error) {
	refreshToken, err = s.platform.api.Authorizer(ctx, parent.Secret(), s.appID)
	if err == nil && refreshToken == "" {
		err = cause
	}
	return refreshToken, err
}

// failed is an error of a fetch as the package credential has it.
func (s *authorizerSource) failed(err error, parent *credential.Value) error {
	wxErr, ok := errors.AsType[*wechat.Error](err)
	if !ok {
		return err
	}
	f := s.platform.failure(wxErr)
	switch {
	case wechat.Platform.IsTokenError(wxErr.Code):
		f.ParentRejected, f.Class = true, credential.Transient
	case wxErr.Code == wechat.Unauthorized:
		f.Wait = withdrawnPause
		parent.Accept()
	case wxErr.Code > 0 && wechat.Platform.Accepts(wxErr.Code):
		parent.Accept() // WeChat looks at the token before it looks at anything else
	}
	return f
}

// Check implements credential.Source.
func (s *authorizerSource) Check(ctx context.Context, token *credential.Value) credential.Verdict {
	return s.platform.check(ctx, token)
}

// log tells what became of an account's authorisation.
func (p *Platform) log(message, appID string) {
	p.config.Logger.Info(message, zap.String("platform", p.config.Name), zap.String("appid", appID))
}
