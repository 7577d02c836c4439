package weixin

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

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

var forwardingForms = option.Forms{
	"body_buffer":     `262144`,
	"body_limit":      `134217728`,
	"timeout":         `"30s"`,
	"round_tripper":   `"http1"`,
	"forward_headers": `["X-Something"]`,
}

const (
	defaultBodyBuffer = 256 << 10
	defaultBodyLimit  = 128 << 20
	defaultTimeout    = 30 * time.Second
)

// newProxy returns the proxy for a configuration. The function configures the
// connections.
func (c ForwardingConfig) newProxy(resolvers []*upstream.Resolver, logger *zap.Logger, configure func(*http.Transport) error) (*proxy.Proxy, error) {
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
	base, err := upstream.NewResolving(connections, resolvers, func(t *http.Transport) (upstream.RoundTripper, error) {
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

// forwarded returns a request that was admitted as the proxy gets it.
func forwarded(admission *gateway.Admission, target *url.URL, o *answer.Outcome) *proxy.Request {
	return &proxy.Request{
		Request: admission.Request,
		Account: admission.Account,
		Target:  target,
		Caller:  admission.Caller,
		Client:  admission.Client,
		Outcome: o,

		TokenParams: admission.TokenParams,
		Translate:   admission.Translate,
		Virtual:     admission.Virtual,
	}
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

// parseForwarding parses the directive weixin or the transport, after which there
// may be an account, and their block. More are the options that only one of them
// has.
func parseForwarding(d *caddyfile.Dispenser, account *string, access *gateway.Access, cfg *ForwardingConfig, unknown func(*caddyfile.Dispenser) error, more ...option.Option) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	directive := d.Val()
	if d.NextArg() {
		*account = d.Val()
	}
	if d.NextArg() {
		if strings.HasPrefix(d.Val(), "/") || strings.HasPrefix(d.Val(), "@") {
			return d.Errf("the matcher comes first: write %s %s %s", directive, d.Val(), *account)
		}
		return d.Errf("%s takes one account, but there is also %s", directive, d.Val())
	}
	block := option.Block{Of: directive, Unknown: unknown, Options: append([]option.Option{
		allowIPsOption(&access.AllowIPs),
		hostsOption(&access.Hosts),
		option.Size("body_buffer", &cfg.BodyBuffer, "256KiB"),
		option.Size("body_limit", &cfg.BodyLimit, "128MiB"),
		option.Duration("timeout", &cfg.Timeout, "30s"),
		option.String("round_tripper", &cfg.RoundTripper, upstream.NetHTTP).Checked(func() error {
			return upstream.CheckRoundTripper(cfg.RoundTripper)
		}),
		option.List("forward_headers", &cfg.ForwardHeaders, "X-Something").Checked(func() error {
			_, err := proxy.ParseForwardHeaders(cfg.ForwardHeaders)
			return err
		}),
	}, more...)}
	return block.Parse(d)
}
