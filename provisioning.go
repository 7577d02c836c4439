package weixin

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// provisioning is what accounts and platforms are provisioned with: what the
// configuration says for all of them.
type provisioning struct {
	option.Values
	upstream  string // of accounts that have none of their own
	resolvers resolvers
}

// upstreamOf returns the upstream of an account or a platform.
func (p *provisioning) upstreamOf(owner string, kind *wechat.Kind, configured string) (*url.URL, error) {
	if configured == "" {
		owner = "weixin"
	}
	base, err := p.Resolve(owner, "upstream", cmp.Or(configured, p.upstreamFor(kind), kind.Host))
	if err != nil {
		return nil, err
	}
	u, err := upstream.ParseURL(base)
	if err == nil {
		err = checkUpstreamPath(u)
	}
	if err != nil {
		// It may hold a password, so it is not repeated.
		return nil, p.Wrong(owner, "upstream", fmt.Errorf("upstream %w", err))
	}
	return u, nil
}

// upstreamFor returns the configuration's upstream if it is the kind's.
func (p *provisioning) upstreamFor(kind *wechat.Kind) string {
	if kind.Host != wechat.Official.Host {
		return ""
	}
	return p.upstream
}

// credentialsOf returns an AppID and an AppSecret with their placeholders
// replaced.
func (p *provisioning) credentialsOf(owner, appID, secret string) (wechat.Credentials, error) {
	appID, err := p.Resolve(owner, option.AppID, appID)
	if err != nil {
		return wechat.Credentials{}, err
	}
	secret, err = p.Resolve(owner, option.Secret, secret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	if err := cmp.Or(option.CheckNotSwapped(appID, secret), option.CheckAppID(appID)); err != nil {
		return wechat.Credentials{}, p.Wrong(owner, option.AppID, err)
	}
	return wechat.Credentials{ID: appID, Secret: secret}, nil
}

// warnOfCleartext warns of secrets that are sent unencrypted.
func (p *provisioning) warnOfCleartext(kind, name string, u *url.URL) {
	if upstream.IsCleartext(u) {
		p.Logger.Warn("the AppSecret and the tokens go to the upstream unencrypted: use https",
			zap.String(kind, name), zap.Stringer("upstream", u))
	}
}

// upstreamOption is that of the app, an account or a platform.
func upstreamOption(base *string) option.Option {
	return option.Value("upstream", base, wechat.Official.Host).Checked(func() error {
		if option.HasPlaceholder(*base) {
			return nil // resolved when the configuration is loaded
		}
		u, err := upstream.ParseURL(*base)
		if err == nil {
			err = checkUpstreamPath(u)
		}
		if err != nil {
			return fmt.Errorf("upstream %s %w", *base, err)
		}
		return nil
	})
}

// checkUpstreamPath refuses a base URL that ends in what requests' paths begin
// with.
func checkUpstreamPath(u *url.URL) error {
	if strings.Contains(strings.ToLower(u.Path)+"/", "/cgi-bin/") {
		return errors.New("has /cgi-bin in it, with which paths begin already: leave it out, and all that follows")
	}
	return nil
}

// issueOption is that of an account or a platform.
func issueOption(issue *string) option.Option {
	return option.String("issue", issue, account.IssueVirtual).Checked(func() error { return checkIssue(*issue) })
}

func checkIssue(issue string) error {
	switch issue {
	case "", account.IssueVirtual, account.IssueReal, account.IssueOff:
		return nil
	}
	return fmt.Errorf("unknown way to issue tokens %s: write virtual, real or off", issue)
}
