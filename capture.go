package weixin

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/capture"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// Capture is an HTTP proxy for applications whose SDK has WeChat's host names
// written into it: their HTTPS_PROXY and HTTP_PROXY point here.
//
// It takes requests for WeChat's hosts and those of the configured upstreams,
// and nothing else. A tunnel that is asked for with CONNECT ends at this Caddy's
// own site of that name, which needs a certificate that the application trusts,
// such as one of Caddy's internal issuer. A request in absolute form is answered
// as the `weixin` handler does.
//
// A tunnel is not dialled: the application's connection itself is handed to the
// site's server, in the process. So there is no address of the proxy's that the
// site could see, and nothing that others could send to pretend to have another:
// the site's client is whoever is at the other end of the connection, or, where
// this server has `trusted_proxies`, the client that they report. The site's
// `listener_wrappers` have no part in it.
//
// When the configuration is replaced, tunnels end as the site's own connections
// do: those without a request at once, the others with the answer, or at the end
// of the `grace_period`.
type Capture struct {
	*Handler

	hosts   *capture.Hosts
	sites   *capture.Sites
	server  *caddyhttp.Server // that the handler belongs to
	own     tunnelSites       // where tunnels lead, once they are served
	started chan struct{}     // closed then
}

// CaddyModule returns the Caddy module information.
func (Capture) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_capture",
		New: func() caddy.Module { return &Capture{Handler: new(Handler)} },
	}
}

// parseCaptureDirective sets up the handler from the weixin_capture directive.
// Its options are those of weixin. Syntax:
//
//	weixin_capture [<matcher>] [<account>] {
//		…
//	}
func parseCaptureDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler, err := parseDirective(h)
	if err != nil {
		return nil, err
	}
	return &Capture{Handler: handler.(*Handler)}, nil
}

// Provision sets up the handler.
func (c *Capture) Provision(ctx caddy.Context) error {
	c.sites, c.started = new(capture.Sites), make(chan struct{})
	if err := c.Handler.Provision(ctx); err != nil {
		return err
	}
	c.own = tunnelSites{ctx: ctx, logger: c.logger}
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	c.hosts = capture.NewHosts(app.upstreams())
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	if err := events.(*caddyevents.App).On("started", startedHandler{c}); err != nil {
		return err
	}
	// A server that is told to stop waits for its own connections, of which
	// tunnels are none any more.
	var ok bool
	if c.server, ok = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		c.server.RegisterOnShutdown(c.shutdown)
		c.server.RegisterOnStop(c.awaitTunnels)
	}
	return nil
}

// upstreams returns where requests go that need no capturing, one for each
// account at least.
func (app *App) upstreams() []*url.URL {
	urls := make([]*url.URL, 0, len(app.served.names())+1)
	for _, a := range app.served.all() {
		urls = append(urls, a.Upstream)
	}
	if app.Upstream != "" {
		// One that no account has need not be a good one.
		if u, err := upstream.ParseURL(caddy.NewReplacer().ReplaceKnown(app.Upstream, "")); err == nil {
			urls = append(urls, u)
		}
	}
	return urls
}

// startedHandler is told when every app has started.
type startedHandler struct {
	capture *Capture
}

// Handle implements caddyevents.Handler.
func (h startedHandler) Handle(context.Context, caddy.Event) error {
	// It could not be asked for before: the handler is a part of it.
	app, err := h.capture.own.ctx.AppIfConfigured("http")
	if err != nil {
		return err
	}
	h.capture.own.http = app.(*caddyhttp.App)
	close(h.capture.started)
	h.capture.warnOfName()
	return nil
}

// warnOfName warns where the handler is in a site with a name. To a proxy
// requests have the name of the host that they are for, so none would come here,
// and Caddy would answer a CONNECT request with an empty 200.
func (c *Capture) warnOfName() {
	if c.server != nil && isIn(c, c.server.Routes, "") && !isIn(c, c.server.Routes, "api.weixin.qq.com") {
		c.logger.Error("no request for api.weixin.qq.com comes to weixin_capture, as its site has another name: write a port alone as the site's address, such as :3128")
	}
}

// endingTunnels has a channel for each configuration whose tunnels are ending,
// closed when they have. They outlive the configuration.
var endingTunnels sync.Map

// shutdown ends the tunnels as Caddy ends its own connections.
func (c *Capture) shutdown() {
	ended := make(chan struct{})
	endingTunnels.Store(ended, nil)
	defer endingTunnels.Delete(ended)
	defer close(ended)
	ctx := context.Background()
	select {
	case <-c.started:
		if c.own.http.GracePeriod > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(c.own.http.GracePeriod))
			defer cancel()
		}
	default: // there are no tunnels
	}
	c.sites.Shutdown(ctx)
}

// awaitTunnels waits for the tunnels to end where the process ends otherwise.
func (c *Capture) awaitTunnels(ctx context.Context) error {
	if !caddy.Exiting() {
		return nil
	}
	c.sites.Shutdown(ctx)
	endingTunnels.Range(func(ended, _ any) bool {
		select {
		case <-ended.(chan struct{}):
			return true
		case <-ctx.Done():
			return false
		}
	})
	return nil
}

// Cleanup ends the tunnels that are idle, and closes the connections to WeChat
// that are.
func (c *Capture) Cleanup() error {
	if c.sites != nil {
		go c.shutdown()
	}
	return c.Handler.Cleanup()
}

// ServeHTTP answers a request to a proxy.
func (c *Capture) ServeHTTP(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler) error {
	select {
	case <-c.started:
	case <-req.Context().Done():
		return nil
	}
	// It is for a proxy that asks for it. This one does not.
	req.Header.Del("Proxy-Authorization")
	if !c.AllowsAddress(c.gateway.Registry, gateway.ClientAddr(req), true) {
		return c.refuseCapture(w, req, answer.Forbidden("the client's address may not call: add it to allow_ips"))
	}
	if req.Method == http.MethodConnect {
		return c.connect(w, req)
	}
	if req.URL.Host == "" {
		return c.refuseCapture(w, req, answer.Forbidden("this is an HTTP proxy for applications with HTTPS_PROXY and HTTP_PROXY: as base URL use a site with weixin"))
	}
	return c.serveAbsolute(w, req, next)
}

// refuseCapture answers with an error of the proxy's own.
func (c *Capture) refuseCapture(w http.ResponseWriter, req *http.Request, err error) error {
	if req.Method == http.MethodConnect && req.ProtoMajor == 1 {
		// What comes next may be meant for the tunnel.
		w.Header().Set("Connection", "close")
		c.refuse(w, req, err)
		return nil
	}
	clientbody.Serve(w, req, func(w http.ResponseWriter, req *http.Request) { c.refuse(w, req, err) })
	return nil
}

// serveAbsolute answers a request whose target is a whole URL. Some clients send
// those that are for https in this way too.
func (c *Capture) serveAbsolute(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler) error {
	port := capture.Port{Scheme: strings.ToLower(req.URL.Scheme)}
	var host string
	host, port.Number = capture.SplitAuthority(req.URL.Host)
	port.Number = cmp.Or(port.Number, defaultPorts[port.Scheme])
	if !c.hosts.HasPort(host, port) {
		return c.refuseCapture(w, req, c.unknownTarget(host, port.Number))
	}
	if req.URL.User != nil {
		return c.refuseCapture(w, req, answer.BadRequest("the URL has a user or a password, which WeChat does not know"))
	}
	inner := *req
	inner.Host = host
	inner.URL = &url.URL{
		Path:       req.URL.Path,
		RawPath:    req.URL.RawPath,
		RawQuery:   req.URL.RawQuery,
		ForceQuery: req.URL.ForceQuery,
	}
	return c.Handler.ServeHTTP(w, &inner, next)
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// unknownTarget returns the answer to a request for a host or a port that is not
// captured.
func (c *Capture) unknownTarget(host, port string) error {
	if capture.IsWeChat(host) && c.own.find(host, "443") == nil {
		return noSite(host, "443")
	}
	return answer.Forbidden(capture.JoinAuthority(host, port) + " is none of WeChat's hosts and those of the upstreams, on their own ports, which this proxy is for alone")
}

// noSite returns the answer to a request for a host that has no site here.
func noSite(host, port string) error {
	address := "https://" + capture.JoinAuthority(host, port)
	address = strings.TrimSuffix(address, ":443")
	return answer.Unavailable(http.StatusBadGateway, "there is no site for "+host+" here: add "+address+" { tls internal … weixin } to the Caddyfile")
}

// connect answers a CONNECT request.
func (c *Capture) connect(w http.ResponseWriter, req *http.Request) error {
	server, host, refusal := c.destination(req)
	if refusal != nil {
		return c.refuseCapture(w, req, refusal)
	}
	if check := c.logger.Check(zapcore.DebugLevel, "tunnel"); check != nil {
		check.Write(zap.String("host", host), zap.String("server", server.Name()))
	}
	tunnelTo := func(conn net.Conn, early *bufio.Reader) error {
		local, _ := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
		tunnel := capture.NewTunnel(conn, early, host, clientAddress(req, conn), local)
		return c.sites.Serve(server, func() capture.Site { return c.own.site(server) }, tunnel)
	}
	var err error
	if req.ProtoMajor > 1 {
		err = capture.Stream(w, req, tunnelTo)
	} else {
		err = capture.Hijack(w, tunnelTo)
	}
	if errors.Is(err, capture.ErrClosed) {
		return c.refuseCapture(w, req, answer.Unavailable(http.StatusServiceUnavailable, "the proxy is shutting down"))
	}
	return err
}

// destination returns the server that a tunnel leads to, and the host that it is
// for.
func (c *Capture) destination(req *http.Request) (*caddyhttp.Server, string, error) {
	host, port := capture.SplitAuthority(req.URL.Host)
	if !c.hosts.HasPort(host, capture.Port{Scheme: "https", Number: port}) {
		return nil, "", c.unknownTarget(host, port)
	}
	if req.URL.User != nil || len(req.Header[":protocol"]) > 0 || req.ProtoMajor == 1 && req.ContentLength != 0 {
		return nil, "", answer.BadRequest("a CONNECT request has a host and a port, and nothing else")
	}
	server := c.own.find(host, port)
	if server == nil {
		return nil, "", noSite(host, port)
	}
	return server, host, nil
}

// clientAddress returns the address of the application that a tunnel is for, as
// Caddy understands it.
func clientAddress(req *http.Request, conn net.Conn) net.Addr {
	addr := gateway.ClientAddr(req)
	remote, err := netip.ParseAddrPort(req.RemoteAddr)
	if !addr.IsValid() || err != nil && addr.IsLoopback() { // a unix socket
		return conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, remote.Port()))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Capture)(nil)
	_ caddy.CleanerUpper          = (*Capture)(nil)
	_ caddyhttp.MiddlewareHandler = (*Capture)(nil)
	_ caddyevents.Handler         = startedHandler{}
)
