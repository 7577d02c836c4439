// Package account holds the accounts of a configuration: what each of them is,
// the credential that its token is, and what the proxy knows of its requests.
package account

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Ways to answer applications that ask for a token.
const (
	IssueVirtual = "virtual" // with a virtual token
	IssueReal    = "real"    // with the account's access_token
	IssueOff     = "off"     // not at all
)

// Account is a WeChat account. It is not changed once it is in use, but for what
// has a lock of its own.
type Account struct {
	credential credential.Credential // first, as every request looks at it

	Name        string
	Kind        *wechat.Kind
	Credentials wechat.Credentials
	AgentID     string                // of a WeCom application, or ""
	Endpoint    *wechat.TokenEndpoint // of the token
	Upstream    *url.URL
	Resolver    *upstream.Resolver // of the upstream's name; nil for the system's
	Security    *APISecurity       // nil where requests go out as they are
	Issue       string             // how applications get a token; "" is IssueVirtual

	// Origin is where the token comes from where it is not Endpoint, asked with
	// Credentials, that hands it out; or nil.
	Origin *Origin

	// Component is the platform's own account where this is that of an appid which
	// has authorised the platform; or nil.
	Component *Account

	// Observer is told what happens. Bind sets it to one that does nothing.
	Observer Observer

	// IsIssued reports whether a token is one that the proxy itself has issued;
	// nil where it issues none. An endpoint that hands out such a token is the
	// proxy's own.
	IsIssued func(token string) bool

	// Logged is what was logged of the answers to its requests.
	Logged Sampler

	troubles  troubles
	reach     reach
	redaction redaction
	manager   *credential.Manager
	endpoints http.RoundTripper // to the token endpoints

	virtualID  VirtualID
	virtualKey []byte
}

// Origin is where the token of an account comes from that no token endpoint hands
// out for an ID and a secret alone.
type Origin struct {
	Identity   string // names the token among all that share a store, as credential.ID has it
	Secret     string // seals the token's record
	Method     string // what log lines call the way in which it is fetched
	Source     credential.Source
	Parent     *credential.Credential
	Policy     *credential.Policy
	Durability credential.Durability
}

// Bind completes an account with what the process knows of its token, and with
// what reaches its token endpoint.
func (a *Account) Bind(m *credential.Manager, endpoints http.RoundTripper, runner *credential.Runner) *Account {
	a.manager, a.endpoints = m, endpoints
	if a.Observer == nil {
		a.Observer = Unobserved{}
	}
	origin := a.Origin
	if origin == nil {
		origin = a.endpointOrigin()
	}
	a.credential = credential.Credential{
		ID:         credential.ID{Identity: origin.Identity, Upstream: a.Upstream.String(), Secret: origin.Secret},
		Name:       a.Name,
		Method:     origin.Method,
		Source:     origin.Source,
		Parent:     origin.Parent,
		Policy:     origin.Policy,
		Durability: origin.Durability,
		Observer:   (*tokenObserver)(a),
		Advisor:    advisor{a.Kind},
	}
	if a.Kind == wechat.Official {
		a.credential.Former = formerPlace
	}
	m.Bind(&a.credential, runner)
	a.virtualID = NewVirtualID("account", a.virtualName())
	return a
}

// endpointOrigin is that of accounts whose token endpoint takes their ID and
// secret.
func (a *Account) endpointOrigin() *Origin {
	return &Origin{
		Identity: a.identity() + "-" + a.Endpoint.Name,
		Secret:   a.Credentials.Secret,
		Method:   a.Endpoint.Name,
		Source:   (*tokenSource)(a),
		Policy:   policyOf(a.Endpoint),
	}
}

// Credential returns the credential that the account's token is.
func (a *Account) Credential() *credential.Credential { return &a.credential }

// Now returns the time by which tokens live.
func (a *Account) Now() time.Time { return a.manager.Now() }

// identity names the account's token among all that share a store. Official
// accounts are named by the AppID alone, as they were when there was no other
// kind, so that what is stored and issued stays valid.
func (a *Account) identity() string {
	id := url.PathEscape(a.Credentials.ID)
	if a.Kind == wechat.Official {
		return id
	}
	id = a.Kind.Name + "-" + id
	if a.Kind.SecretsApart {
		id += "-" + a.secretDigest()
	}
	return id
}

// virtualName names the account in virtual tokens.
func (a *Account) virtualName() string {
	if a.Kind == wechat.Official {
		return a.Credentials.ID
	}
	return a.identity()
}

// secretDigest tells accounts of one identity apart, and nothing of the secret.
func (a *Account) secretDigest() string {
	key, err := hkdf.Key(sha256.New, []byte(a.Credentials.Secret), []byte(a.Credentials.ID), "caddy-weixin identity", 8)
	if err != nil {
		panic(err) // the length is a constant
	}
	return hex.EncodeToString(key)
}

// ID identifies an account's token: what makes for another token makes for
// another ID.
func (a *Account) ID() string {
	h, method := sha256.New(), ""
	if a.Endpoint != nil {
		method = a.Endpoint.Name
	}
	for _, s := range []string{a.identity(), a.Credentials.Secret, method, a.Upstream.String()} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// VirtualTokenPrefix is what tokens begin with that a proxy like this one issues.
const VirtualTokenPrefix = "cwx1_"

// IsVirtualToken reports whether a token has the form of a virtual one.
func IsVirtualToken(token string) bool { return strings.HasPrefix(token, VirtualTokenPrefix) }

// VirtualID names an account or a caller in a virtual token.
type VirtualID [8]byte

// NewVirtualID returns the ID of an account or a caller.
func NewVirtualID(of, name string) VirtualID {
	sum := sha256.Sum256([]byte(of + "\x00" + name))
	return VirtualID(sum[:len(VirtualID{})])
}

// VirtualID returns what names the account in virtual tokens.
func (a *Account) VirtualID() VirtualID { return a.virtualID }

// VirtualKey returns what the account's virtual tokens are signed with: those of
// accounts that have authorised a platform with the platform's key, as they have
// no secret of their own.
func (a *Account) VirtualKey() []byte {
	if a.Component != nil {
		return a.Component.virtualKey
	}
	return a.virtualKey
}

// MakeVirtualKey derives what the account's virtual tokens are signed with.
func (a *Account) MakeVirtualKey() (err error) {
	a.virtualKey, err = VirtualKey(a.Credentials)
	return err
}

// VirtualKey derives what virtual tokens of an account with these credentials are
// signed with.
func VirtualKey(cred wechat.Credentials) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(cred.Secret), []byte(cred.ID), "caddy-weixin virtual token", sha256.Size)
}

// resolving returns a context in which the upstream's name is resolved as the
// account has it.
func (a *Account) resolving(ctx context.Context) context.Context {
	return upstream.WithResolver(ctx, a.Resolver)
}
