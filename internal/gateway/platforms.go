package gateway

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// authorizers is what the gateway needs of a platform.Platform.
type authorizers interface {
	Authorizer(ctx context.Context, appID string) (*account.Account, error)
	Save(ctx context.Context, a platform.Authorization) error
	VirtualRefreshToken(appID string) string
}

// servedPlatform is a third-party platform that a configuration has.
type servedPlatform struct {
	authorizers
	component *account.Account
	issued    *authorizerTokens // real ones; nil where none are issued
}

// subject is whose credentials a request uses. It is the zero subject where that
// is not known.
type subject struct {
	// account is a configured account, or a platform's own. That of an appid which
	// has authorised a platform is looked for when it is needed.
	account  *account.Account
	platform *servedPlatform // nil for a configured account
	appID    string          // of an account that has authorised the platform, or ""
}

// own returns the platform itself.
func (p *servedPlatform) own() subject { return subject{account: p.component, platform: p} }

// of returns an account that has authorised the platform.
func (p *servedPlatform) of(appID string) subject { return subject{platform: p, appID: appID} }

// name is what configurations call the subject.
func (s subject) name() string {
	if s.appID != "" {
		return s.platform.component.Name + ":" + s.appID
	}
	return s.account.Name
}

// configured is what the configuration has of the subject.
func (s subject) configured() string {
	if s.platform != nil {
		return "platform " + s.platform.component.Name
	}
	return "account " + s.account.Name
}

// shown is what messages call an account that has authorised a platform. Clients
// may send anything as its AppID.
func (s subject) shown() string {
	if !wechat.IsAppID(s.appID) {
		return "what the request has as appid"
	}
	return "account " + s.appID
}

// counted returns the account for which a refusal counts, or nil.
func (s subject) counted() *account.Account {
	if s.platform != nil {
		return s.platform.component
	}
	return s.account
}

// kind is that of the subject's account.
func (s subject) kind() *wechat.Kind {
	if s.platform != nil {
		return wechat.Platform
	}
	return s.account.Kind
}

// serves reports whether a directive that names s lets requests for other pass.
func (s subject) serves(other subject) bool {
	return s == subject{} || s == other || s.platform != nil && s.appID == "" && s.platform == other.platform
}

// AddPlatforms has the registry know third-party platforms. It is called before the
// registry is used.
func (r *Registry) AddPlatforms(platforms ...*platform.Platform) error {
	for _, p := range platforms {
		if err := r.addPlatform(p.Component, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) addPlatform(component *account.Account, a authorizers) error {
	component.IsIssued = r.hasIssued
	p := &servedPlatform{authorizers: a, component: component}
	r.platforms = append(r.platforms, p)
	if component.Issue != account.IssueReal {
		return nil
	}
	if err := r.issuers.add(component); err != nil {
		return err
	}
	var err error
	p.issued, err = r.issuers.addAuthorizers(component)
	return err
}

// all returns the accounts that are configured, and the platforms' own.
func (r *Registry) all() iter.Seq[*account.Account] {
	return func(yield func(*account.Account) bool) {
		for a := range r.Accounts.All() {
			if !yield(a) {
				return
			}
		}
		for _, p := range r.platforms {
			if !yield(p.component) {
				return
			}
		}
	}
}

// platformWhere returns the first platform of which f is true, or nil.
func (r *Registry) platformWhere(f func(component *account.Account) bool) *servedPlatform {
	i := slices.IndexFunc(r.platforms, func(p *servedPlatform) bool { return f(p.component) })
	if i < 0 {
		return nil
	}
	return r.platforms[i]
}

// platformNamed returns the platform of that name, or nil.
func (r *Registry) platformNamed(name string) *servedPlatform {
	return r.platformWhere(func(c *account.Account) bool { return c.Name == name })
}

// platformWithID returns the platform with an AppID, or nil.
func (r *Registry) platformWithID(id string) *servedPlatform {
	return r.platformWhere(func(c *account.Account) bool { return c.Credentials.ID == id })
}

// subjectOf returns the subject that an account is.
func (r *Registry) subjectOf(a *account.Account) subject {
	if a == nil {
		return subject{}
	}
	return subject{account: a, platform: r.platformWhere(func(c *account.Account) bool { return c == a })}
}

// subjectNamed returns what has a name: an account, a platform, or as
// <platform>:<appid> an account that has authorised one.
func (r *Registry) subjectNamed(name string) (subject, error) {
	if a := r.Accounts.Named(name); a != nil {
		return subject{account: a}, nil
	}
	if p := r.platformNamed(name); p != nil {
		return p.own(), nil
	}
	of, appID, ok := strings.Cut(name, ":")
	if p := r.platformNamed(of); ok && p != nil && wechat.IsAppID(appID) {
		return p.of(appID), nil
	}
	return subject{}, errors.New("there is no account of this name")
}

// subjectOfToken returns whose virtual token says that, or the zero subject.
func (r *Registry) subjectOfToken(c *virtualClaims) subject {
	if a := r.Accounts.WithVirtualID(c.account); a != nil && c.appID == "" {
		return subject{account: a}
	}
	p := r.platformWhere(func(own *account.Account) bool { return own.VirtualID() == c.account })
	switch {
	case p == nil:
		return subject{}
	case c.appID != "":
		return p.of(c.appID)
	default:
		return p.own()
	}
}

// kinds are those of what is served. Accounts that have authorised a platform stand
// in the place of official accounts where there are none of those.
func (r *Registry) kinds() []*wechat.Kind {
	kinds := r.Accounts.Kinds()
	if len(r.platforms) > 0 && !slices.Contains(kinds, wechat.Official) {
		return append(slices.Clip(kinds), wechat.Platform)
	}
	return kinds
}

// hasUpstream reports whether a host in small letters is that of an upstream.
func (r *Registry) hasUpstream(host string) bool {
	return r.Accounts.HasUpstream(host) ||
		r.platformWhere(func(c *account.Account) bool { return strings.EqualFold(c.Upstream.Hostname(), host) }) != nil
}

// handsOutTokens reports whether a path is a token endpoint of what is served.
func (r *Registry) handsOutTokens(path string) bool {
	return r.Accounts.HandsOutTokens(path) ||
		len(r.platforms) > 0 && wechat.Platform.Route(path).Takes == wechat.TakesTokenRequest
}
