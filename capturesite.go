package weixin

import (
	"cmp"
	"log"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/capture"
)

// tunnelSites are this Caddy's own sites, where tunnels end.
type tunnelSites struct {
	ctx    caddy.Context
	http   *caddyhttp.App // that they belong to
	logger *zap.Logger
}

// find returns the server that has a site of that name with TLS, or nil. Of
// several it is the one on the port that is asked for, where 443 is Caddy's
// https_port.
func (s *tunnelSites) find(host, port string) *caddyhttp.Server {
	if port == "443" {
		port = strconv.Itoa(cmp.Or(s.http.HTTPSPort, caddyhttp.DefaultHTTPSPort))
	}
	httpPort := strconv.Itoa(cmp.Or(s.http.HTTPPort, caddyhttp.DefaultHTTPPort))
	var found *caddyhttp.Server
	for _, name := range slices.Sorted(maps.Keys(s.http.Servers)) {
		server := s.http.Servers[name]
		if len(server.TLSConnPolicies) == 0 || !hasSite(server.Routes, host) {
			continue
		}
		ports := listenPorts(server)
		if slices.Contains(ports, port) {
			return server
		}
		// Caddy speaks no TLS on the HTTP port.
		if found == nil && slices.ContainsFunc(ports, func(p string) bool { return p != httpPort }) {
			found = server
		}
	}
	return found
}

// hasSite reports whether there is a site of that name.
func hasSite(routes caddyhttp.RouteList, host string) bool {
	return slices.ContainsFunc(routes, func(route caddyhttp.Route) bool {
		return slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
			names, ok := hostsOf(set)
			return ok && names.has(host)
		})
	})
}

// hostNames are the names of a site, which may have wildcards.
type hostNames []string

func (n hostNames) has(host string) bool {
	return slices.ContainsFunc(n, func(name string) bool { return certmagic.MatchWildcard(host, name) })
}

// hostsOf returns the names that a matcher set is for, if it is for some alone.
func hostsOf(set caddyhttp.MatcherSet) (hostNames, bool) {
	for _, matcher := range set {
		if names, ok := matcher.(*caddyhttp.MatchHost); ok {
			return hostNames(*names), true
		}
	}
	return nil, false
}

// listenPorts returns the ports that a server listens on.
func listenPorts(server *caddyhttp.Server) []string {
	var ports []string
	for _, listen := range server.Listen {
		addr, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			continue // the server would not have started
		}
		for port := addr.StartPort; port <= addr.EndPort; port++ {
			ports = append(ports, strconv.FormatUint(uint64(port), 10))
		}
	}
	return ports
}

// site returns a server in the form in which it serves tunnels.
func (s *tunnelSites) site(server *caddyhttp.Server) capture.Site {
	return capture.Site{
		Handler:           server,
		TLSConfig:         server.TLSConnPolicies.TLSConfig(s.ctx),
		HTTP2:             slices.Contains(server.Protocols, "h2"),
		ReadTimeout:       time.Duration(server.ReadTimeout),
		ReadHeaderTimeout: time.Duration(server.ReadHeaderTimeout),
		WriteTimeout:      time.Duration(server.WriteTimeout),
		IdleTimeout:       time.Duration(server.IdleTimeout),
		MaxHeaderBytes:    server.MaxHeaderBytes,
		ErrorLog:          log.New(tunnelErrors{s.logger}, "", 0),
	}
}

// tunnelErrors logs what a server has to say of tunnels.
type tunnelErrors struct {
	logger *zap.Logger
}

// Write implements io.Writer.
func (t tunnelErrors) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	switch {
	case strings.Contains(text, "panic serving"):
		t.logger.Error(text)
	case isDistrust(text):
		t.logger.Warn("an application does not trust the certificate of a captured host: have it trust the root of Caddy's internal issuer, pki/authorities/local/root.crt in Caddy's data directory",
			zap.String("cause", text))
	default:
		t.logger.Debug(text)
	}
	return len(p), nil
}

// isDistrust reports whether a server says of a tunnel that the application does
// not trust the certificate. OpenSSL says so before it encrypts what it says,
// which looks like a record that was changed on its way: that has another cause
// hardly ever.
func isDistrust(text string) bool {
	return strings.Contains(text, "remote error: tls: ") && strings.Contains(text, "certificate") ||
		strings.HasSuffix(text, "local error: tls: bad record MAC")
}

// isIn reports whether requests for a host get to a handler by the routes;
// the empty one is any.
func isIn(handler caddyhttp.MiddlewareHandler, routes caddyhttp.RouteList, host string) bool {
	return slices.ContainsFunc(routes, func(route caddyhttp.Route) bool {
		return (host == "" || takesHost(route, host)) && slices.ContainsFunc(route.Handlers, func(h caddyhttp.MiddlewareHandler) bool {
			inner, ok := h.(*caddyhttp.Subroute)
			return h == handler || ok && isIn(handler, inner.Routes, host)
		})
	})
}

// takesHost reports whether requests for a host may get into the route.
func takesHost(route caddyhttp.Route, host string) bool {
	return len(route.MatcherSets) == 0 || slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		names, ok := hostsOf(set)
		return !ok || names.has(host)
	})
}
