package account

import (
	"net/http"

	"github.com/caddy-weixin/caddy-weixin/internal/apisecurity"
)

// APISecurity is an account's API security: its requests are encrypted and
// signed.
type APISecurity struct {
	Keys *apisecurity.Keys

	// Matches reports whether a request's path is one of those in question.
	Matches func(*http.Request) bool

	// Deprecated are the warnings of the platform's outgoing certificate.
	Deprecated Sampler
}
