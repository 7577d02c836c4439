package weixin

import (
	"bytes"
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

	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
)

func init() {
	caddy.RegisterModule(Transport{})
}

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

	Access
	ForwardingConfig

	gateway gateway
	logger  *zap.Logger
	sender  *transport
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
	account, err := app.account(t.Account)
	if err != nil {
		return fmt.Errorf("%w%s", err, positionsOf(transportConfig(t.Account)).of("transport", t.Account))
	}
	t.gateway = gateway{app: app, access: &t.Access, account: account.Name, behindReverseProxy: true}
	if err := t.provision(); err != nil {
		return err
	}
	t.sender, err = t.newSender(app, t.logger, func(connections *http.Transport) error { return t.configureTLS(ctx, connections) })
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
	if t.sender != nil {
		t.sender.repeats.Close()
		t.sender.base.Close()
	}
	return nil
}

// RoundTrip sends a request that reverse_proxy has prepared.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return clientbody.RoundTrip(req, t.roundTrip)
}

// roundTrip reports as well whether nobody needs the rest of the body.
func (t *Transport) roundTrip(original *http.Request) (res *http.Response, needless bool, err error) {
	o := newOutcome(original)
	req, leave, refusal := watchLoops(original)
	if refusal != nil {
		return t.refuse(original, refusal), true, nil
	}
	defer leave()
	p := &passage{account: t.gateway.app.accounts[t.gateway.account], request: req}
	if !isHealthCheck(req) {
		if p, refusal = t.gateway.admit(req); refusal != nil {
			return t.refuse(req, refusal), true, nil
		}
	}
	o.of(p.account, p.caller)
	if p.grant != nil {
		p.served(http.StatusOK)
		return p.grant.response(req), true, nil
	}
	return t.forward(req, p)
}

// forward sends a request on to the upstream of reverse_proxy.
func (t *Transport) forward(req *http.Request, p *passage) (res *http.Response, needless bool, err error) {
	target := t.target(req)
	if refusal := t.checkUpstream(p.account, target); refusal != nil {
		return t.refuse(req, refusal.of(p.account, p.caller)), true, nil
	}
	// Where AppID and AppSecret were put into a body, the client's is read, and so
	// is the beginning of one that may have to be encrypted.
	repeatable := p.request == req && (req.ContentLength <= maxSealedBody || !p.account.security.isFor(req))
	if repeatable {
		if p.request, err = t.withKeptBody(p.account, req); err != nil {
			return t.failed(req, p, err)
		}
	}
	var i informer
	res, err = t.sender.roundTrip(i.context(p.request), &i, p.account, target, p.request, p.virtual)
	i.end()
	if err == nil {
		withoutHostFields(res)
		p.served(res.StatusCode)
		return res, isComplete(res), nil
	}
	if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Op == "dial" && repeatable {
		// reverse_proxy may send the request to another upstream.
		return nil, false, reverseproxy.NewDialError(err)
	}
	return t.failed(req, p, err)
}

// failed returns the answer to a request that could not be sent.
func (t *Transport) failed(req *http.Request, p *passage, err error) (*http.Response, bool, error) {
	if proxyErr, ok := errors.AsType[*proxyError](err); ok {
		return t.refuse(req, proxyErr.of(p.account, p.caller)), true, nil
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
func (t *Transport) withKeptBody(account *Account, req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > min(account.security.readFirst(req), t.sender.bodyLimit) {
		return req, nil
	}
	kept, ok := caddyhttp.GetVar(req.Context(), keptBodyVar).([]byte)
	if !ok {
		kept = make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, kept); err != nil {
			return nil, t.sender.bodyError(account, req, err)
		}
		caddyhttp.SetVar(req.Context(), keptBodyVar, kept)
	}
	out := *req
	out.Body = io.NopCloser(bytes.NewReader(kept))
	return &out, nil
}

// refuse answers with an error of the proxy's own.
func (t *Transport) refuse(req *http.Request, err *proxyError) *http.Response {
	outcomeOf(req.Context()).refused(err)
	countRefusal(err)
	t.sender.logRefusal(req, err)
	err.awaitBody(req, t.sender.bodyLimit)
	return err.response(req)
}

// TLSEnabled says whether the upstream is reached with TLS.
func (t *Transport) TLSEnabled() bool { return t.TLS != nil }

// EnableTLS has the upstream be reached with TLS.
func (t *Transport) EnableTLS(base *reverseproxy.TLSConfig) error {
	t.TLS = base
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner         = (*Transport)(nil)
	_ caddy.CleanerUpper        = (*Transport)(nil)
	_ http.RoundTripper         = (*Transport)(nil)
	_ reverseproxy.TLSTransport = (*Transport)(nil)
)
