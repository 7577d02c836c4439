package weixin

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler forwards requests to the WeChat API with an account's access_token.
//
// The account is the one that is named here, or else the one for which the
// request's access_token was issued by this proxy, or else the one whose AppID
// the request has as `appid` in its query, or else the only one there is. Accounts
// that have authorised a third-party platform are among them.
//
// For every request that it handles there are these placeholders, for
// `log_append`, `header` with `defer`, and other modules. They are empty where
// there is nothing to tell.
//
// Placeholder | Description
// ------------|-------------
// `{http.weixin.account}` | The account's name
// `{http.weixin.caller}` | The caller's name
// `{http.weixin.errcode}` | The errcode of the answer that the client gets, if it is not 0
// `{http.weixin.replayed}` | The errcode for which the request was sent again
// `{http.weixin.rid}` | The request ID in that answer's errmsg
type Handler struct {
	// The name of the account, or of a platform, which stands for it and the
	// accounts that have authorised it; `<platform>:<appid>` is one of those.
	// Placeholders such as `{http.request.host}` are resolved for every request. Default: the one the request names, or the
	// only one.
	Account string `json:"account,omitempty"`

	gateway.Access
	ForwardingConfig

	gateway gateway.Gateway
	logger  *zap.Logger
	proxy   *proxy.Proxy
}

// ForwardingConfig says how requests are forwarded.
type ForwardingConfig struct {
	// How many bytes of a request body are kept in memory, for a request that
	// has to be sent again. What is beyond goes into a temporary file.
	// Default: 262144 (256 KiB)
	BodyBuffer int64 `json:"body_buffer,omitempty"`

	// How many bytes a request body may have. A larger one is refused with
	// status 413. Default: 134217728 (128 MiB)
	BodyLimit int64 `json:"body_limit,omitempty"`

	// How long to wait for the header of WeChat's answer once the request has
	// been sent, and then for the part of the answer that shows whether the
	// token was refused. Default: 30s
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// What requests are sent with: `http1` is the fastest; `net_http` is the
	// Go standard library's. Default: http1
	RoundTripper string `json:"round_tripper,omitempty"`

	// Headers of requests that go to WeChat beside those which always do:
	// Content-Type, Content-Encoding, Content-Language, Content-Disposition,
	// Accept, Accept-Language, User-Agent, Range, the conditions If-…, and
	// Wechatmp-…. All others stay here, as they tell about the client's
	// network. Authorization cannot go, nor what the proxy makes anew for every
	// connection, such as Host and Content-Length.
	ForwardHeaders []string `json:"forward_headers,omitempty"`
}

const (
	defaultBodyBuffer = 256 << 10
	defaultBodyLimit  = 128 << 20
	defaultTimeout    = 30 * time.Second
)

// newProxy returns the proxy for a configuration. The function configures the
// connections.
func (c ForwardingConfig) newProxy(app *App, logger *zap.Logger, configure func(*http.Transport) error) (*proxy.Proxy, error) {
	if c.BodyBuffer < 0 || c.BodyLimit < 0 || c.Timeout < 0 {
		return nil, errors.New("body_buffer, body_limit and timeout must not be negative: leave them out for what is the default")
	}
	if c.BodyBuffer == 0 {
		c.BodyBuffer = defaultBodyBuffer
	}
	if c.BodyLimit == 0 {
		c.BodyLimit = defaultBodyLimit
	}
	if c.Timeout == 0 {
		c.Timeout = caddy.Duration(defaultTimeout)
	}
	forwardHeaders, err := proxy.ParseForwardHeaders(c.ForwardHeaders)
	if err != nil {
		return nil, err
	}
	connections := upstream.NewTransport(time.Duration(c.Timeout))
	if err := configure(connections); err != nil {
		return nil, err
	}
	base, err := upstream.NewResolving(connections, app.resolvers.all, func(t *http.Transport) (upstream.RoundTripper, error) {
		return upstream.NewRoundTripper(c.RoundTripper, t)
	})
	if err != nil {
		return nil, err
	}
	return proxy.New(proxy.Config{
		Base:           base,
		Logger:         logger,
		Log:            answer.NewLog(logger),
		BodyBuffer:     c.BodyBuffer,
		BodyLimit:      c.BodyLimit,
		Timeout:        time.Duration(c.Timeout),
		ForwardHeaders: forwardHeaders,
	}), nil
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	if len(app.servedNames()) == 0 || h.Account != "" && !gateway.HasPlaceholder(h.Account) {
		if _, err := app.served(h.Account); err != nil {
			return err
		}
	}
	if err := h.Prepare(); err != nil {
		return err
	}
	h.gateway = gateway.Gateway{Registry: app.registry, Access: &h.Access, Account: h.Account}
	h.proxy, err = h.newProxy(app, h.logger, func(*http.Transport) error { return nil })
	return err
}

// Cleanup closes the connections to WeChat that are idle. Requests that are
// under way end with theirs.
func (h *Handler) Cleanup() error {
	if h.proxy != nil {
		h.proxy.Close()
	}
	return nil
}

// ServeHTTP forwards the request, or answers it in WeChat's place. It answers
// every request itself.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, req, h.serve)
	return nil
}

func (h *Handler) serve(w http.ResponseWriter, original *http.Request) {
	o := newOutcome(original)
	req, leave, err := h.gateway.Registry.WatchLoops(original)
	if err != nil {
		h.refuse(w, original, err)
		return
	}
	defer leave()
	admission, err := h.gateway.Admit(req)
	if err != nil {
		h.refuse(w, req, err)
		return
	}
	o.Account, o.Caller = admission.Account.Name, admission.Caller
	if admission.Issued != nil {
		admission.Served(http.StatusOK)
		admission.Issued.Write(w)
		return
	}
	if err := h.proxy.Forward(w, forwarded(admission, admission.Account.Upstream, o)); err != nil {
		h.refuse(w, req, answer.Of(err, admission.Account, admission.Caller))
	}
}

// forwarded returns a request that was admitted as the proxy gets it.
func forwarded(admission *gateway.Admission, target *url.URL, o *answer.Outcome) *proxy.Request {
	return &proxy.Request{
		Request: admission.Request,
		Account: admission.Account,
		Target:  target,
		Caller:  admission.Caller,
		Client:  gateway.ClientAddr(admission.Request),
		Outcome: o,

		TokenParams: admission.TokenParams,
		Translate:   admission.Translate,
		Virtual:     admission.Virtual,
	}
}

// refuse answers with an error of the proxy's own.
func (h *Handler) refuse(w http.ResponseWriter, req *http.Request, err error) {
	noteRefusal(h.proxy, req, err).Write(w)
}

// noteRefusal notes an error of the proxy's own, and returns it once it may be
// written.
func noteRefusal(p *proxy.Proxy, req *http.Request, err error) *answer.Error {
	refusal := answer.From(err)
	outcomeOf(req.Context()).Refused(refusal)
	countRefusal(refusal)
	p.Log.LogRefusal(req, refusal, gateway.ClientAddr(req))
	refusal.AwaitBody(req, p.BodyLimit)
	return refusal
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
