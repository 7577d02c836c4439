package gateway

import (
	"net/http"
	"slices"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// call returns the request with what it takes, as far as that can be told before
// its account is known.
func (g *Gateway) call(req *http.Request) *apiCall {
	kind, ok := g.kindOf(req)
	c := &apiCall{Request: req, kind: kind, route: kind.RouteOf(req.URL), client: ClientAddr(req), isOfKind: ok}
	if kind == wechat.Platform && c.route.Takes == wechat.TakesOwn && wechat.MayShowTokens(req.URL.Path) {
		c.route = besidePlatform // whatever the request brings along, a key is needed to see what it shows
	}
	return c
}

// kindOf returns the kind of account that a request means, and reports whether
// the request shows it: by the account's name, token or ID, by the host, or by the
// path.
func (g *Gateway) kindOf(req *http.Request) (kind *wechat.Kind, ok bool) {
	kinds := g.Registry.kinds()
	if len(kinds) == 1 && len(g.Registry.platforms) == 0 {
		return kinds[0], true
	}
	if s, _ := g.named(req); s != (subject{}) { // an error is one later
		return s.kind(), true
	}
	if kind := g.kindOfTokens(req); kind != nil {
		return kind, true
	}
	switch {
	case g.meansPlatform(req):
		return wechat.Platform, true
	case len(kinds) == 1:
		return kinds[0], true
	}
	for _, kind := range kinds {
		id, _ := wechat.QueryParam(req.URL.RawQuery, kind.ID)
		if a := g.Registry.Accounts.WithID(id); a != nil && a.Kind == kind {
			return kind, true
		}
	}
	for _, shows := range [...]func(*wechat.Kind, *http.Request) bool{isAtHost, hasPathAlone, hasForeignToken} {
		if i := slices.IndexFunc(kinds, func(k *wechat.Kind) bool { return shows(k, req) }); i >= 0 {
			return kinds[i], true
		}
	}
	return kinds[0], false
}

func isAtHost(k *wechat.Kind, req *http.Request) bool     { return k.IsHost(req.Host) }
func hasPathAlone(k *wechat.Kind, req *http.Request) bool { return k.HasAlone(req.URL.Path) }
func hasForeignToken(k *wechat.Kind, req *http.Request) bool {
	// A platform's token goes to the API that the platform is of.
	return k.HasForeignToken(req.URL.RawQuery) || k == wechat.Official && wechat.HasQueryParam(req.URL.RawQuery, wechat.ComponentTokenParam)
}

// kindOfTokens returns the kind of the account that a token in a request names,
// which may be forged, or nil.
func (g *Gateway) kindOfTokens(req *http.Request) *wechat.Kind {
	r := g.Registry
	if wechat.MayShowTokens(req.URL.Path) && len(r.platforms) > 0 {
		return wechat.Platform
	}
	for _, kind := range r.kinds() {
		for _, param := range kind.TokenParams() {
			if kind, told := r.kindOfToken(req, param); told {
				return kind
			}
		}
	}
	if len(r.platforms) > 0 {
		kind, _ := r.kindOfToken(req, wechat.ComponentTokenParam)
		return kind
	}
	return nil
}

// kindOfToken returns the kind of the account that a parameter's token names. It
// reports whether the parameter has a token that says which.
func (r *Registry) kindOfToken(req *http.Request, param string) (kind *wechat.Kind, told bool) {
	token, _ := wechat.QueryParam(req.URL.RawQuery, param)
	if token == "" {
		return nil, false
	}
	var s subject
	claims, _, _ := readVirtualToken(token)
	if claims != nil {
		s = r.subjectOfToken(claims)
	} else {
		s = r.realTokenOwner(req.Context(), token, nil)
	}
	switch {
	case s != subject{}:
		return s.kind(), true
	case param == wechat.ComponentTokenParam && account.IsVirtualToken(token):
		return wechat.Platform, true // it is to be refused, so that the SDK asks for another
	default:
		return nil, claims != nil
	}
}

// meansPlatform reports whether a request that neither a name nor a token tells
// anything of means a platform, or an account that has authorised one.
func (g *Gateway) meansPlatform(req *http.Request) bool {
	r := g.Registry
	switch {
	case len(r.platforms) == 0:
		return false
	case r.Accounts.Len() == 0:
		return true
	}
	route := wechat.Platform.Route(req.URL.Path)
	if route.TokenParam != "" {
		return true // here, appid is the merchant's
	}
	id, _ := wechat.QueryParam(req.URL.RawQuery, wechat.Platform.ID)
	switch {
	case id == "":
	case r.Accounts.WithID(id) != nil:
		return false
	case r.platformWithID(id) != nil:
		return true
	case wechat.Official.RouteOf(req.URL).Takes == wechat.TakesToken && !g.meansOtherKind(req):
		return true // whether it has authorised one is found out later
	}
	return route.Takes == wechat.TakesToken && route.Of == wechat.OfComponent
}

// meansOtherKind reports whether host, path or another's token show that a request
// means a kind of accounts without platforms.
func (g *Gateway) meansOtherKind(req *http.Request) bool {
	return slices.ContainsFunc(g.Registry.Accounts.Kinds(), func(k *wechat.Kind) bool {
		return k != wechat.Official && (isAtHost(k, req) || hasPathAlone(k, req) || hasForeignToken(k, req))
	})
}
