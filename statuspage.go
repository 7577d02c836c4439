package weixin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/statuspage"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func init() {
	caddy.RegisterModule(StatusPage{})
}

// StatusPage is a web page that shows the state of the accounts' tokens, and has
// a button that fetches one. Who may use the proxy may see it.
//
// Clients that accept `application/json` and no HTML get the same as JSON.
type StatusPage struct {
	// Whether to leave out the button that fetches a token.
	ReadOnly bool `json:"read_only,omitempty"`

	gateway.Access

	app    *App
	logger *zap.Logger
	page   statuspage.Page
}

// CaddyModule returns the Caddy module information.
func (StatusPage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_status",
		New: func() caddy.Module { return new(StatusPage) },
	}
}

// Provision sets up the page.
func (p *StatusPage) Provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	if len(app.servedNames()) == 0 {
		return errNoAccount
	}
	p.app = app
	p.page = statuspage.Page{
		ReadOnly: p.ReadOnly, Key: statusKey(app), Logger: p.logger,
		Proxy: statuspage.Proxy{Now: time.Now, Client: gateway.ClientAddr, Admit: p.admit, Trouble: p.trouble},
	}
	return p.Prepare()
}

// statusKey returns what the buttons' token is made with. Proxies with the same
// configuration have the same, so that a page works behind a load balancer, and
// after a restart.
func statusKey(app *App) []byte {
	h := sha256.New()
	h.Write([]byte("weixin status page\n"))
	for _, a := range app.allServed() {
		h.Write(a.VirtualKey())
	}
	return h.Sum(nil)
}

// ServeHTTP shows the page, or does what its button is for. It answers every
// request itself.
func (p *StatusPage) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, req, p.page.ServeHTTP)
	return nil
}

// admit applies the rules of the proxy, as far as they make sense for a page.
func (p *StatusPage) admit(req *http.Request) (statuspage.Viewer, statuspage.Refusal) {
	refuse := func(reason statuspage.Reason) (statuspage.Viewer, statuspage.Refusal) {
		return statuspage.Viewer{}, statuspage.Refusal{Reason: reason, Host: gateway.ShownHost(req.Host)}
	}
	if !p.AllowsAddress(p.app.registry, req, true) {
		return refuse(statuspage.RefusedAddress)
	}
	// Where a key is needed, another web site has none: browsers keep them apart
	// by the site's name.
	switch p.JudgeHost(p.app.registry, req, req.Host) {
	case gateway.HostForeign:
		return refuse(statuspage.RefusedHost)
	case gateway.HostUnspecified:
		return refuse(statuspage.RefusedUnspecified)
	default:
	}
	c, reason := p.app.viewer(req)
	if reason != statuspage.Admitted {
		return refuse(reason)
	}
	viewer := statusViewer{page: p, caller: c, client: gateway.ClientAddr(req)}
	admitted := statuspage.Viewer{Accounts: viewer.accounts, Renew: viewer.renew}
	if c != nil {
		admitted.Caller = c.Name
	}
	return admitted, statuspage.Refusal{}
}

// viewer finds out the caller by its key, which a browser sends as a password.
// There is none where there are no callers.
func (app *App) viewer(req *http.Request) (*gateway.Caller, statuspage.Reason) {
	if !app.registry.HasCallers() {
		return nil, statuspage.Admitted
	}
	key, ok := gateway.BearerOf(req.Header)
	if !ok {
		_, key, ok = req.BasicAuth()
	}
	if !ok {
		return nil, statuspage.RefusedKey
	}
	c := app.registry.CallerByKey(key)
	switch {
	case c == nil:
		return nil, statuspage.RefusedKey
	case !c.MayCallFrom(req):
		return nil, statuspage.RefusedIPs
	case !c.MayCall(req):
		return nil, statuspage.RefusedAllow
	}
	return c, statuspage.Admitted
}

// trouble returns what is wrong with the store, which all accounts share.
func (p *StatusPage) trouble(lang wechat.Language) string {
	if state := p.app.tokens.store.State(); !state.Up {
		return storeAdvice(state.Advice, lang)
	}
	return ""
}

// statusViewer is who looks at the page.
type statusViewer struct {
	page   *StatusPage
	caller *gateway.Caller // nil where there are none
	client netip.Addr
}

func (v statusViewer) maySee(a *account.Account) bool {
	return v.caller == nil || v.caller.MayUse(a)
}

// accounts returns the status of the accounts that the viewer may use, by name.
func (v statusViewer) accounts(ctx context.Context, lang wechat.Language) []statuspage.Account {
	app := v.page.app
	app.look(ctx)
	all := app.allServed()
	accounts := make([]statuspage.Account, 0, len(all))
	for _, a := range all {
		if v.maySee(a) {
			accounts = append(accounts, app.shownServed(ctx, a, lang))
		}
	}
	return accounts
}

// shownServed returns the status of an account or a platform in a language.
func (app *App) shownServed(ctx context.Context, a *account.Account, lang wechat.Language) statuspage.Account {
	shown := app.shownAccount(a, lang)
	p := app.platforms.named(a.Name)
	if p == nil {
		return shown
	}
	s := shownPlatform{shownStatus: shown.Data.(shownStatus), platformDetails: app.platformDetails(ctx, p)}
	shown.Platform = &statuspage.Platform{TicketAt: s.Ticket.ReceivedAt, Known: -1, InMemory: s.Authorizers.InMemory}
	if s.Authorizers.Known != nil {
		shown.Platform.Known = *s.Authorizers.Known
	}
	shown.Data = s
	return shown
}

// shownPlatform is a platform's status as the page tells it to programs.
type shownPlatform struct {
	shownStatus
	platformDetails
}

// shownStatus is an account's status as the page tells it to programs.
type shownStatus struct {
	AccountStatus
	SecondsLeft   float64 `json:"seconds_left"`  // until it expires
	FetchHistory  []int   `json:"fetch_history"` // of the last hour, in slots of two minutes, the newest last
	ReplayHistory []int   `json:"replay_history"`
}

// shownAccount returns an account's status in a language.
func (app *App) shownAccount(of *account.Account, lang wechat.Language) statuspage.Account {
	s := shownStatus{AccountStatus: app.tokens.Status(of)}
	s.FetchHistory, s.ReplayHistory = app.tokens.History(of)
	s.SecondsLeft = max(time.Until(s.ExpiresAt), 0).Seconds()
	s.Advice, s.Warnings = s.advice(lang), s.warnings(lang)
	a := statuspage.Account{
		Name: s.Name, Kind: s.Kind, ID: cmp.Or(s.id(), "–"), Method: s.Method,
		State: s.State, Usable: s.Usable, Healthy: s.healthy(), Since: s.Since, Advice: s.Advice,
		Fingerprint: s.Fingerprint, FetchedAt: s.FetchedAt, ExpiresAt: s.ExpiresAt, HandedOutAt: s.checkedAt, RetryAt: s.RetryAt,
		Idempotent: of.Credential().Policy.Idempotent, Fetches: s.Fetches, Replays: s.Replays,
		FetchHistory: s.FetchHistory, ReplayHistory: s.ReplayHistory, Quotas: s.Quota,
	}
	for _, warning := range s.Warnings {
		if warning.Code != warningStore { // the page tells it once
			a.Warnings = append(a.Warnings, warning.Advice)
		}
	}
	if s.LastError != nil {
		e := *s.LastError
		e.Advice = e.advice(of.Kind, lang)
		s.LastError = &e
		a.LastError = &statuspage.Failure{Errcode: e.Errcode, Message: e.Errmsg, At: e.At, Advice: e.Advice}
	}
	for _, t := range s.Tickets {
		shown := statuspage.Ticket{Type: t.Type, Fingerprint: t.Fingerprint, ConfirmedAt: t.CheckedAt}
		if e := t.LastError; e != nil {
			shown.LastError = &statuspage.Failure{Errcode: e.Errcode, Message: e.Errmsg, At: e.At}
		}
		a.Tickets = append(a.Tickets, shown)
	}
	a.Data = s
	return a
}

// renew renews an account's token, if that does the account no harm.
func (v statusViewer) renew(ctx context.Context, name string, lang wechat.Language) (statuspage.Renewal, bool) {
	app := v.page.app
	of := app.servedNamed(name)
	if of == nil || !v.maySee(of) {
		return statuspage.Renewal{}, false
	}
	fields := []zap.Field{zap.String("account", name), zap.Stringer("client", v.client)}
	if v.caller != nil {
		fields = append(fields, zap.String("caller", v.caller.Name))
	}
	v.page.logger.Info("token refresh asked for on the status page", fields...)
	is := statuspage.Renewal{Before: app.tokens.Status(of).Fingerprint}
	is.Err = of.RenewGently(ctx)
	if refused, ok := errors.AsType[*credential.RefusedError](is.Err); ok {
		v.page.logger.Info("token refresh on the status page refused", zap.String("account", name), zap.Error(refused))
		is.Refused, is.RetryAt = refused.Reason, refused.RetryAt
		if f := refused.Failure; f != nil {
			is.Failure = statusFailure(of.Kind, f.Errcode, f.Message, lang)
		}
	} else if tokenErr, ok := errors.AsType[*account.TokenError](is.Err); ok {
		is.Failure = statusFailure(of.Kind, tokenErr.Errcode, tokenErr.Message, lang)
	}
	is.After = app.tokens.Status(of).Fingerprint
	return is, true
}

func statusFailure(kind *wechat.Kind, errcode int, message string, lang wechat.Language) *statuspage.Failure {
	return &statuspage.Failure{Errcode: errcode, Message: message, Advice: account.FailureAdvice(kind, errcode, message, lang)}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*StatusPage)(nil)
	_ caddyhttp.MiddlewareHandler = (*StatusPage)(nil)
)
