package sandbox

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Component is a third-party platform of the open platform.
type Component struct {
	// The platform's AppID. Placeholders are resolved when the configuration is
	// loaded. Default: none, it is required.
	AppID string `json:"appid,omitempty"`

	// The platform's AppSecret. Placeholders are resolved when the configuration
	// is loaded. Default: none, it is required.
	Secret string `json:"secret,omitempty"`

	// The token that pushes are signed with. Placeholders are resolved when the
	// configuration is loaded. Default: none, it is required.
	PushToken string `json:"push_token,omitempty"`

	// The EncodingAESKey, 43 characters, that pushes are encrypted with.
	// Placeholders are resolved when the configuration is loaded. Default: none, it
	// is required.
	PushAESKey string `json:"push_aes_key,omitempty"`

	// The authorisation-event URL, to which tickets and events are pushed.
	// Placeholders are resolved when the configuration is loaded. Default: none, and
	// nothing is pushed.
	Callback string `json:"callback,omitempty"`

	// The AppIDs of accounts that have authorised the platform from the
	// beginning. Default: none.
	Authorizers []string `json:"authorizers,omitempty"`
}

// String returns the AppID alone, so that no log line shows a secret.
func (c Component) String() string { return c.AppID }

// GoString returns the AppID alone as well.
func (c Component) GoString() string { return c.AppID }

const (
	invalidComponent = 61011
	unauthorizedAt   = 61003
	ticketExpired    = 61005
	ticketInvalid    = 61006
	authCodeInvalid  = 61009
	authCodeExpired  = 61010
	refreshInvalid   = 61023
	wrongMethod      = 61024
)

// What WeChat allows.
const (
	verifyTicketLifetime   = 12 * time.Hour
	preAuthCodeLifetime    = 30 * time.Minute
	authCodeLifetime       = time.Hour
	componentTokensPerDay  = 10_000
	maxVerifyTickets       = 1000
	maxAuthorizersInAnswer = 500
)

// component is the state of a platform. The server's mutex guards it.
type component struct {
	Component
	counters
	key []byte // of pushes

	issuer      *issuer
	tickets     []*verifyTicket
	codes       *recent[*authCode]
	authorizers map[string]*authorization
	order       []string // of their appids
	pushed      pushes
}

// verifyTicket is a component_verify_ticket.
type verifyTicket struct {
	value   string
	created time.Time
}

// authCode is a one-time code that stands for an authorisation.
type authCode struct {
	authorizer *authorization
	expires    time.Time
	used       bool
}

// authorization is what an account has allowed a platform, and the owner of the
// tokens that follow from it.
type authorization struct {
	counters
	component *component
	account   *account
	issuer    *issuer
	refresh   string
	known     bool // it has been asked for once: only then lists show a refresh token
	withdrawn bool
	at        time.Time
}

func (co *component) serves(c *call, r *route) bool {
	return !c.wecom && (r == nil || r.takes == componentToken || r.component)
}

func (co *component) join(c *call) { c.component = co }

func (z *authorization) serves(c *call, r *route) bool { return z.account.serves(c, r) }

func (z *authorization) join(c *call) {
	z.account.join(c)
	z.account.calls++
	c.authorization = z
}

func (s *Server) addComponents(list []Component, now time.Time) error {
	for _, configured := range list {
		added, err := s.newComponent(configured)
		if err != nil {
			return err
		}
		s.components[configured.AppID] = added
		s.componentIDs = append(s.componentIDs, configured.AppID)
		for _, appID := range configured.Authorizers {
			if !idForm.MatchString(appID) {
				return fmt.Errorf("component %s: %q is no AppID of an authorizer", configured.AppID, appID)
			}
			s.authorize(added, appID, now).known = true
		}
	}
	return nil
}

func (s *Server) newComponent(configured Component) (*component, error) {
	key, err := base64.StdEncoding.DecodeString(configured.PushAESKey + "=")
	callback, urlErr := url.Parse(configured.Callback)
	switch {
	case !idForm.MatchString(configured.AppID):
		return nil, fmt.Errorf("%q is no AppID: write 1 to 64 letters, digits, hyphens or underscores", configured.AppID)
	case s.components[configured.AppID] != nil || s.byAppID[configured.AppID] != nil:
		return nil, fmt.Errorf("component %s is configured twice", configured.AppID)
	case configured.Secret == "", configured.PushToken == "":
		return nil, fmt.Errorf("component %s needs a secret, a push_token and a push_aes_key", configured.AppID)
	case err != nil || len(key) != aesKeySize:
		return nil, fmt.Errorf("component %s: push_aes_key is no EncodingAESKey: write 43 letters and digits", configured.AppID)
	case configured.Callback != "" && (urlErr != nil || callback.Host == ""):
		return nil, fmt.Errorf("component %s: callback is no URL: write http://127.0.0.1:8080/callback for example", configured.AppID)
	}
	co := &component{
		Component:   configured,
		counters:    counters{failures: make(failures)},
		key:         key,
		codes:       newRecent[*authCode](maxCodes),
		authorizers: make(map[string]*authorization),
	}
	co.issuer = newIssuer(s, co, &quota{period: beijingDay, limit: componentTokensPerDay, errcode: quotaExhausted})
	return co, nil
}

// authorize lets an account authorise a platform, for the first time or again.
// An account that the sandbox does not know is made up.
func (s *Server) authorize(co *component, appID string, now time.Time) *authorization {
	z := co.authorizers[appID]
	if z == nil {
		a := s.byAppID[appID]
		if a == nil {
			a = s.addAccount(Account{AppID: appID, AppSecret: randomText(32)})
		}
		z = &authorization{counters: counters{failures: make(failures)}, component: co, account: a}
		z.issuer = newIssuer(s, z)
		z.newRefreshToken()
		co.authorizers[appID] = z
		co.order = append(co.order, appID)
	}
	z.at, z.withdrawn = now, false
	return z
}

func (z *authorization) newRefreshToken() { z.refresh = "refreshtoken@@@" + randomText(43) }

// withdraw ends an authorisation: its tokens are refused from now on.
func (z *authorization) withdraw(now time.Time) {
	z.withdrawn, z.known = true, false
	z.issuer.endAll(now, unauthorizedAt)
	z.newRefreshToken()
}

// next returns a new token; the one before works a little longer.
func (z *authorization) next(now time.Time) *token {
	if before := z.issuer.current; before != nil {
		before.end(now.Add(z.issuer.overlap), invalidCredential)
	}
	z.issuer.fetches++
	return z.issuer.issue(now)
}

// live returns those who have not withdrawn, in the order of their
// authorisation.
func (co *component) live() []*authorization {
	var list []*authorization
	for _, appID := range co.order {
		if z := co.authorizers[appID]; !z.withdrawn {
			list = append(list, z)
		}
	}
	return list
}

// newTicket makes the next ticket. Those before stay good for their time.
func (co *component) newTicket(now time.Time) *verifyTicket {
	t := &verifyTicket{value: "ticket@@@" + randomText(86), created: now}
	co.tickets = append(co.tickets, t)
	if len(co.tickets) > maxVerifyTickets {
		co.tickets = slices.Delete(co.tickets, 0, 1)
	}
	return t
}

func (co *component) checkTicket(value string, now time.Time) error {
	for _, t := range co.tickets {
		if t.value == value {
			if now.Sub(t.created) >= verifyTicketLifetime {
				return refuse(ticketExpired)
			}
			return nil
		}
	}
	return refuse(ticketInvalid)
}
