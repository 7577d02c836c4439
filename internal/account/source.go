package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// tokenSource is an account as the source of its own tokens.
type tokenSource Account

// Fetch implements credential.Source.
func (a *tokenSource) Fetch(ctx context.Context, _ *credential.Value, _ string, force bool) (credential.Grant, error) {
	grant, err := a.Endpoint.Fetch((*Account)(a).resolving(ctx), a.endpoints, a.Upstream, a.Credentials, force)
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		return credential.Grant{}, (*Account)(a).refusal(wxErr)
	}
	// Another proxy's virtual token is as good as WeChat's: that proxy is a hub.
	if err == nil && a.IsIssued != nil && a.IsIssued(grant.AccessToken) {
		return credential.Grant{}, upstream.ErrLoop
	}
	return credential.Grant{Value: grant.AccessToken, ExpiresIn: grant.ExpiresIn}, err
}

// refusal is that the token endpoint gives no token. A hub does not mind being
// asked again soon, and is often put right while nothing changes here.
func (a *Account) refusal(e *wechat.Error) *credential.Failure {
	f := &credential.Failure{Errcode: e.Code, Message: a.Redactor("").String(e.Msg), Class: ClassOf(a.Kind, e.Code)}
	if isOwnError(e.Msg) {
		f.Class, f.Uncounted = credential.Transient, true
	}
	return f
}

// Check implements credential.Source.
func (a *tokenSource) Check(ctx context.Context, token *credential.Value) credential.Verdict {
	switch a.Kind.CheckToken((*Account)(a).resolving(ctx), a.endpoints, a.Upstream, token.Escaped()) {
	case wechat.TokenGood:
		return credential.Good
	case wechat.TokenRejected:
		return credential.Rejected
	default:
		return credential.Unknown
	}
}

// formerPlace returns where earlier releases kept an account's token: under a key
// that named no upstream.
func formerPlace(c *credential.Credential) credential.Former {
	a := c.Source.(*tokenSource)
	return credential.Former{Key: "weixin/tokens/" + c.ID.Identity, AppID: a.Credentials.ID}
}

// ClassOf returns the class of an errcode of a kind's token endpoints, as the
// package credential has it.
func ClassOf(kind *wechat.Kind, errcode int) credential.FailureClass {
	switch kind.ClassOf(errcode) {
	case wechat.DailyQuota:
		return credential.DailyQuota
	case wechat.Configuration:
		return credential.Configuration
	default:
		return credential.Transient
	}
}

// beijing is the time zone of WeChat's days. It has no daylight saving time.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// policies are those of the token endpoints in use. Accounts share them.
var policies sync.Map

// policyOf returns a token endpoint's policy as the package credential has it.
func policyOf(endpoint *wechat.TokenEndpoint) *credential.Policy {
	if p, ok := policies.Load(endpoint); ok {
		return p.(*credential.Policy)
	}
	p := &endpoint.Policy
	policy, _ := policies.LoadOrStore(endpoint, &credential.Policy{
		Lead:          p.Lead,
		Recheck:       p.Recheck,
		Idempotent:    p.Idempotent,
		ForcesPerDay:  p.ForcesPerDay,
		ForceGap:      p.ForceGap,
		FetchesPerDay: p.FetchesPerDay,
		Zone:          beijing,

		Extension:            p.Extension,
		Rejected:             credential.Waits(p.Rejected),
		ConfigurationBackoff: credential.Waits(p.ConfigurationBackoff),
		FailureClass:         p.FailureClass,
		FailuresPerHour:      p.FailuresPerHour,
	})
	return policy.(*credential.Policy)
}

// advisor advises in log lines.
type advisor struct{ kind *wechat.Kind }

// OnFailure implements credential.Advisor.
func (a advisor) OnFailure(f *credential.Failure) string {
	return FailureAdvice(a.kind, f.Errcode, f.Message, wechat.English)
}

// OnCompetition implements credential.Advisor.
func (a advisor) OnCompetition() string { return a.kind.CompetingAdvice[wechat.English] }

// OnRejection implements credential.Advisor.
func (a advisor) OnRejection() string { return a.kind.RejectedAdvice[wechat.English] }

// OnQuota implements credential.Advisor.
func (advisor) OnQuota(quota string) string { return QuotaAdvice(quota, wechat.English) }
