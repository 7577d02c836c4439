package account

import (
	"slices"
	"sync/atomic"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// redaction holds what must not leave the proxy of an account: its secret, or its
// platform's, and its latest tokens. What removes them is made once for every token.
type redaction struct {
	known atomic.Pointer[knownTokens]
}

// knownTokens are those that answers may repeat, the newest first.
type knownTokens struct {
	tokens   []string
	redactor *wechat.Redactor
}

// maxKnownTokens: the current token, the one before, and one that requests are
// still under way with.
const maxKnownTokens = 3

// Redactor returns what removes the account's secrets from what WeChat answers
// to a request with an access_token. Without one, that is what was known before.
func (a *Account) Redactor(token string) *wechat.Redactor {
	known := a.redaction.known.Load()
	if known != nil && (token == "" || slices.Contains(known.tokens, token)) {
		return known.redactor
	}
	next := new(knownTokens)
	if token != "" {
		next.tokens = append(next.tokens, token)
	}
	if known != nil {
		next.tokens = append(next.tokens, known.tokens...)
	}
	next.tokens = next.tokens[:min(len(next.tokens), maxKnownTokens)]
	secrets := append(slices.Clone(next.tokens), a.Credentials.Secret)
	if a.Component != nil {
		secrets = append(secrets, a.Component.Credentials.Secret)
	}
	next.redactor = wechat.NewRedactor(secrets...)
	a.redaction.known.Store(next)
	return next.redactor
}
