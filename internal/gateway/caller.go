package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Caller is an application that may use the proxy.
type Caller struct {
	Name     string
	Accounts []string            // their names, platforms' too, <platform>:<appid> and <platform>:*; nil for all
	Allow    caddyhttp.MatchPath // the paths that it may call; nil for every path
	IPs      []netip.Prefix      // where it may call from; nil for anywhere

	id        account.VirtualID
	keyDigest [sha256.Size]byte
}

// AddCaller has a caller prove itself by a key. It returns the caller that has
// the same key already, or nil. Once there is a caller, nothing passes without
// the key of one.
func (r *Registry) AddCaller(c *Caller, key string) *Caller {
	c.id, c.keyDigest = account.NewVirtualID("caller", c.Name), sha256.Sum256([]byte(key))
	for _, other := range r.callers {
		if other.keyDigest == c.keyDigest {
			return other
		}
	}
	r.callers = append(r.callers, c)
	r.callersByID[c.id] = c
	return nil
}

// HasCallers reports whether callers have to prove themselves.
func (r *Registry) HasCallers() bool { return len(r.callers) > 0 }

// CheckPathPatterns refuses patterns that match no path of WeChat's.
func CheckPathPatterns(patterns []string) error {
	for _, pattern := range patterns {
		if !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "*") {
			return fmt.Errorf("allow %s matches no path: write it with a leading slash, like /cgi-bin/message/*", pattern)
		}
		if i := strings.IndexFunc(pattern, option.IsFullWidth); i >= 0 {
			r, _ := utf8.DecodeRuneInString(pattern[i:])
			return fmt.Errorf("allow %s has the full-width character %q, which no path has: write it in ASCII", pattern, r)
		}
		if strings.Contains(pattern, "?") && strings.Contains(pattern, "=") {
			return fmt.Errorf("allow %s has a query, which is no part of a path: write the path alone, like /cgi-bin/message/*", pattern)
		}
	}
	return nil
}

// CallerByKey returns whose key this is, or nil. It takes as long for every key.
func (r *Registry) CallerByKey(key string) *Caller {
	digest := sha256.Sum256([]byte(key))
	var found *Caller
	for _, c := range r.callers {
		if subtle.ConstantTimeCompare(digest[:], c.keyDigest[:]) == 1 {
			found = c
		}
	}
	return found
}

// MayUse reports whether the caller may use an account.
func (c *Caller) MayUse(a *account.Account) bool {
	if a.Component != nil {
		return c.mayUseAuthorizer(a.Component.Name, a.Credentials.ID)
	}
	return c.Accounts == nil || slices.Contains(c.Accounts, a.Name)
}

// allAuthorizers stands for the AppID of every account that has authorised a
// platform.
const allAuthorizers = "*"

// mayUseAuthorizer reports whether the caller may use an account that has authorised
// a platform. Who may use the platform may use all of these.
func (c *Caller) mayUseAuthorizer(platform, appID string) bool {
	return c.Accounts == nil || slices.ContainsFunc(c.Accounts, func(name string) bool {
		of, which, some := strings.Cut(name, ":")
		return of == platform && (!some || which == appID || which == allAuthorizers)
	})
}

// mayUse reports whether the caller may use a subject's account.
func (c *Caller) mayUse(s subject) bool {
	if s.appID != "" {
		return c.mayUseAuthorizer(s.platform.component.Name, s.appID)
	}
	return c.MayUse(s.account)
}

// mayUseSomeOf reports whether the caller may use a platform, or any account that
// has authorised it.
func (c *Caller) mayUseSomeOf(p *servedPlatform) bool {
	return c.Accounts == nil || slices.ContainsFunc(c.Accounts, func(name string) bool {
		of, _, _ := strings.Cut(name, ":")
		return of == p.component.Name
	})
}

// MayCallFrom reports whether the caller may call from a client's address.
func (c *Caller) MayCallFrom(client netip.Addr) bool {
	return c.IPs == nil || containsAddr(c.IPs, client)
}

// MayCall reports whether the caller may call the path of a request.
func (c *Caller) MayCall(req *http.Request) bool { return c.Allow == nil || c.Allow.Match(req) }

// checkAccount refuses an account that the caller may not use. The error names the
// caller and the rule.
func (c *Caller) checkAccount(s subject) error {
	if c == nil || c.mayUse(s) {
		return nil
	}
	return answer.Forbidden(fmt.Sprintf("caller %s may not use account %s: its accounts are %s",
		c.Name, s.name(), strings.Join(c.Accounts, ", ")))
}

// check refuses what the caller may not do. The error names the caller and the
// rule.
func (c *Caller) check(call *apiCall, s subject) error {
	// Beside another platform's token none of this one's credentials is of use.
	if !call.passesBesidePlatform() || !c.mayUseSomeOf(s.platform) {
		if err := c.checkAccount(s); err != nil {
			return err
		}
	}
	switch {
	case !c.MayCallFrom(call.client):
		return answer.Forbidden(fmt.Sprintf("caller %s may not call from this address: add it to its ips", c.Name))
	case call.route.Takes != wechat.TakesTokenRequest && !c.MayCall(call.Request):
		return answer.Forbidden(fmt.Sprintf("caller %s may not call %s: its allow does not have it", c.Name, call.URL.Path))
	}
	return nil
}
