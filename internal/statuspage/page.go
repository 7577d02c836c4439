// Package statuspage is the web page that shows how the accounts' tokens are, and
// the button on it that renews one. What there is to see, and who may see it, it
// is told by the proxy.
package statuspage

import (
	"bytes"
	"context"
	_ "embed" // for the page's parts
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Page is the status page.
type Page struct {
	// ReadOnly leaves out the button.
	ReadOnly bool

	// Key is what the button's token is made with.
	Key []byte

	Proxy  Proxy
	Logger *zap.Logger
}

// Proxy is what the page needs of the proxy.
type Proxy struct {
	// Now is the time by which tokens live.
	Now func() time.Time

	// Client returns a client's address.
	Client func(*http.Request) netip.Addr

	// Admit applies the proxy's rules about who may see the page.
	Admit func(*http.Request) (Viewer, Refusal)

	// Trouble returns what is wrong with the proxy itself, and so with all
	// accounts, and what to do about it; "" where nothing is.
	Trouble func(wechat.Language) string
}

// Viewer is who looks at the page, and what it may see and do.
type Viewer struct {
	// Caller is the caller's name, or "" where there are no callers.
	Caller string

	// Accounts returns the accounts that the viewer may use, by name.
	Accounts func(context.Context, wechat.Language) []Account

	// Renew renews the token of one of those accounts. It reports whether there
	// is an account of that name.
	Renew func(context.Context, string, wechat.Language) (Renewal, bool)
}

// Renewal is what has come of a renewal.
type Renewal struct {
	// Before and After are the token's fingerprints.
	Before, After string

	// Err is why there is no token, and Failure what WeChat has to do with it.
	Err     error
	Failure *Failure

	// Refused is why WeChat was not asked, and RetryAt when it would be.
	Refused credential.RefusalReason
	RetryAt time.Time
}

var (
	//go:embed page.html
	pageHTML string
	//go:embed style.css
	pageStyle string
	//go:embed script.js
	pageScript string

	templates = template.Must(template.New("").Funcs(template.FuncMap{"count": count[int], "count64": count[int64]}).Parse(pageHTML))
)

// format is a form in which the status is asked for.
type format uint8

const (
	formatPage format = iota
	formatPart        // what of the page changes, for its script
	formatJSON
)

func formatOf(req *http.Request) format {
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

// request is a request to the page.
type request struct {
	*http.Request
	page   *Page
	format format
	lang   wechat.Language
	text   *text
	viewer Viewer
}

// ServeHTTP shows the page, or does what its button is for. It answers every
// request.
func (p *Page) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	lang := preferredLanguage(strings.Join(req.Header["Accept-Language"], ","))
	r := &request{Request: req, page: p, format: formatOf(req), lang: lang, text: &texts[lang]}
	setHeader(w.Header(), r.text.Lang)
	refusal := r.admit()
	switch {
	case refusal.Reason != Admitted:
		r.refuse(w, refusal)
	case req.Method == http.MethodPost:
		r.renew(w)
	default:
		r.show(w)
	}
}

// refuse answers with an error, in the form that was asked for.
func (r *request) refuse(w http.ResponseWriter, refusal Refusal) {
	status, message := refusal.status(), r.text.refusal(refusal)
	if refusal.Reason != RefusedKey || r.Header.Get("Authorization") != "" {
		r.page.Logger.Info("status page refused", zap.Int("status", status), zap.String("reason", texts[wechat.English].refusal(refusal)),
			zap.String("method", r.Method), zap.Stringer("client", r.page.Proxy.Client(r.Request)))
	}
	switch refusal.Reason {
	case RefusedKey:
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
		r.writeJSON(w, status, answer{message})
		return
	}
	r.writeHTML(w, status, "error", map[string]any{
		"Text": r.text, "Style": template.CSS(pageStyle), "Icon": icon(severityBad), //nolint:gosec // they are constants
		"Status": strconv.Itoa(status) + " " + http.StatusText(status), "Message": message,
	})
}

// answer is an answer for people.
type answer struct {
	Message string `json:"message"`
}

func (r *request) writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// The client may be gone, which is no concern of the proxy's.
	_ = json.NewEncoder(w).Encode(v)
}

func (r *request) writeHTML(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		r.page.Logger.Error("the status page could not be made", zap.Error(err))
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(template.HTMLEscapeString(r.text.refusals[refusedInternal]))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}

// show shows the accounts that the viewer may use.
func (r *request) show(w http.ResponseWriter) {
	accounts := r.viewer.Accounts(r.Context(), r.lang)
	v := newView(r.text, accounts, r.page.Proxy.Trouble(r.lang), r.page.Proxy.Now())
	switch r.format {
	case formatJSON:
		r.writeJSON(w, v.status(), v.data())
	case formatPart:
		r.writeHTML(w, http.StatusOK, "main", v.withButtons(r.page.token(r.viewer)))
	default:
		r.writeHTML(w, http.StatusOK, "page", v.withButtons(r.page.token(r.viewer)))
	}
}

// maxBody bounds what the button sends: the name of an account.
const maxBody = 4 << 10

// renew has an account's token renewed.
func (r *request) renew(w http.ResponseWriter) {
	if !r.fromButton() {
		r.refuse(w, Refusal{Reason: refusedForgery})
		return
	}
	name, err := accountOf(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		r.refuse(w, Refusal{Reason: refusedBody})
		return
	}
	is, ok := r.viewer.Renew(r.Context(), name, r.lang)
	if !ok {
		r.refuse(w, Refusal{Reason: refusedUnknown})
		return
	}
	switch {
	case is.Refused != 0:
		wait := max(is.RetryAt.Sub(r.page.Proxy.Now()), time.Second).Round(time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
		r.writeJSON(w, http.StatusTooManyRequests, answer{r.text.tooEarlyMessage(name, &is, wait)})
	case is.Err != nil:
		r.writeJSON(w, http.StatusBadGateway, answer{r.text.failureMessage(is.Failure)})
	case is.After == is.Before:
		r.writeJSON(w, http.StatusOK, answer{fmt.Sprintf(r.text.current, is.After)})
	default:
		r.writeJSON(w, http.StatusOK, answer{fmt.Sprintf(r.text.renewed, is.After)})
	}
}

// accountOf returns the account that a body names.
func accountOf(body io.Reader) (string, error) {
	var order struct {
		Account string `json:"account"`
	}
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&order); err != nil {
		return "", err
	}
	if _, err := dec.Token(); err != io.EOF {
		return "", errors.New("there is something behind the value")
	}
	return order.Account, nil
}
