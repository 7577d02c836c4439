package upstream

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
)

// resolverKey is the key of a Resolver in a request's context.
type resolverKey struct{}

// WithResolver returns a context whose requests go where the resolver says. It
// may be nil, for the system's.
func WithResolver(ctx context.Context, r *Resolver) context.Context {
	if r == nil {
		return ctx
	}
	return context.WithValue(ctx, resolverKey{}, r)
}

// resolving sends requests over connections of their resolver's, which no other
// resolver's requests use.
type resolving struct {
	system     RoundTripper
	byResolver map[netip.AddrPort]RoundTripper
	proxy      func(*http.Request) (*url.URL, error)
}

// NewResolving returns a round tripper for requests with one of the resolvers,
// or none, in their context. What sends them is made by the function.
//
// A request that goes through a proxy has its name resolved there.
func NewResolving(base *http.Transport, resolvers []*Resolver, newRoundTripper func(*http.Transport) (RoundTripper, error)) (RoundTripper, error) {
	system, err := newRoundTripper(base)
	if err != nil || len(resolvers) == 0 {
		return system, err
	}
	t := &resolving{system: system, byResolver: make(map[netip.AddrPort]RoundTripper, len(resolvers)), proxy: base.Proxy}
	for _, r := range resolvers {
		own := base.Clone()
		own.DialContext = r.DialContext
		if t.byResolver[r.server], err = newRoundTripper(own); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *resolving) RoundTrip(req *http.Request) (*http.Response, error) {
	r, ok := req.Context().Value(resolverKey{}).(*Resolver)
	if !ok {
		return t.system.RoundTrip(req)
	}
	own := t.byResolver[r.server]
	if own == nil || t.isProxied(req) {
		return t.system.RoundTrip(req)
	}
	return own.RoundTrip(req)
}

func (t *resolving) isProxied(req *http.Request) bool {
	if t.proxy == nil {
		return false
	}
	proxy, err := t.proxy(req)
	return proxy != nil || err != nil
}

// CloseIdleConnections implements RoundTripper.
func (t *resolving) CloseIdleConnections() {
	t.system.CloseIdleConnections()
	for _, own := range t.byResolver {
		own.CloseIdleConnections()
	}
}

// Close implements RoundTripper.
func (t *resolving) Close() {
	t.system.Close()
	for _, own := range t.byResolver {
		own.Close()
	}
}
