package weixin

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
)

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

var handlerForms = option.Forms{"account": `"shop"`}.With(accessForms, forwardingForms)

// UnmarshalJSON decodes the handler's options.
func (h *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return option.Decode(data, (*plain)(h), handlerForms)
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
	if len(app.served.names()) == 0 || h.Account != "" && !option.HasPlaceholder(h.Account) {
		if _, err := app.served.find(h.Account); err != nil {
			return err
		}
	}
	if err := h.Prepare(); err != nil {
		return err
	}
	h.gateway = gateway.Gateway{Registry: app.registry, Access: &h.Access, Account: h.Account}
	h.proxy, err = h.newProxy(app.provisioning.resolvers.all, h.logger, func(*http.Transport) error { return nil })
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

// refuse answers with an error of the proxy's own.
func (h *Handler) refuse(w http.ResponseWriter, req *http.Request, err error) {
	noteRefusal(h.proxy, req, err).Write(w)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
