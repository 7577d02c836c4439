package weixin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

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

// running are the apps that have been started, the newest last. The admin
// endpoint is provisioned before any app, and without its configuration.
var running struct {
	sync.Mutex
	apps []*App
}

func (app *App) setRunning(is bool) {
	running.Lock()
	defer running.Unlock()
	running.apps = slices.DeleteFunc(running.apps, func(other *App) bool { return other == app })
	if is {
		running.apps = append(running.apps, app)
	}
}

func runningApp() (*App, error) {
	running.Lock()
	defer running.Unlock()
	if len(running.apps) == 0 {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no weixin app is running")}
	}
	return running.apps[len(running.apps)-1], nil
}

func requireMethod(req *http.Request, method string) error {
	if req.Method != method {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s is not allowed: use %s", req.Method, method)}
	}
	return nil
}

func writeStatus(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	return json.NewEncoder(w).Encode(v)
}

func handleAccounts(w http.ResponseWriter, req *http.Request) error {
	if err := requireMethod(req, http.MethodGet); err != nil {
		return err
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	app.tokens.look(req.Context(), app.accounts.All())
	return writeStatus(w, http.StatusOK, app.statuses())
}

// statuses returns all configured accounts', by name. The store, which they share,
// is in the same state in all of them.
func (app *App) statuses() []AccountStatus {
	statuses := make([]AccountStatus, 0, app.accounts.Len())
	state := app.tokens.store.State()
	for a := range app.accounts.All() {
		statuses = append(statuses, app.tokens.statusWith(a, state))
	}
	return statuses
}

func handleAccount(w http.ResponseWriter, req *http.Request) error {
	app, err := runningApp()
	if err != nil {
		return err
	}
	name, action, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/weixin/accounts/"), "/")
	a := app.accounts.Named(name)
	if app.platforms.named(name) != nil {
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
		app.tokens.look(req.Context(), slices.Values([]*account.Account{a}))
		return writeStatus(w, http.StatusOK, app.tokens.Status(a))
	case "refresh":
		if err := requireMethod(req, http.MethodPost); err != nil {
			return err
		}
		if err := app.renew(w, req, a); err != nil {
			return err
		}
		return writeStatus(w, http.StatusOK, app.tokens.Status(a))
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is nothing at %s", req.URL.Path)}
}

// maxRefreshBody bounds the body of a refresh, which is a fingerprint at most.
const maxRefreshBody = 4 << 10

// renew renews a token. An optional body {"rejected":"<fingerprint>"} makes it
// compare-and-swap.
func (app *App) renew(w http.ResponseWriter, req *http.Request, a *account.Account) error {
	var order struct {
		Rejected string `json:"rejected"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRefreshBody))
	if err == nil && len(body) > 0 {
		err = unmarshalStrict(body, &order)
	}
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`the body is none of {"rejected":"<fingerprint>"}: write that, or leave it out`)}
	}
	if err := a.Renew(req.Context(), order.Rejected); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: errors.New(tokenMessage(err, a))}
	}
	return nil
}

// unmarshalStrict decodes one JSON value whose fields are all known, and nothing
// behind it.
func unmarshalStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is something behind the value")
	}
	return nil
}

// handleHealth answers 200 while every account has a usable token that WeChat
// accepts, or needs none yet.
func handleHealth(w http.ResponseWriter, req *http.Request) error {
	if err := requireMethod(req, http.MethodGet); err != nil {
		return err
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	report := app.health(app.servedNames())
	return writeStatus(w, report.status(), report)
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
