package weixin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
)

// adminAPI tells the state of the accounts on Caddy's admin endpoint, and
// renews their tokens:
//
//	GET  /weixin/accounts
//	GET  /weixin/accounts/{name}
//	POST /weixin/accounts/{name}/refresh
//	GET  /weixin/health
//	GET  /weixin/platforms
//	GET  /weixin/platforms/{name}
//	POST /weixin/platforms/{name}/refresh
//	POST /weixin/platforms/{name}/sync
//	GET  /weixin/platforms/{name}/authorizers?after=<appid>&limit=<n>
//	GET  /weixin/platforms/{name}/authorizers/{appid}
//	POST /weixin/platforms/{name}/authorizers/{appid}/refresh
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.weixin",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return append([]caddy.AdminRoute{
		{Pattern: "/weixin/accounts", Handler: caddy.AdminHandlerFunc(handleAccounts)},
		{Pattern: "/weixin/accounts/", Handler: caddy.AdminHandlerFunc(handleAccount)},
		{Pattern: "/weixin/health", Handler: caddy.AdminHandlerFunc(handleHealth)},
	}, platformRoutes...)
}

func handleAccounts(w http.ResponseWriter, req *http.Request) error {
	if err := requireMethod(req, http.MethodGet); err != nil {
		return err
	}
	s, err := runningNow()
	if err != nil {
		return err
	}
	s.tokens.look(req.Context(), s.accounts.All())
	return writeStatus(w, http.StatusOK, s.statuses())
}

func handleAccount(w http.ResponseWriter, req *http.Request) error {
	s, err := runningNow()
	if err != nil {
		return err
	}
	name, action, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/weixin/accounts/"), "/")
	a := s.accounts.Named(name)
	if s.platforms.named(name) != nil {
		return notFound(name + " is a platform: ask for /weixin/platforms/" + name)
	}
	if a == nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no account %s", name)}
	}
	switch action {
	case "":
		if err := requireMethod(req, http.MethodGet); err != nil {
			return err
		}
		s.tokens.look(req.Context(), slices.Values([]*account.Account{a}))
		return writeStatus(w, http.StatusOK, s.tokens.Status(a))
	case "refresh":
		if err := requireMethod(req, http.MethodPost); err != nil {
			return err
		}
		if err := renew(w, req, a); err != nil {
			return err
		}
		return writeStatus(w, http.StatusOK, s.tokens.Status(a))
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is nothing at %s", req.URL.Path)}
}

// handleHealth answers 200 while every account has a usable token that WeChat
// accepts, or needs none yet.
func handleHealth(w http.ResponseWriter, req *http.Request) error {
	if err := requireMethod(req, http.MethodGet); err != nil {
		return err
	}
	s, err := runningNow()
	if err != nil {
		return err
	}
	report := s.health(s.names())
	return writeStatus(w, report.status(), report)
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
