package weixin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
)

// Transport is what the `weixin` handler forwards requests with, for use in
// Caddy's `reverse_proxy`. Requests go to the upstream of `reverse_proxy`; the
// account's token is fetched from the account's own upstream.
type Transport struct {
	// The name of the account. Default: the only one there is.
	Account string `json:"account,omitempty"`

	// Whether the upstream is reached with TLS. The Caddyfile sets it where
	// the upstream's address begins with https.
	TLS *reverseproxy.TLSConfig `json:"tls,omitempty"`

	// Whether the token may go to another host than the account's upstream.
	// Default: false; requests to other hosts are refused.
	TrustUpstream bool `json:"trust_upstream,omitempty"`

	gateway.Access
	ForwardingConfig

	account *account.Account // that is named, or the only one
	gateway gateway.Gateway
	logger  *zap.Logger
	proxy   *proxy.Proxy
}

var transportForms = option.Forms{"tls": `{}`, "trust_upstream": `true`}.With(handlerForms)

// UnmarshalJSON decodes the transport's options.
func (t *Transport) UnmarshalJSON(data []byte) error {
	type plain Transport
	return option.Decode(data, (*plain)(t), transportForms)
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.weixin",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision sets up the transport.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.logger = ctx.Logger()
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	a, err := app.served.find(t.Account)
	if err != nil {
		return fmt.Errorf("%w%s", err, option.PositionsOf(transportConfig(t.Account)).Of("transport", t.Account))
	}
	t.gateway = gateway.Gateway{Registry: app.registry, Access: &t.Access, Account: cmp.Or(t.Account, a.Name), BehindReverseProxy: true}
	t.account = a
	if err := t.Prepare(); err != nil {
		return err
	}
	t.proxy, err = t.newProxy(app.provisioning.resolvers.all, t.logger, func(connections *http.Transport) error { return t.configureTLS(ctx, connections) })
	return err
}

// transportConfig stands for a transport's configuration in its position.
func transportConfig(account string) []byte { return []byte("transport " + account) }

func (t *Transport) configureTLS(ctx caddy.Context, connections *http.Transport) error {
	if t.TLS == nil {
		return nil
	}
	config, err := t.TLS.MakeTLSClientConfig(ctx)
	if err != nil {
		return err
	}
	if config != nil { // or else it says no more than that there is TLS
		config.ClientSessionCache = connections.TLSClientConfig.ClientSessionCache
		connections.TLSClientConfig = config
	}
	if t.TLS.HandshakeTimeout > 0 {
		connections.TLSHandshakeTimeout = time.Duration(t.TLS.HandshakeTimeout)
	}
	return nil
}

// Cleanup closes the connections to WeChat that are idle. Requests that are
// under way end with theirs.
func (t *Transport) Cleanup() error {
	if t.proxy != nil {
		t.proxy.Close()
	}
	return nil
}

// RoundTrip sends a request that reverse_proxy has prepared.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return clientbody.RoundTrip(req, t.roundTrip)
}

// roundTrip reports as well whether the rest of the body is needless.
func (t *Transport) roundTrip(original *http.Request) (res *http.Response, needless bool, err error) {
	o := newOutcome(original)
	registry := t.gateway.Registry
	req, leave, err := registry.WatchLoops(original)
	if err != nil {
		return t.refuse(original, err), true, nil
	}
	defer leave()
	admission := gateway.Unasked(t.account, req)
	if !isHealthCheck(req) {
		if admission, err = t.gateway.Admit(req); err != nil {
			return t.refuse(req, err), true, nil
		}
	}
	o.Account, o.Caller = admission.Account.Name, admission.Caller
	if admission.Issued != nil {
		admission.Served(http.StatusOK)
		return admission.Issued.Response(req), true, nil
	}
	return t.forward(req, admission, o)
}

// forward sends a request on to the upstream of reverse_proxy.
func (t *Transport) forward(req *http.Request, admission *gateway.Admission, o *answer.Outcome) (res *http.Response, needless bool, err error) {
	target := t.target(req)
	if err := t.checkUpstream(admission.Account, target); err != nil {
		return t.failed(req, admission, err)
	}
	// Where ID and secret were put into a body, the client's is read, and so is the
	// beginning of one that may have to be encrypted.
	repeatable := admission.Request == req && !proxy.ReadsBeginning(admission.Account, req)
	if repeatable {
		if admission.Request, err = t.withKeptBody(admission.Account, req); err != nil {
			return t.failed(req, admission, err)
		}
	}
	res, err = t.proxy.RoundTrip(forwarded(admission, target, o), nil)
	if err == nil {
		proxy.WithoutHostFields(res)
		admission.Served(res.StatusCode)
		return res, proxy.IsComplete(res), nil
	}
	if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Op == "dial" && repeatable {
		// reverse_proxy may send the request to another upstream.
		return nil, false, reverseproxy.NewDialError(err)
	}
	return t.failed(req, admission, err)
}

// failed returns the answer to a request that could not be sent.
func (t *Transport) failed(req *http.Request, admission *gateway.Admission, err error) (*http.Response, bool, error) {
	if _, ok := errors.AsType[*answer.Error](err); ok {
		return t.refuse(req, answer.Of(err, admission.Account, admission.Caller)), true, nil
	}
	return nil, true, err
}

// target returns where reverse_proxy wants the request to go.
func (t *Transport) target(req *http.Request) *url.URL {
	if t.TLSEnabled() {
		return &url.URL{Scheme: "https", Host: strings.TrimSuffix(req.URL.Host, ":443")}
	}
	return &url.URL{Scheme: "http", Host: strings.TrimSuffix(req.URL.Host, ":80")}
}

// keptBodyVar is the variable of a request that has its body.
const keptBodyVar = "weixin.body"

// withKeptBody returns the request with a body that outlives it, if it is one
// that is read before WeChat is connected: reverse_proxy may send the request
// once more to another upstream, and by then the client's is read.
func (t *Transport) withKeptBody(a *account.Account, req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > min(proxy.ReadsFirst(a, req), t.proxy.BodyLimit) {
		return req, nil
	}
	kept, ok := caddyhttp.GetVar(req.Context(), keptBodyVar).([]byte)
	if !ok {
		kept = make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, kept); err != nil {
			return nil, t.proxy.BodyError(a, req, err)
		}
		caddyhttp.SetVar(req.Context(), keptBodyVar, kept)
	}
	out := *req
	out.Body = io.NopCloser(bytes.NewReader(kept))
	return &out, nil
}

// refuse answers with an error of the proxy's own.
func (t *Transport) refuse(req *http.Request, err error) *http.Response {
	return noteRefusal(t.proxy, req, err).Response(req)
}

// TLSEnabled reports whether the upstream is reached with TLS.
func (t *Transport) TLSEnabled() bool { return t.TLS != nil }

// EnableTLS has the upstream be reached with TLS.
func (t *Transport) EnableTLS(base *reverseproxy.TLSConfig) error {
	t.TLS = base
	return nil
}

// checkUpstream refuses to give an account's token to another host than its own
// upstream.
func (t *Transport) checkUpstream(a *account.Account, target *url.URL) error {
	if t.TrustUpstream || sameOrigin(target, a.Upstream) {
		return nil
	}
	return answer.Unavailable(http.StatusBadGateway, "account "+a.Name+"'s token goes to its own upstream alone, not to "+target.Scheme+"://"+target.Host+
		": write reverse_proxy "+a.Upstream.Scheme+"://"+a.Upstream.Host+", or trust_upstream in the block of transport weixin")
}

// sameOrigin reports whether two URLs have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(strings.TrimSuffix(a.Hostname(), "."), strings.TrimSuffix(b.Hostname(), ".")) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// isHealthCheck reports whether reverse_proxy has made a request by itself: it
// has none of a client's variables.
func isHealthCheck(req *http.Request) bool { return req.Context().Value(caddyhttp.VarsCtxKey) == nil }

// Interface guards
var (
	_ caddy.Provisioner         = (*Transport)(nil)
	_ caddy.CleanerUpper        = (*Transport)(nil)
	_ http.RoundTripper         = (*Transport)(nil)
	_ reverseproxy.TLSTransport = (*Transport)(nil)
)
