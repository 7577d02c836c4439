// Package callback is the authorisation-event URL of a third-party platform: it
// takes what WeChat pushes, has the platform know what it says before it is
// answered, and passes the push on to the application.
package callback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// Platform is told of what was pushed. Where a method returns an error, the news
// are not in the store, and WeChat has to push them again.
type Platform interface {
	Ticket(ctx context.Context, ticket string, created time.Time) error
	Authorized(ctx context.Context, appID string, at time.Time) error
	Unauthorized(ctx context.Context, appID string, at time.Time) error
}

// Config is what a handler is made of.
type Config struct {
	Name     string // the platform's
	Receiver *push.Receiver
	Platform Platform
	Forward  *url.URL // where pushes are passed on to, without a query; nil for nowhere
	Logger   *zap.Logger
}

// Handler answers pushes. It answers every request itself.
type Handler struct {
	Config
	log      account.Sampler
	forwards forwarder
}

// New returns a handler.
func New(c Config) *Handler {
	return &Handler{Config: c, forwards: newForwarder(c.Forward)}
}

// WeChat waits 5 seconds for an answer, and pushes again then.
const (
	storeTimeout  = 4 * time.Second
	answerTimeout = 4800 * time.Millisecond
)

// logInterval is how often the log has the same about pushes that are refused, or
// that the application does not take.
const logInterval = time.Minute

// Success is what WeChat takes for the receipt of a push.
const Success = "success"

// Close closes what connects to the application.
func (h *Handler) Close() { h.forwards.close() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	body, refused := readBody(w, r)
	if refused != nil {
		h.refuse(w, refused)
		return
	}
	deadline := time.Now().Add(answerTimeout)
	event, err := h.open(r, body)
	if err != nil {
		h.refuse(w, &refusal{http.StatusForbidden, err})
		return
	}
	if err := h.take(r.Context(), event); err != nil {
		h.Logger.Error("a push is not acknowledged, because the store does not take what it says: WeChat pushes it again",
			append(h.fieldsOf(event), zap.Error(err))...)
		writeText(w, http.StatusServiceUnavailable, "unavailable")
		return
	}
	h.Logger.Info("push received", h.fieldsOf(event)...)
	if h.Forward == nil {
		writeText(w, http.StatusOK, Success)
		return
	}
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	h.passOn(ctx, w, r, body, event)
}

// open returns what a push says.
func (h *Handler) open(r *http.Request, body []byte) (push.Event, error) {
	if r.Method != http.MethodPost {
		return push.Event{}, errNoPush
	}
	return h.Receiver.Open(r.URL.Query(), body)
}

var errNoPush = errors.New("it is no push, whose method is POST")

// take has the platform know what a push says. That WeChat does not wait any
// longer does not end it.
func (h *Handler) take(ctx context.Context, e push.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	at := e.CreateTime
	if at.IsZero() {
		at = time.Now()
	}
	switch e.InfoType {
	case push.ComponentVerifyTicket:
		return h.Platform.Ticket(ctx, e.Ticket, at)
	case push.Authorized, push.UpdateAuthorized:
		return h.Platform.Authorized(ctx, e.AuthorizerAppID, at)
	case push.Unauthorized:
		return h.Platform.Unauthorized(ctx, e.AuthorizerAppID, at)
	}
	return nil
}

// maxLogged bounds what log lines have of a push: what WeChat adds to its events
// is not known here.
const maxLogged = 64

func (h *Handler) fieldsOf(e push.Event) []zap.Field {
	kind := e.InfoType
	if kind == "" {
		kind = "message" // of an account, not of the platform
	}
	fields := []zap.Field{zap.String("platform", h.Name), zap.String("type", shortened(kind))}
	if e.AuthorizerAppID != "" {
		fields = append(fields, zap.String("authorizer", shortened(e.AuthorizerAppID)))
	}
	return fields
}

func shortened(s string) string { return s[:min(len(s), maxLogged)] }

// refusal means that something is none of WeChat's pushes to the platform. Whoever
// sent it learns the status alone.
type refusal struct {
	status int
	cause  error
}

// readBody reads a body, however it is framed.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes", push.MaxBody)}
	if r.ContentLength > push.MaxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, push.MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, errors.New("the body could not be read to its end")}
	}
	return body, nil
}

// refuse answers what is no push. The log has why, as far as that is known without
// repeating anything of it.
func (h *Handler) refuse(w http.ResponseWriter, e *refusal) {
	if first, skipped := h.log.First(e.cause.Error(), logInterval); first {
		h.Logger.Warn("push refused", zap.String("platform", h.Name), zap.Int("status", e.status),
			zap.NamedError("cause", e.cause), zap.Int("more", skipped))
	}
	writeText(w, e.status, http.StatusText(e.status))
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client may be gone, which is no concern of the proxy's.
	_, _ = io.WriteString(w, text)
}
