package gateway

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// selectSubject returns whose credentials the request uses. Its account is known.
func (g *Gateway) selectSubject(call *apiCall, c *claims, caller *Caller) (subject, error) {
	named, err := g.named(call.Request)
	if err != nil {
		return subject{}, answer.BadRequest(err.Error())
	}
	if len(g.Registry.platforms) > 0 {
		switch {
		case call.kind == wechat.Platform:
			return g.selectOfPlatform(call, c, named, caller)
		case c.tokenRequest != nil && g.asksForAuthorizer(call, c.tokenRequest, named):
			return g.authorizerOfTokenRequest(call, c.tokenRequest, named, caller)
		case call.kind == wechat.Official && wechat.MayShowTokens(call.URL.Path):
			return subject{}, answer.BadRequest("account " + named.name() + " is served here, and this API is a platform's: call it where " +
				g.Registry.platforms[0].own().configured() + " is served")
		}
	}
	a, err := g.selectAccount(call, c, named.account, caller)
	if err != nil {
		return subject{}, g.orInstead(err, call, c, named, caller)
	}
	return subject{account: a}, nil
}

// selectAccount returns the configured account that the request means. named is
// that of the directive, or nil.
func (g *Gateway) selectAccount(call *apiCall, c *claims, named *account.Account, caller *Caller) (*account.Account, error) {
	if c.tokenRequest != nil {
		return g.accountOfTokenRequest(call, c.tokenRequest, named, caller)
	}
	if c.bound.platform != nil || c.bound.account != nil && named != nil && named != c.bound.account {
		return nil, call.tokenRefused(errOtherAccount)
	}
	a := firstAccount(named, c.bound.account, g.Registry.Accounts.WithID(c.id))
	if a == nil {
		a = g.accountLeft(call, caller)
	}
	if err := c.secretRequest.check(call, a, caller); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, errAccountUnclear(call)
	}
	return a, nil
}

// errAccountUnclear says how to tell which account is meant. An identity that
// several have does not.
func errAccountUnclear(call *apiCall) error {
	if call.kind.SecretsApart || !call.isOfKind {
		return answer.BadRequest("several accounts are served here, and the request does not tell which is meant: " +
			"use a token fetched here for one, write its name in the directive, as in weixin <account>, " +
			"or for an official account its appid in the query")
	}
	return answer.BadRequest("several accounts are served here: name one with its " + call.kind.ID +
		" in the query, or with a token fetched here for it")
}

func invalidID(call *apiCall) error {
	return answer.WeChat(wechat.InvalidAppID, "invalid "+call.kind.ID)
}

func firstAccount(accounts ...*account.Account) *account.Account {
	for _, a := range accounts {
		if a != nil {
			return a
		}
	}
	return nil
}

// accountLeft returns the account of a request that names none, or nil: the only
// one, or one of several where it does not matter which.
func (g *Gateway) accountLeft(call *apiCall, caller *Caller) *account.Account {
	if call.isOfKind {
		if a := g.Registry.Accounts.OnlyOf(call.kind); a != nil {
			return a
		}
	}
	if call.needsNoAccount() {
		return g.Registry.anyAccount(call.kind, caller)
	}
	return nil
}

// named returns what the configuration names, or the zero subject.
func (g *Gateway) named(req *http.Request) (subject, error) {
	name := g.Account
	if name == "" {
		return subject{}, nil
	}
	if option.HasPlaceholder(name) {
		repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return subject{}, errors.New("the account's name cannot be told for this request")
		}
		if name = repl.ReplaceAll(name, ""); name == "" {
			return subject{}, errors.New("the account's name is empty for this request")
		}
	}
	return g.Registry.subjectNamed(name)
}

// anyAccount returns an account of a kind for a request that takes no account's
// credentials, only its upstream, if all have the same.
func (r *Registry) anyAccount(kind *wechat.Kind, caller *Caller) *account.Account {
	var first *account.Account
	for a := range r.Accounts.All() {
		if a.Kind != kind {
			continue
		}
		if first != nil && first.Upstream.String() != a.Upstream.String() {
			return nil
		}
		if first == nil && (caller == nil || caller.MayUse(a)) {
			first = a
		}
	}
	return first
}
