package platform

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// idle is for how long after its last use a token is renewed by itself.
const idle = 2 * time.Hour

// componentPolicy is how the component_access_token is kept: every fetch kills
// the one before.
var componentPolicy = &credential.Policy{
	Lead:          10 * time.Minute,
	Idle:          idle,
	FetchesPerDay: 10_000,
	Zone:          beijing,
}

// identity names the platform among all that share a store.
func (p *Platform) identity() string { return "component-" + url.PathEscape(p.config.Credentials.ID) }

// bindComponent makes the ticket and the platform's own account.
//
// The component token is no more than BestEffort: it can be fetched again as long
// as there is a ticket, so a store that fails for a while stops nobody. Two
// processes then fetch against each other, within what their budgets allow.
func (p *Platform) bindComponent() error {
	runner, err := p.config.Runner(p.key() + " ticket")
	if err != nil {
		return err
	}
	p.ticket = p.config.Manager.Bind(p.newTicket(), runner)
	if runner, err = p.config.Runner(p.key()); err != nil {
		return err
	}
	p.Component = &account.Account{
		Name:        p.config.Name,
		Kind:        wechat.Platform,
		Credentials: p.config.Credentials,
		Upstream:    p.config.Upstream,
		Resolver:    p.config.Resolver,
		Issue:       p.config.Issue,
		Observer:    p.config.Observer,
		Origin: &account.Origin{
			Identity: p.identity(), Secret: p.config.Credentials.Secret, Method: "component", Source: (*componentSource)(p),
			Parent: p.ticket, Policy: componentPolicy, Durability: credential.BestEffort,
		},
	}
	p.Component.Bind(p.config.Manager, p.config.Endpoints, runner)
	return p.Component.MakeVirtualKey()
}

// resolving returns a context in which the upstream's name is resolved as the
// platform has it.
func (p *Platform) resolving(ctx context.Context) context.Context {
	return upstream.WithResolver(ctx, p.config.Resolver)
}

// componentSource is where the component_access_token comes from.
type componentSource Platform

// Fetch implements credential.Source.
func (p *componentSource) Fetch(ctx context.Context, ticket *credential.Value, _ string, _ bool) (credential.Grant, error) {
	grant, err := p.api.Token((*Platform)(p).resolving(ctx), ticket.Secret())
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		f := (*Platform)(p).failure(wxErr)
		f.ParentRejected = wxErr.Code == wechat.VerifyTicketExpired || wxErr.Code == wechat.InvalidVerifyTicket
		return credential.Grant{}, f
	}
	if err != nil {
		return credential.Grant{}, err
	}
	ticket.Accept()
	return (*Platform)(p).notOwn(grant)
}

// Check implements credential.Source.
func (p *componentSource) Check(ctx context.Context, token *credential.Value) credential.Verdict {
	return (*Platform)(p).check(ctx, token)
}

// failure is a refusal of WeChat's.
func (p *Platform) failure(wxErr *wechat.Error) *credential.Failure {
	return &credential.Failure{
		Errcode: wxErr.Code, Message: p.Component.Redactor("").String(wxErr.Msg), Class: account.ClassOf(wechat.Platform, wxErr.Code),
	}
}

// notOwn refuses a token that the proxy itself has issued: the upstream leads back
// here.
func (p *Platform) notOwn(grant wechat.Grant) (credential.Grant, error) {
	if isIssued := p.Component.IsIssued; isIssued != nil && isIssued(grant.AccessToken) {
		return credential.Grant{}, upstream.ErrLoop
	}
	return credential.Grant{Value: grant.AccessToken, ExpiresIn: grant.ExpiresIn}, nil
}

// check makes a harmless call that takes either kind of token.
func (p *Platform) check(ctx context.Context, token *credential.Value) credential.Verdict {
	switch wechat.Platform.CheckToken(p.resolving(ctx), p.config.Endpoints, p.config.Upstream, token.Escaped()) {
	case wechat.TokenGood:
		return credential.Good
	case wechat.TokenRejected:
		return credential.Rejected
	default:
		return credential.Unknown
	}
}
