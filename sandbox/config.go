package sandbox

import (
	"fmt"
	"regexp"
	"time"
)

// The account of a sandbox that is given none.
const (
	DemoAppID     = "wx0000000000000001"
	DemoAppSecret = "0123456789abcdef0123456789abcdef"
)

const (
	defaultExpiresIn = 2 * time.Hour
	minExpiresIn     = 2 * time.Second // half of it is the overlap, and expires_in is in whole seconds
	maxOverlap       = 5 * time.Minute
)

// Config says what a sandbox knows and how long its tokens live.
type Config struct {
	// Accounts are the official accounts and mini programs that the sandbox
	// knows. Default: the demo account, DemoAppID with DemoAppSecret, where there
	// is nothing else either.
	Accounts []Account

	// Corps are the WeCom corporations that the sandbox knows.
	Corps []Corp

	// Components are the third-party platforms that the sandbox knows.
	Components []Component

	// ExpiresIn is the lifetime of a token, at least two seconds. Default: two
	// hours.
	ExpiresIn time.Duration

	// Lenient has paths that the sandbox does not know answered with errcode 0
	// instead of 40066.
	Lenient bool
}

// Account is an official account or a mini program.
type Account struct {
	// The account's AppID: letters, digits, "-" and "_". Placeholders are
	// resolved when the configuration is loaded. Default: none, it is required.
	AppID string `json:"appid,omitempty"`

	// The account's AppSecret. Placeholders are resolved when the configuration
	// is loaded. Default: none, it is required.
	AppSecret string `json:"secret,omitempty"`

	// The account's setting for requests that are encrypted and signed. Default:
	// none, and such requests are refused.
	APISecurity *APISecurity `json:"api_security,omitempty"`
}

// String returns the AppID alone, so that no log line shows the AppSecret.
func (a Account) String() string { return a.AppID }

// GoString returns the AppID alone as well.
func (a Account) GoString() string { return a.AppID }

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// withDefaults returns the configuration with nothing left open.
func (c Config) withDefaults() (Config, error) {
	if c.ExpiresIn == 0 {
		c.ExpiresIn = defaultExpiresIn
	}
	if c.ExpiresIn < minExpiresIn {
		return c, fmt.Errorf("expires_in is %s: a token has to live for %s at least", c.ExpiresIn, minExpiresIn)
	}
	if len(c.Accounts)+len(c.Corps)+len(c.Components) == 0 {
		c.Accounts = []Account{{AppID: DemoAppID, AppSecret: DemoAppSecret}}
	}
	return c, nil
}

func (s *Server) addAccounts(list []Account) error {
	for _, a := range list {
		switch {
		case !idForm.MatchString(a.AppID):
			return fmt.Errorf("%q is no AppID: write 1 to 64 letters, digits, hyphens or underscores", a.AppID)
		case a.AppSecret == "":
			return fmt.Errorf("account %s has no secret", a.AppID)
		case s.byAppID[a.AppID] != nil:
			return fmt.Errorf("account %s is configured twice", a.AppID)
		}
		added := s.addAccount(a)
		if a.APISecurity == nil {
			continue
		}
		if err := s.secure(added); err != nil {
			return fmt.Errorf("account %s: %w", a.AppID, err)
		}
	}
	return nil
}

// secure gives an account its setting of API security, and the platform a
// certificate.
func (s *Server) secure(a *account) (err error) {
	if a.security, err = newAPISecurity(a.APISecurity); err != nil {
		return err
	}
	if s.platformCertificates.current == nil {
		s.platformCertificates.current, err = newCertificate()
	}
	return err
}

func (s *Server) addAccount(a Account) *account {
	added := newAccount(s, a)
	s.byAppID[a.AppID] = added
	s.accounts = append(s.accounts, added)
	return added
}
