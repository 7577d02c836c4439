package weixin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
)

// platformRoutes tell the state of the platforms and of the accounts that have
// authorised them, and renew their tokens.
var platformRoutes = []caddy.AdminRoute{
	{Pattern: "/weixin/platforms", Handler: caddy.AdminHandlerFunc(handlePlatforms)},
	{Pattern: "/weixin/platforms/", Handler: caddy.AdminHandlerFunc(handlePlatform)},
}

func handlePlatforms(w http.ResponseWriter, req *http.Request) error {
	if err := requireMethod(req, http.MethodGet); err != nil {
		return err
	}
	s, err := runningNow()
	if err != nil {
		return err
	}
	s.platforms.look(req.Context())
	return writeStatus(w, http.StatusOK, s.platformStatuses(req.Context()))
}

// platformRequest is a request about a platform.
type platformRequest struct {
	served *served
	p      *platform.Platform
	w      http.ResponseWriter
	*http.Request
}

func handlePlatform(w http.ResponseWriter, req *http.Request) error {
	s, err := runningNow()
	if err != nil {
		return err
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/weixin/platforms/"), "/")
	r := platformRequest{served: s, p: s.platforms.named(name), w: w, Request: req}
	if r.p == nil {
		return notFound("there is no platform " + name)
	}
	resource, appID, nested := strings.Cut(rest, "/")
	if resource == "authorizers" && nested {
		return r.authorizer(appID)
	}
	switch rest {
	case "":
		return r.answer(http.MethodGet, r.status)
	case "refresh":
		return r.answer(http.MethodPost, r.refresh)
	case "sync":
		return r.answer(http.MethodPost, r.sync)
	case "authorizers":
		return r.answer(http.MethodGet, r.authorizers)
	}
	return notFound("there is nothing at " + req.URL.Path)
}

// answer answers with what a function returns, if the request has the method.
func (r platformRequest) answer(method string, do func() (any, error)) error {
	if err := requireMethod(r.Request, method); err != nil {
		return err
	}
	result, err := do()
	if err != nil {
		return err
	}
	return writeStatus(r.w, http.StatusOK, result)
}

func (r platformRequest) status() (any, error) {
	r.served.platforms.look(r.Context())
	return r.served.platformStatus(r.Context(), r.p), nil
}

func (r platformRequest) refresh() (any, error) {
	if err := renew(r.w, r.Request, r.p.Component); err != nil {
		return nil, err
	}
	return r.served.platformStatus(r.Context(), r.p), nil
}

// syncResult is how many authorizers WeChat has told of.
type syncResult struct {
	Authorizers int `json:"authorizers"`
}

func (r platformRequest) sync() (any, error) {
	n, err := r.p.Sync(r.Context())
	if err != nil {
		return nil, r.failure(err, r.p.Component)
	}
	return syncResult{n}, nil
}

// failure returns the answer where WeChat or the store could not be asked.
func (r platformRequest) failure(err error, a *account.Account) error {
	return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: errors.New(tokenMessage(err, a))}
}

// Sizes of a page of authorizers.
const (
	defaultPage = 100
	maxPage     = 1000
)

// authorizerPage is a part of the list of authorizers, sorted by appid.
type authorizerPage struct {
	Authorizers []listedAuthorizer `json:"authorizers"`

	// Next is what to go on after, "" at the end.
	Next string `json:"next"`
}

// listedAuthorizer is an account that has authorised the platform.
type listedAuthorizer struct {
	AppID string `json:"appid"`
}

func (r platformRequest) authorizers() (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read: write ?after=<appid>&limit=<n>")
	}
	limit, err := pageSize(query)
	if err != nil {
		return nil, err
	}
	for name := range query {
		if name != "after" && name != "limit" {
			return nil, badRequest(fmt.Sprintf("unknown parameter %s: write ?after=<appid>&limit=<n>", name))
		}
	}
	appIDs, next, err := r.p.List(r.Context(), query.Get("after"), limit)
	if err != nil {
		return nil, r.failure(err, r.p.Component)
	}
	page := authorizerPage{Authorizers: make([]listedAuthorizer, len(appIDs)), Next: next}
	for i, appID := range appIDs {
		page.Authorizers[i].AppID = appID
	}
	return page, nil
}

// pageSize returns how many authorizers a request gets at most: those that it asks
// for, as far as they are on one page.
func pageSize(query url.Values) (int, error) {
	if !query.Has("limit") {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 {
		return 0, badRequest(fmt.Sprintf("limit %q is no number from 1 to %d: leave it out for %d", query.Get("limit"), maxPage, defaultPage))
	}
	return min(limit, maxPage), nil
}

// authorizer answers a request about one account that has authorised the platform:
// <appid>, or <appid>/refresh.
func (r platformRequest) authorizer(rest string) error {
	appID, action, _ := strings.Cut(rest, "/")
	switch action {
	case "":
		return r.answer(http.MethodGet, func() (any, error) {
			return r.withAuthorizer(appID, r.p.Known, func(*account.Account) error { return nil })
		})
	case "refresh":
		return r.answer(http.MethodPost, func() (any, error) {
			return r.withAuthorizer(appID, r.p.Authorizer, func(a *account.Account) error { return renew(r.w, r.Request, a) })
		})
	}
	return notFound("there is nothing at " + r.URL.Path)
}

// withAuthorizer finds an account, and returns its status after something was done
// with it.
func (r platformRequest) withAuthorizer(
	appID string, find func(context.Context, string) (*account.Account, error), do func(*account.Account) error,
) (any, error) {
	a, err := find(r.Context(), appID)
	if errors.Is(err, platform.ErrNotAuthorized) {
		return nil, notFound(appID + ": " + err.Error())
	}
	if err != nil {
		return nil, r.failure(err, r.p.Component)
	}
	if err := do(a); err != nil {
		return nil, err
	}
	return r.served.tokens.Status(a), nil
}
