package weixin

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
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
	key    []byte // of the buttons' token
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
	if app.accounts.Len() == 0 {
		_, err := app.account("")
		return err
	}
	p.app = app
	p.key = statusKey(app)
	return p.Prepare()
}

// statusKey returns what the buttons' token is made with. Proxies with the same
// configuration have the same, so that a page works behind a load balancer, and
// after a restart.
func statusKey(app *App) []byte {
	h := sha256.New()
	h.Write([]byte("weixin status page\n"))
	for a := range app.accounts.All() {
		h.Write(a.VirtualKey())
	}
	return h.Sum(nil)
}

// buttonHeader is the header in which the page's buttons send their token.
// A page of another origin cannot send it without being asked about first, which
// is refused.
const buttonHeader = "X-Weixin-Status"

// token returns what the buttons on a caller's page prove themselves with.
func (p *StatusPage) token(c *gateway.Caller) string {
	mac := hmac.New(sha256.New, p.key)
	if c != nil {
		mac.Write([]byte(c.Name))
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

var (
	//go:embed statuspage/page.html
	statusPageHTML string
	//go:embed statuspage/style.css
	statusPageStyle string
	//go:embed statuspage/script.js
	statusPageScript string

	statusTemplates = template.Must(template.New("").Parse(statusPageHTML))

	// statusPolicy allows the page its own style and script, by their digests,
	// requests to where it came from, and its icon; and nothing else.
	statusPolicy = "default-src 'none'; style-src " + cspDigest(statusPageStyle) + "; script-src " + cspDigest(statusPageScript) +
		"; connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)

func cspDigest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// statusFormat is a form in which the status is asked for.
type statusFormat uint8

const (
	formatPage statusFormat = iota
	formatPart              // what of the page changes, for its script
	formatJSON
)

func statusFormatOf(req *http.Request) statusFormat {
	accept := strings.Join(req.Header["Accept"], ",")
	switch format := req.URL.Query().Get("format"); {
	case format == "json" || req.Method == http.MethodPost:
		return formatJSON
	case format == "part":
		return formatPart
	case strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html"):
		return formatJSON
	}
	return formatPage
}

// statusRequest is a request to the page.
type statusRequest struct {
	*http.Request
	page   *StatusPage
	format statusFormat
	lang   wechat.Language
	text   *statusText
	caller *gateway.Caller // nil where there are none
}

// ServeHTTP shows the page, or does what its button is for. It answers every
// request itself.
func (p *StatusPage) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, req, p.serve)
	return nil
}

func (p *StatusPage) serve(w http.ResponseWriter, req *http.Request) {
	lang := preferredLanguage(strings.Join(req.Header["Accept-Language"], ","))
	r := &statusRequest{Request: req, page: p, format: statusFormatOf(req), lang: lang, text: &statusTexts[lang]}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Language", r.text.Lang)
	h.Set("Content-Security-Policy", statusPolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Language")
	if refusal := r.admit(); refusal != admitted {
		r.refuse(w, refusal)
		return
	}
	if req.Method == http.MethodPost {
		r.refresh(w)
		return
	}
	r.show(w)
}

// statusRefusal is why a request is refused.
type statusRefusal uint8

const (
	admitted statusRefusal = iota
	refusedAddress
	refusedHost
	refusedUnspecified
	refusedWebPage
	refusedKey
	refusedIPs
	refusedAllow
	refusedMethod
	refusedForgery
	refusedBody
	refusedUnknown
	refusedInternal
)

func (refusal statusRefusal) status() int {
	switch refusal {
	case refusedKey:
		return http.StatusUnauthorized
	case refusedMethod:
		return http.StatusMethodNotAllowed
	case refusedBody:
		return http.StatusBadRequest
	case refusedUnknown:
		return http.StatusNotFound
	case refusedInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusForbidden
	}
}

// admit applies the rules of the proxy, as far as they make sense for a page.
func (r *statusRequest) admit() statusRefusal {
	p := r.page
	if !p.AllowsAddress(p.app.registry, r.Request, true) {
		return refusedAddress
	}
	if !gateway.MayShowToWebPage(r.Request) {
		return refusedWebPage
	}
	// Where a key is needed, another web site has none: browsers keep them apart
	// by the site's name.
	switch p.JudgeHost(p.app.registry, r.Request, r.Host) {
	case gateway.HostForeign:
		return refusedHost
	case gateway.HostUnspecified:
		return refusedUnspecified
	default:
	}
	if refusal := r.identify(); refusal != admitted {
		return refusal
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return admitted
	case http.MethodPost:
		if !p.ReadOnly {
			return admitted
		}
	}
	return refusedMethod
}

// identify finds out the caller by its key, which a browser sends as a password.
func (r *statusRequest) identify() statusRefusal {
	registry := r.page.app.registry
	if !registry.HasCallers() {
		return admitted
	}
	key, ok := gateway.BearerOf(r.Header)
	if !ok {
		_, key, ok = r.BasicAuth()
	}
	if !ok {
		return refusedKey
	}
	c := registry.CallerByKey(key)
	switch {
	case c == nil:
		return refusedKey
	case !c.MayCallFrom(r.Request):
		return refusedIPs
	case !c.MayCall(r.Request):
		return refusedAllow
	}
	r.caller = c
	return admitted
}

// fromButton says whether a POST comes from the button of a page that the caller
// has been shown.
func (r *statusRequest) fromButton() bool {
	if !gateway.IsFromOwnPage(r.Request) {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/json" &&
		hmac.Equal([]byte(r.Header.Get(buttonHeader)), []byte(r.page.token(r.caller)))
}

// refuse answers with an error, in the form that was asked for.
func (r *statusRequest) refuse(w http.ResponseWriter, refusal statusRefusal) {
	status, message := refusal.status(), r.text.refusals[refusal]
	reason := statusTexts[wechat.English].refusals[refusal]
	if refusal == refusedHost || refusal == refusedUnspecified {
		message, reason = fmt.Sprintf(message, gateway.ShownHost(r.Host)), fmt.Sprintf(reason, gateway.ShownHost(r.Host))
	}
	if refusal != refusedKey || r.Header.Get("Authorization") != "" {
		r.page.logger.Info("status page refused", zap.Int("status", status), zap.String("reason", reason),
			zap.String("method", r.Method), zap.Stringer("client", gateway.ClientAddr(r.Request)))
	}
	switch refusal {
	case refusedKey:
		challenge := "Bearer"
		if r.format == formatPage {
			challenge = `Basic realm="weixin", charset="UTF-8"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	case refusedMethod:
		allow := "GET, HEAD, POST"
		if r.page.ReadOnly {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
	default:
	}
	if r.format == formatJSON {
		r.writeJSON(w, status, statusMessage{message})
		return
	}
	r.writeHTML(w, status, "error", map[string]any{
		"Text": r.text, "Style": template.CSS(statusPageStyle), "Icon": statusIcon(severityBad), //nolint:gosec // they are constants
		"Status": strconv.Itoa(status) + " " + http.StatusText(status), "Message": message,
	})
}

// statusMessage is an answer for people.
type statusMessage struct {
	Message string `json:"message"`
}

func (r *statusRequest) writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The client may be gone, which is no concern of the proxy's.
	_ = json.NewEncoder(w).Encode(v)
}

func (r *statusRequest) writeHTML(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := statusTemplates.ExecuteTemplate(&b, name, data); err != nil {
		r.page.logger.Error("the status page could not be made", zap.Error(err))
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(template.HTMLEscapeString(r.text.refusals[refusedInternal]))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}

// show shows the accounts that the caller may use.
func (r *statusRequest) show(w http.ResponseWriter) {
	r.page.app.tokens.look(r.Context(), r.page.app.accounts.All())
	view := r.view()
	switch r.format {
	case formatJSON:
		r.writeJSON(w, view.status(), view)
	case formatPart:
		r.writeHTML(w, http.StatusOK, "main", view)
	default:
		r.writeHTML(w, http.StatusOK, "page", view)
	}
}

// refresh has an account's token fetched.
func (r *statusRequest) refresh(w http.ResponseWriter) {
	p := r.page
	if !r.fromButton() {
		r.refuse(w, refusedForgery)
		return
	}
	var order struct {
		Account string `json:"account"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRefreshBody))
	if err != nil || unmarshalStrict(body, &order) != nil {
		r.refuse(w, refusedBody)
		return
	}
	a := p.app.accounts.Named(order.Account)
	if a == nil || r.caller != nil && !r.caller.MayUse(a) {
		r.refuse(w, refusedUnknown)
		return
	}
	fields := []zap.Field{zap.String("account", a.Name), zap.Stringer("client", gateway.ClientAddr(r.Request))}
	if r.caller != nil {
		fields = append(fields, zap.String("caller", r.caller.Name))
	}
	p.logger.Info("token refresh asked for on the status page", fields...)
	before := p.app.tokens.Status(a).Fingerprint
	if err := a.RenewGently(r.Context()); err != nil {
		if refused, ok := errors.AsType[*credential.RefusedError](err); ok {
			r.refuseRenewal(w, a, refused)
			return
		}
		message := r.text.notes[noteNoToken]
		if tokenErr, ok := errors.AsType[*account.TokenError](err); ok {
			message = strings.TrimSpace(tokenErr.Failure.Error() + " " + tokenErr.Advice(r.lang))
		}
		r.writeJSON(w, http.StatusBadGateway, statusMessage{message})
		return
	}
	after := p.app.tokens.Status(a).Fingerprint
	message := r.text.renewed
	if after == before {
		message = r.text.current
	}
	r.writeJSON(w, http.StatusOK, statusMessage{fmt.Sprintf(message, after)})
}

// refuseRenewal answers where a refresh would do the account harm.
func (r *statusRequest) refuseRenewal(w http.ResponseWriter, a *account.Account, refused *credential.RefusedError) {
	wait := max(refused.RetryAt.Sub(a.Now()), time.Second).Round(time.Second)
	message := fmt.Sprintf(r.text.tooEarly[refused.Reason], wait)
	if f := refused.Failure; f != nil {
		message = strings.TrimSpace(message + " " + f.Error() + " " + account.FailureAdvice(a.Kind, f.Errcode, f.Message, r.lang))
	}
	r.page.logger.Info("token refresh on the status page refused", zap.String("account", a.Name), zap.Error(refused))
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	r.writeJSON(w, http.StatusTooManyRequests, statusMessage{message})
}

// Severities of an account's state: the page's classes and icons.
const (
	severityOK   = "ok"
	severityBusy = "busy"
	severityWarn = "warn"
	severityBad  = "bad"
	severityIdle = "idle"
)

// statusView is what the page shows, and the same as JSON.
type statusView struct {
	Now       time.Time     `json:"now"`
	Attention []string      `json:"attention"` // the names of the accounts that need some
	Accounts  []accountView `json:"accounts"`

	Text     *statusText  `json:"-"`
	Severity string       `json:"-"`
	Headline string       `json:"-"`
	Title    string       `json:"-"`
	Icon     template.URL `json:"-"`
	Style    template.CSS `json:"-"`
	Script   template.JS  `json:"-"`
	Token    string       `json:"-"` // of the buttons; "" where there are none
}

// accountView is an account on the page.
type accountView struct {
	AccountStatus
	SecondsLeft   float64 `json:"seconds_left"`  // until it expires
	FetchHistory  []int   `json:"fetch_history"` // of the last hour, in slots of two minutes, the newest last
	ReplayHistory []int   `json:"replay_history"`

	Text                    *statusText `json:"-"`
	Severity                string      `json:"-"`
	Word                    string      `json:"-"`
	Note                    string      `json:"-"`
	Question                string      `json:"-"`
	Lifetime                float64     `json:"-"` // seconds
	Clock                   string      `json:"-"`
	SparkLabel              string      `json:"-"`
	FetchBars, ReplayBars   string      `json:"-"`
	NearFetches, NearForced bool        `json:"-"`
	Over                    bool        `json:"-"` // whether the last error is
	Button                  bool        `json:"-"`
}

// view returns what the caller sees.
func (r *statusRequest) view() *statusView {
	p := r.page
	v := &statusView{
		Now: p.app.tokens.credentials.Now().UTC(), Attention: []string{}, Text: r.text, Severity: severityOK,
		Style: template.CSS(statusPageStyle), Script: template.JS(statusPageScript), //nolint:gosec // they are constants
	}
	if !p.ReadOnly {
		v.Token = p.token(r.caller)
	}
	for shown := range p.app.accounts.All() {
		if r.caller != nil && !r.caller.MayUse(shown) {
			continue
		}
		a := r.accountView(shown, v.Now)
		switch a.Severity {
		case severityBad:
			v.Severity = severityBad
			v.Attention = append(v.Attention, shown.Name)
		case severityWarn:
			if v.Severity != severityBad {
				v.Severity = severityWarn
			}
			v.Attention = append(v.Attention, shown.Name)
		default:
		}
		v.Accounts = append(v.Accounts, a)
	}
	v.Headline = r.text.headline(len(v.Attention), len(v.Accounts))
	v.Title = strings.TrimRight(v.Headline, ":：") + " – " + r.text.Title
	v.Icon = statusIcon(v.Severity)
	return v
}

// status returns what programs are answered with: 503 where no account works.
func (v *statusView) status() int {
	if len(v.Accounts) == 0 || slices.ContainsFunc(v.Accounts, func(a accountView) bool { return a.healthy() }) {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func (r *statusRequest) accountView(shown *account.Account, now time.Time) accountView {
	tokens := r.page.app.tokens
	a := accountView{AccountStatus: tokens.Status(shown), Text: r.text, Button: !r.page.ReadOnly}
	a.Warnings = a.warnings(r.lang)
	if a.LastError != nil {
		e := *a.LastError
		e.Advice = e.advice(shown.Kind, r.lang)
		a.LastError = &e
	}
	a.Severity, a.Word = severityOf(&a.AccountStatus), r.text.words[a.State]
	a.Advice = a.advice(r.lang)
	a.Over = a.State != credential.BackOff && a.Usable
	if a.State == credential.BackOff {
		a.Note = r.text.notes[noteNoToken]
		if a.Usable {
			a.Note = r.text.notes[noteStillUsable]
		}
	}
	a.Question = r.text.questionKills
	if a.State == credential.Refused {
		a.Note = a.Advice
	}
	if shown.Credential().Policy.Idempotent {
		a.Question = r.text.questionIdempotent
	}
	left := max(a.ExpiresAt.Sub(now), 0)
	a.SecondsLeft = left.Seconds()
	a.Lifetime = max(a.ExpiresAt.Sub(a.FetchedAt).Seconds(), a.SecondsLeft, 1)
	a.Clock = fmt.Sprintf("%d:%02d:%02d", int(left.Hours()), int(left.Minutes())%60, int(left.Seconds())%60)
	a.NearFetches, a.NearForced = a.Quota.Fetches.Near(), a.Quota.Forced != nil && a.Quota.Forced.Near()

	a.FetchHistory, a.ReplayHistory = tokens.History(shown)
	fetches, replays := sum(a.FetchHistory), sum(a.ReplayHistory)
	a.SparkLabel = fmt.Sprintf(r.text.spark, fetches, replays)
	top := max(slices.Max(a.FetchHistory), slices.Max(a.ReplayHistory))
	a.FetchBars, a.ReplayBars = bars(a.FetchHistory, top, -1), bars(a.ReplayHistory, top, 1)
	return a
}

func severityOf(s *AccountStatus) string {
	switch {
	case s.State == credential.Refused, s.State == credential.BackOff && !s.Usable:
		return severityBad
	case s.State == credential.BackOff || len(s.Warnings) > 0:
		return severityWarn
	case s.State == credential.Renewing:
		return severityBusy
	case s.State == credential.Empty:
		return severityIdle
	}
	return severityOK
}

// barHeight is how high a bar is at most, barScale for what at least: a few
// events shall not look like many.
const (
	barHeight = 12
	barScale  = 3
	barBase   = 13
)

// bars returns an SVG path of bars that stand on a base line, or hang from it.
// The one for top has the full height.
func bars(counts []int, top, direction int) string {
	var b strings.Builder
	top = max(top, barScale)
	for i, n := range counts {
		if n > 0 {
			fmt.Fprintf(&b, "M%d %dv%d", 4*i+2, barBase, direction*max(barHeight*n/top, 2))
		}
	}
	return b.String()
}

func sum(counts []int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
}

// statusIcon returns the page's icon, a disc in the colour of the state.
func statusIcon(severity string) template.URL {
	colour := "2c8f62"
	switch severity {
	case severityWarn:
		colour = "d98a00"
	case severityBad:
		colour = "d0342c"
	}
	return template.URL("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6' fill='%23" + //nolint:gosec // it is one of three
		colour + "'/%3E%3C/svg%3E")
}

// Interface guards
var (
	_ caddy.Provisioner           = (*StatusPage)(nil)
	_ caddyhttp.MiddlewareHandler = (*StatusPage)(nil)
)
