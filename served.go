package weixin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// served is what a configuration serves: accounts and third-party platforms, and
// what keeps their tokens. Of a configuration that runs, operators see this.
type served struct {
	accounts  *account.Directory
	platforms platforms
	tokens    *TokenManager
}

// account returns the account of that name, or the only one there is. Platforms
// are none.
func (s *served) account(name string) (*account.Account, error) {
	if s.accounts.Len() == 0 {
		return nil, errNoAccount
	}
	if name != "" {
		if s.platforms.named(name) != nil {
			return nil, fmt.Errorf("%s is a platform, which is not served here: write one of %s", name, strings.Join(s.accounts.Names(), ", "))
		}
		if a := s.accounts.Named(name); a != nil {
			return a, nil
		}
		return nil, fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(s.accounts.Names(), ", "))
	}
	if s.accounts.Len() > 1 {
		return nil, fmt.Errorf("there are several accounts: write one of %s", strings.Join(s.accounts.Names(), ", "))
	}
	return s.accounts.Only(), nil
}

var errNoAccount = errors.New("no account is configured: add one to the weixin global option")

// find returns the account of that name, or the only one there is. It may be a
// platform's own, which stands for that of <platform>:<appid> as well.
func (s *served) find(name string) (*account.Account, error) {
	names := s.names()
	switch {
	case len(names) == 0:
		return nil, errNoAccount
	case name == "" && len(names) == 1:
		name = names[0]
	case name == "":
		return nil, fmt.Errorf("there are several accounts: write one of %s", strings.Join(names, ", "))
	}
	if a := s.named(name); a != nil {
		return a, nil
	}
	if p := s.platformOfAuthorizer(name); p != nil {
		return p.Component, nil
	}
	return nil, fmt.Errorf("there is no account %s: write one of %s", name, strings.Join(names, ", "))
}

// all returns what the proxy serves, in the order of the names: the accounts,
// and the platforms' own.
func (s *served) all() []*account.Account {
	all := slices.AppendSeq(s.platforms.components(), s.accounts.All())
	slices.SortFunc(all, func(a, b *account.Account) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// names returns the names of what the proxy serves: accounts and platforms.
func (s *served) names() []string {
	return slices.Sorted(slices.Values(slices.Concat(s.accounts.Names(), s.platforms.names())))
}

// platformOfAuthorizer returns the platform of <platform>:<appid>, or nil where a
// name is none of an account that could have authorised one.
func (s *served) platformOfAuthorizer(name string) *platform.Platform {
	of, appID, ok := strings.Cut(name, ":")
	if !ok || !wechat.IsAppID(appID) {
		return nil
	}
	return s.platforms.named(of)
}

// named returns the account of that name, which may be a platform's own, or
// nil.
func (s *served) named(name string) *account.Account {
	if p := s.platforms.named(name); p != nil {
		return p.Component
	}
	return s.accounts.Named(name)
}

// look has the status of accounts and platforms be what all processes know
// together.
func (s *served) look(ctx context.Context) {
	s.tokens.look(ctx, s.accounts.All())
	s.platforms.look(ctx)
}

// statuses returns all accounts', by name. The store, which they share, is in the
// same state in all of them.
func (s *served) statuses() []AccountStatus {
	statuses := make([]AccountStatus, 0, s.accounts.Len())
	state := s.tokens.store.State()
	for a := range s.accounts.All() {
		statuses = append(statuses, s.tokens.statusWith(a, state))
	}
	return statuses
}

// platformStatus returns a platform's status.
func (s *served) platformStatus(ctx context.Context, p *platform.Platform) PlatformStatus {
	return PlatformStatus{s.tokens.Status(p.Component), detailsOf(ctx, p)}
}

// platformStatuses returns all platforms', by name.
func (s *served) platformStatuses(ctx context.Context) []PlatformStatus {
	statuses := make([]PlatformStatus, len(s.platforms.all))
	var wg sync.WaitGroup
	for i, p := range s.platforms.all {
		wg.Go(func() { statuses[i] = s.platformStatus(ctx, p) })
	}
	wg.Wait()
	return statuses
}

// healthReport is what the health check and the admin API tell.
type healthReport struct {
	Healthy   bool     `json:"healthy"`
	Unhealthy []string `json:"unhealthy"` // the names of the accounts that are not
}

// health reports on accounts. One is healthy while requests get a token that
// WeChat accepts, or nobody has needed one yet.
func (s *served) health(names []string) healthReport {
	report := healthReport{Healthy: true, Unhealthy: []string{}}
	for _, name := range names {
		if status := s.tokens.Status(s.named(name)); !status.healthy() {
			report.Healthy = false
			report.Unhealthy = append(report.Unhealthy, name)
		}
	}
	return report
}

func (r healthReport) status() int {
	if r.Healthy {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}
