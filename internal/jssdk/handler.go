package jssdk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Identity is whom a page calls wx.config or wx.agentConfig for.
type Identity struct {
	AppID string // of WeCom, the corpid

	// Agent means that the ticket is an app's, for wx.agentConfig.
	Agent   bool
	AgentID int64 // where Agent is set
}

// Handler answers a page with what it needs for wx.config.
type Handler struct {
	// Hosts are those whose pages are signed, and which may ask.
	Hosts Hosts

	// Identity returns the account that a request means.
	Identity func(context.Context) (Identity, error)

	// Ticket returns the account's ticket. An error that is an *Error is answered
	// as it says; of any other nothing is shown but that there is no ticket.
	Ticket func(context.Context) (string, error)

	// Now is the clock. Default: time.Now
	Now func() time.Time

	// Nonce returns a value that is never used twice. Default: a random one
	Nonce func() string
}

// Error is an error of Ticket's or Identity's that a page may see.
type Error struct {
	Status  int // 502 where WeChat refuses, 503 where the proxy has no ticket
	Errcode int
	Errmsg  string
}

func (e *Error) Error() string { return e.Errmsg }

// answer is what a page hands to wx.config, or to wx.agentConfig.
type answer struct {
	AppID     string `json:"appId"`
	Timestamp int64  `json:"timestamp"`
	NonceStr  string `json:"nonceStr"`
	Signature string `json:"signature"`
	CorpID    string `json:"corpid,omitempty"`
	AgentID   int64  `json:"agentid,omitempty"`
}

const allowedMethods = "GET, HEAD, OPTIONS"

// preflightAge is how long a browser need not ask again whether it may ask.
const preflightAge = "600"

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Origin")
	if err := h.serve(w, r); err != nil {
		writeJSON(w, err.Status, struct {
			Errcode int    `json:"errcode"`
			Errmsg  string `json:"errmsg"`
		}{err.Errcode, err.Errmsg})
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) *Error {
	if err := h.checkOrigin(w.Header(), r.Header); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodOptions:
		preflight(w, r)
		return nil
	case http.MethodGet, http.MethodHead:
	default:
		w.Header().Set("Allow", allowedMethods)
		return badRequest(http.StatusMethodNotAllowed, "a page's address is signed for GET: write it into the query, ?url=")
	}
	page, err := pageOf(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if !h.Hosts.ContainPage(page) {
		return forbidden("this page is not signed here: its address must begin with http:// or https:// and have a host that stands in hosts")
	}
	a, err := h.sign(r.Context(), page)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

// checkOrigin refuses pages of other hosts, and lets those of the right ones
// read the answer, whatever it is.
func (h *Handler) checkOrigin(answer, request http.Header) *Error {
	origins := request["Origin"]
	if len(origins) == 0 {
		if slices.ContainsFunc(request["Sec-Fetch-Site"], isCrossSite) {
			return forbidden("a page of another site may ask with CORS alone: leave out mode no-cors")
		}
		return nil
	}
	if len(origins) > 1 || !h.Hosts.ContainOrigin(origins[0]) {
		return forbidden("pages of this origin may not ask: its host must stand in hosts")
	}
	answer.Set("Access-Control-Allow-Origin", origins[0])
	return nil
}

func isCrossSite(site string) bool { return strings.EqualFold(site, "cross-site") }

// preflight answers what a browser asks before it sends a request with headers
// of the page's own.
func preflight(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Allow", allowedMethods)
	if len(r.Header["Origin"]) > 0 {
		header.Add("Vary", "Access-Control-Request-Method")
		header.Add("Vary", "Access-Control-Request-Headers")
		header.Set("Access-Control-Allow-Methods", allowedMethods)
		header.Set("Access-Control-Max-Age", preflightAge)
		if asked := r.Header["Access-Control-Request-Headers"]; len(asked) > 0 {
			header.Set("Access-Control-Allow-Headers", strings.Join(asked, ", "))
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// pageOf returns the page's address as the page has it, but for its fragment.
// A plus sign is one: an address has no spaces that it could stand for.
func pageOf(rawQuery string) (string, *Error) {
	var pages []string
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if unescaped, err := url.PathUnescape(name); err == nil && unescaped == "url" {
			pages = append(pages, value)
		}
	}
	if len(pages) > 1 {
		return "", badRequest(http.StatusBadRequest, "url stands twice: write the page's address with encodeURIComponent")
	}
	page, err := url.PathUnescape(strings.Join(pages, ""))
	if err != nil {
		return "", badRequest(http.StatusBadRequest, "url is not percent-encoded: write the page's address with encodeURIComponent")
	}
	if page, _, _ = strings.Cut(page, "#"); page == "" {
		return "", badRequest(http.StatusBadRequest, "url is missing: write the page's address into the query, ?url= with encodeURIComponent(location.href)")
	}
	return page, nil
}

func (h *Handler) sign(ctx context.Context, page string) (*answer, *Error) {
	identity, err := h.Identity(ctx)
	if err != nil {
		return nil, shown(err)
	}
	ticket, err := h.Ticket(ctx)
	if err == nil && ticket == "" {
		err = errors.New("no ticket")
	}
	if err != nil {
		return nil, shown(err)
	}
	a := &answer{AppID: identity.AppID, Timestamp: h.now().Unix(), NonceStr: h.nonce()}
	a.Signature = Sign(ticket, a.NonceStr, a.Timestamp, page)
	if identity.Agent {
		a.CorpID, a.AgentID = identity.AppID, identity.AgentID
	}
	return a, nil
}

func (h *Handler) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now()
}

func (h *Handler) nonce() string {
	if h.Nonce != nil {
		return h.Nonce()
	}
	return rand.Text()
}

// The errcodes of the handler's own refusals: WeChat's for the same.
const (
	systemBusy       = -1
	invalidParameter = 40035
	unauthorized     = 48001
)

// noTicket is what is shown of an error that may have anything in it.
var noTicket = Error{Status: http.StatusServiceUnavailable, Errcode: systemBusy, Errmsg: "weixin proxy: there is no ticket at the moment"}

func shown(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e.Status >= 400 {
		return e
	}
	return &noTicket
}

func badRequest(status int, message string) *Error {
	return &Error{Status: status, Errcode: invalidParameter, Errmsg: "weixin proxy: " + message}
}

func forbidden(message string) *Error {
	return &Error{Status: http.StatusForbidden, Errcode: unauthorized, Errmsg: "weixin proxy: " + message}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, nil // never: there are strings and numbers only
	}
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // to whoever is still there
}
