package weixin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// tokenEndpoint is an account as the source of its own tokens.
type tokenEndpoint Account

// Fetch implements credential.Source.
func (a *tokenEndpoint) Fetch(ctx context.Context, _ *credential.Value, _ string, force bool) (credential.Grant, error) {
	grant, err := a.Source.Fetch(upstream.WithResolver(ctx, a.Resolver), a.endpoint, a.Upstream, a.Credentials, force)
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		return credential.Grant{}, &credential.Failure{Errcode: wxErr.Code, Message: (*Account)(a).redactor("").String(wxErr.Msg), Class: classOf(wxErr.Code)}
	}
	return credential.Grant{Value: grant.AccessToken, ExpiresIn: grant.ExpiresIn}, err
}

// Check implements credential.Source.
func (a *tokenEndpoint) Check(ctx context.Context, token *credential.Value) credential.Verdict {
	switch wechat.CheckToken(upstream.WithResolver(ctx, a.Resolver), a.endpoint, a.Upstream, token.Escaped(), &a.Place) {
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
	a := c.Source.(*tokenEndpoint)
	return credential.Former{Key: "weixin/tokens/" + c.ID.Identity, AppID: a.Credentials.ID}
}

func classOf(errcode int) credential.FailureClass {
	switch wechat.ClassifyFailure(errcode) {
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

// policies are those of the sources in use. Accounts share them.
var policies sync.Map

// policyOf returns a source's policy as the package credential has it.
func policyOf(source wechat.Source) *credential.Policy {
	if p, ok := policies.Load(source.Method()); ok {
		return p.(*credential.Policy)
	}
	p := source.Policy()
	policy, _ := policies.LoadOrStore(source.Method(), &credential.Policy{
		Lead:          p.Lead,
		Recheck:       p.Recheck,
		Idempotent:    p.Idempotent,
		ForcesPerDay:  p.ForcesPerDay,
		ForceGap:      p.ForceGap,
		FetchesPerDay: p.FetchesPerDay,
		Zone:          beijing,
	})
	return policy.(*credential.Policy)
}

// logAdvisor advises in log lines.
type logAdvisor struct{}

// OnFailure implements credential.Advisor.
func (logAdvisor) OnFailure(f *credential.Failure) string {
	return failureAdvice(f.Errcode, f.Message, wechat.English)
}

// OnCompetition implements credential.Advisor.
func (logAdvisor) OnCompetition() string { return competingAdvice(wechat.English) }

// OnQuota implements credential.Advisor.
func (logAdvisor) OnQuota(quota string) string { return quotaAdvice(quota, wechat.English) }
