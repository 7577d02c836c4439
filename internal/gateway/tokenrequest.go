package gateway

import (
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// readSecret finds in the secret of a request which account it means, if it says
// so, and the caller's key: the secret may be the account's name, or the name and
// a caller's key with a colon in between. Names have no colon; keys and secrets may
// have some.
func (r *Registry) readSecret(secret string) (account, key string) {
	if r.HasCallers() && r.CallerByKey(secret) != nil {
		return "", secret
	}
	isName := func(name string) bool { return r.Accounts.Named(name) != nil || r.platformNamed(name) != nil }
	if name, key, ok := strings.Cut(secret, ":"); ok && isName(name) {
		return name, key
	}
	if isName(secret) {
		account = secret
	}
	return account, secret
}

// secretRefused is the answer to a request for a token with a secret that is wrong
// or not enough.
func secretRefused(call *apiCall, cause string) error {
	refused := call.kind.SecretRefused
	return answer.WeChat(refused.Code, refused.Msg+": "+cause)
}

// accountOfTokenRequest returns the account whose token a request wants. named is
// that of the directive, or nil.
func (g *Gateway) accountOfTokenRequest(call *apiCall, t *tokenRequest, named *account.Account, caller *Caller) (*account.Account, error) {
	if named != nil {
		if named.Credentials.ID != t.id {
			return nil, invalidID(call)
		}
		if t.account != "" && t.account != named.Name && t.account != t.secret {
			return nil, secretRefused(call, "account "+named.Name+" is served here, and the secret names another: write "+named.Name+" before the colon")
		}
		return named, nil
	}
	same := g.Registry.Accounts.AllWithID(call.kind, t.id)
	switch {
	case len(same) == 0:
		return nil, invalidID(call)
	case t.account != "":
		return accountByName(call, t, same)
	case len(same) == 1:
		return same[0], nil
	case caller == nil:
		return accountBySecret(call, t, same)
	}
	return accountOfCaller(call, caller, same)
}

// accountByName returns the account that the secret names.
func accountByName(call *apiCall, t *tokenRequest, same []*account.Account) (*account.Account, error) {
	for _, a := range same {
		if a.Name == t.account {
			return a, nil
		}
	}
	if len(same) == 1 && t.account == t.secret {
		return same[0], nil // it may be anything
	}
	return nil, secretRefused(call, "account "+t.account+" has another "+call.kind.ID)
}

// accountBySecret returns the account that has the secret of a request itself.
func accountBySecret(call *apiCall, t *tokenRequest, same []*account.Account) (*account.Account, error) {
	var found *account.Account
	for _, a := range same {
		if subtle.ConstantTimeCompare([]byte(t.secret), []byte(a.Credentials.Secret)) == 1 {
			found = a
		}
	}
	if found == nil {
		return nil, secretRefused(call, "several accounts have this "+call.kind.ID+": write the account's name as "+call.route.Endpoint.Secret)
	}
	return found, nil
}

// accountOfCaller returns the only account of an identity that a caller may use.
func accountOfCaller(call *apiCall, caller *Caller, same []*account.Account) (*account.Account, error) {
	var found *account.Account
	for _, a := range same {
		if !caller.MayUse(a) {
			continue
		}
		if found != nil {
			found = nil
			break
		}
		found = a
	}
	if found == nil {
		return nil, secretRefused(call, "the key does not tell which account of this "+call.kind.ID+" is meant: write <account name>:<key> as "+call.route.Endpoint.Secret)
	}
	return found, nil
}

// ownErrcode has an error of the proxy's own at an API have the errcode that the
// kind wants for it. Errors at a token endpoint, and about tokens that the proxy
// has issued, are for SDKs to understand.
func (c *apiCall) ownErrcode(err error) error {
	e, ok := errors.AsType[*answer.Error](err)
	if !ok || !c.isOfKind || c.kind.OwnErrcode == wechat.OK || c.route.Takes == wechat.TakesTokenRequest || e.AboutToken {
		return err
	}
	e.Errcode = c.kind.OwnErrcode
	return e
}
