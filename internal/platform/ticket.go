package platform

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// beijing is the time zone of WeChat's days.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// startPushApart is how often WeChat is asked at most to push a ticket: as often
// as it does so by itself.
const startPushApart = 10 * time.Minute

// lookEvery is how often the store is looked into at most for what has come to
// another process: what was pushed there works here at once. One look at a time is
// what bounds them.
const lookEvery = time.Millisecond

// ticketPolicy is how tickets are kept. They are pushed, to whichever process;
// to ask for one is what is done where there is none, or WeChat refuses it.
var ticketPolicy = &credential.Policy{
	Apart:                startPushApart,
	LookEvery:            lookEvery,
	ConfigurationBackoff: credential.Waits{Least: startPushApart, Most: startPushApart},
	Refused: credential.Failure{
		Errcode: wechat.InvalidVerifyTicket, Class: credential.Configuration,
		Message: "WeChat refuses the component_verify_ticket, and was asked to push another a short while ago",
	},
	Zone: beijing,
}

// newTicket returns the credential that the platform's component_verify_ticket is.
// It is lost with the process until the store has it.
func (p *Platform) newTicket() *credential.Credential {
	return &credential.Credential{
		ID: credential.ID{
			Identity: p.identity() + "-ticket", Upstream: p.config.Upstream.String(), Secret: p.config.Credentials.Secret,
		},
		Name: p.config.Name, Method: "component_verify_ticket", Source: (*ticketSource)(p),
		Policy: ticketPolicy, Durability: credential.BeforeUse, Advisor: advisor{},
	}
}

// ticketSource is where tickets come from if WeChat pushes none by itself.
type ticketSource Platform

// Fetch implements credential.Source. It returns no value, as that is pushed: it
// has it pushed, and its failure says what the matter is.
func (p *ticketSource) Fetch(ctx context.Context, _ *credential.Value, _ string, _ bool) (credential.Grant, error) {
	refused := p.trouble()
	err := p.api.StartPush((*Platform)(p).resolving(ctx))
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		return credential.Grant{}, &credential.Failure{
			Errcode: wxErr.Code, Message: "WeChat was to push a component_verify_ticket: " + wxErr.Msg, Class: credential.Configuration,
		}
	}
	if wasNotSent(err) {
		return credential.Grant{}, err
	}
	if err != nil {
		refused.Message += ", but the answer was lost: " + err.Error()
	}
	return credential.Grant{}, refused
}

// trouble tells in WeChat's errcodes why another ticket is needed.
func (p *ticketSource) trouble() *credential.Failure {
	f := &credential.Failure{Class: credential.Configuration, Errcode: wechat.InvalidVerifyTicket}
	switch v := p.ticket.Peek(); {
	case v == nil:
		f.Message = "there is no component_verify_ticket, and WeChat was asked to push one"
	case !p.config.Manager.Now().Before(v.ExpiresAt()):
		f.Errcode, f.Message = wechat.VerifyTicketExpired, "the component_verify_ticket has expired, and WeChat was asked to push another"
	default:
		f.Message = "WeChat refuses the component_verify_ticket, and was asked to push another"
	}
	return f
}

// wasNotSent reports whether a request cannot have reached WeChat.
func wasNotSent(err error) bool {
	opErr, ok := errors.AsType[*net.OpError](err)
	return ok && opErr.Op == "dial"
}

// Check implements credential.Source. No call tells whether a ticket is good.
func (p *ticketSource) Check(context.Context, *credential.Value) credential.Verdict {
	return credential.Unknown
}

// clockTolerance is by how much WeChat's clock may be ahead.
const clockTolerance = time.Hour

// Ticket takes a component_verify_ticket that was pushed. Where it returns an error
// the store has not got it, and WeChat has to push it again.
func (p *Platform) Ticket(ctx context.Context, ticket string, created time.Time) error {
	if now := p.config.Manager.Now(); created.IsZero() || created.After(now.Add(clockTolerance)) {
		created = now // or else none would be newer for a long time
	}
	return p.config.Manager.Put(ctx, p.ticket, credential.Grant{Value: ticket, ExpiresIn: wechat.VerifyTicketLife}, created)
}

// TicketStatus is what can be told of the ticket without showing it.
type TicketStatus struct {
	ReceivedAt time.Time // when WeChat made it; zero where there is none
	ExpiresAt  time.Time
}

// TicketStatus returns how old the ticket is, as far as this process knows.
func (p *Platform) TicketStatus() TicketStatus {
	v := p.ticket.Peek()
	if v == nil {
		return TicketStatus{}
	}
	return TicketStatus{v.FetchedAt(), v.ExpiresAt()}
}

// lookPause is how often it is found out at most what other processes know.
const lookPause = 5 * time.Second

// Look has ticket and component token be what all processes know together, if that
// was not looked for lately.
func (p *Platform) Look(ctx context.Context) {
	p.config.Manager.Look(ctx, p.ticket, lookPause)
	p.config.Manager.Look(ctx, p.Component.Credential(), lookPause)
}

// advisor advises in log lines about the ticket.
type advisor struct{}

// OnFailure implements credential.Advisor.
func (advisor) OnFailure(f *credential.Failure) string {
	return account.FailureAdvice(wechat.Platform, f.Errcode, f.Message, wechat.English)
}

// OnCompetition implements credential.Advisor.
func (advisor) OnCompetition() string { return "" }

// OnRejection implements credential.Advisor.
func (advisor) OnRejection() string { return wechat.Platform.RejectedAdvice[wechat.English] }

// OnQuota implements credential.Advisor.
func (advisor) OnQuota(string) string { return "" }
