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
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/statuspage"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// StatusPage is a web page that shows the state of the accounts' tokens, and has
// a button that fetches one. Who may use the proxy may see it.
//
// Clients that accept `application/json` and no HTML get the same as JSON.
type StatusPage struct {
	// Whether to leave out the button that fetches a token.
	ReadOnly bool `json:"read_only,omitempty"`

	gateway.Access

	served   *served
	registry *gateway.Registry
	logger   *zap.Logger
	page     statuspage.Page
}

var statusPageForms = option.Forms{"read_only": `true`}.With(accessForms)

// UnmarshalJSON decodes the page's options.
func (p *StatusPage) UnmarshalJSON(data []byte) error {
	type plain StatusPage
	return option.Decode(data, (*plain)(p), statusPageForms)
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
	if len(app.served.names()) == 0 {
		return errNoAccount
	}
	p.served, p.registry = &app.served, app.registry
	p.page = statuspage.Page{
		ReadOnly: p.ReadOnly, Key: statusKey(p.served), Logger: p.logger,
		Proxy: statuspage.Proxy{Now: time.Now, Client: gateway.ClientAddr, Admit: p.admit, Trouble: p.trouble},
	}
	return p.Prepare()
}

// statusKey returns what the buttons' token is made with. Proxies with the same
// configuration have the same, so that a page works behind a load balancer, and
// after a restart.
func statusKey(s *served) []byte {
	h := sha256.New()
	h.Write([]byte("weixin status page\n"))
	for _, a := range s.all() {
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
	if !p.AllowsAddress(p.registry, gateway.ClientAddr(req), true) {
		return refuse(statuspage.RefusedAddress)
	}
	// Where a key is needed, another web site has none: browsers keep them apart
	// by the site's name.
	switch p.JudgeHost(p.registry, req, req.Host) {
	case gateway.HostForeign:
		return refuse(statuspage.RefusedHost)
	case gateway.HostUnspecified:
		return refuse(statuspage.RefusedUnspecified)
	default:
	}
	c, reason := findViewer(p.registry, req)
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

// findViewer finds out the caller by its key, which a browser sends as a password.
// There is none where there are no callers.
func findViewer(registry *gateway.Registry, req *http.Request) (*gateway.Caller, statuspage.Reason) {
	if !registry.HasCallers() {
		return nil, statuspage.Admitted
	}
	key, ok := gateway.BearerOf(req.Header)
	if !ok {
		_, key, ok = req.BasicAuth()
	}
	if !ok {
		return nil, statuspage.RefusedKey
	}
	c := registry.CallerByKey(key)
	switch {
	case c == nil:
		return nil, statuspage.RefusedKey
	case !c.MayCallFrom(gateway.ClientAddr(req)):
		return nil, statuspage.RefusedIPs
	case !c.MayCall(req):
		return nil, statuspage.RefusedAllow
	}
	return c, statuspage.Admitted
}

// trouble returns what is wrong with the store, which all accounts share.
func (p *StatusPage) trouble(lang wechat.Language) string {
	if state := p.served.tokens.store.State(); !state.Up {
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
	v.page.served.look(ctx)
	all := v.page.served.all()
	accounts := make([]statuspage.Account, 0, len(all))
	for _, a := range all {
		if v.maySee(a) {
			accounts = append(accounts, v.page.served.shown(ctx, a, lang))
		}
	}
	return accounts
}

// shown returns the status of an account or a platform in a language.
func (s *served) shown(ctx context.Context, a *account.Account, lang wechat.Language) statuspage.Account {
	shown := s.shownAccount(a, lang)
	p := s.platforms.named(a.Name)
	if p == nil {
		return shown
	}
	of := shownPlatform{shownStatus: shown.Data.(shownStatus), platformDetails: detailsOf(ctx, p)}
	shown.Platform = &statuspage.Platform{TicketAt: of.Ticket.ReceivedAt, Known: -1, InMemory: of.Authorizers.InMemory}
	if of.Authorizers.Known != nil {
		shown.Platform.Known = *of.Authorizers.Known
	}
	shown.Data = of
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
func (s *served) shownAccount(of *account.Account, lang wechat.Language) statuspage.Account {
	shown := shownStatus{AccountStatus: s.tokens.Status(of)}
	shown.FetchHistory, shown.ReplayHistory = s.tokens.History(of)
	shown.SecondsLeft = max(time.Until(shown.ExpiresAt), 0).Seconds()
	shown.Advice, shown.Warnings = shown.advice(lang), shown.warnings(lang)
	a := statuspage.Account{
		Name: shown.Name, Kind: shown.Kind, ID: cmp.Or(shown.id(), "–"), Method: shown.Method,
		State: shown.State, Usable: shown.Usable, Healthy: shown.healthy(), Since: shown.Since, Advice: shown.Advice,
		Fingerprint: shown.Fingerprint, FetchedAt: shown.FetchedAt, ExpiresAt: shown.ExpiresAt, HandedOutAt: shown.checkedAt, RetryAt: shown.RetryAt,
		Idempotent: of.Credential().Policy.Idempotent, Fetches: shown.Fetches, Replays: shown.Replays,
		FetchHistory: shown.FetchHistory, ReplayHistory: shown.ReplayHistory, Quotas: shown.Quota,
	}
	for _, warning := range shown.Warnings {
		if warning.Code != warningStore { // the page tells it once
			a.Warnings = append(a.Warnings, warning.Advice)
		}
	}
	if shown.LastError != nil {
		e := *shown.LastError
		e.Advice = e.advice(of.Kind, lang)
		shown.LastError = &e
		a.LastError = &statuspage.Failure{Errcode: e.Errcode, Message: e.Errmsg, At: e.At, Advice: e.Advice}
	}
	for _, t := range shown.Tickets {
		kept := statuspage.Ticket{Type: t.Type, Fingerprint: t.Fingerprint, ConfirmedAt: t.CheckedAt}
		if e := t.LastError; e != nil {
			kept.LastError = &statuspage.Failure{Errcode: e.Errcode, Message: e.Errmsg, At: e.At}
		}
		a.Tickets = append(a.Tickets, kept)
	}
	a.Data = shown
	return a
}

// renew renews an account's token, if that does the account no harm.
func (v statusViewer) renew(ctx context.Context, name string, lang wechat.Language) (statuspage.Renewal, bool) {
	served := v.page.served
	of := served.named(name)
	if of == nil || !v.maySee(of) {
		return statuspage.Renewal{}, false
	}
	fields := []zap.Field{zap.String("account", name), zap.Stringer("client", v.client)}
	if v.caller != nil {
		fields = append(fields, zap.String("caller", v.caller.Name))
	}
	v.page.logger.Info("token refresh asked for on the status page", fields...)
	is := statuspage.Renewal{Before: served.tokens.Status(of).Fingerprint}
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
	is.After = served.tokens.Status(of).Fingerprint
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
