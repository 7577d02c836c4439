package wechat

import (
	"net/url"
	"slices"
	"strings"
)

// Takes is which credential the API at a path takes.
type Takes uint8

const (
	// TakesToken paths take the account's token.
	TakesToken Takes = iota
	// TakesTokenRequest paths hand out the account's token.
	TakesTokenRequest
	// TakesSecret paths take the account's identity and secret in place of a
	// token, and most a code that is good for one use.
	TakesSecret
	// TakesUserToken paths take a user's own token, or the refresh token for it.
	TakesUserToken
	// TakesComponentToken paths take a third-party platform's token.
	TakesComponentToken
	// TakesOwn paths take a credential that the request brings with it and that
	// is none of the account's: a group robot's key, say.
	TakesOwn
)

// TokenOwner is whose token a path takes where accounts have authorised a
// platform.
type TokenOwner uint8

const (
	// OfAuthorizer is the token of the account that the request is about. Kinds
	// without platforms know no other.
	OfAuthorizer TokenOwner = iota
	// OfComponent is the platform's own.
	OfComponent
	// OfEither is that of whoever owns what the request is about.
	OfEither
)

// Route is a path whose API takes something else than the account's token.
type Route struct {
	// Path is a path, or the beginning of paths if it ends with a slash and a
	// star. It is in lower case.
	Path string

	Takes Takes

	// Of is whose token a TakesToken path takes.
	Of TokenOwner

	// TokenParam is the only parameter in which a TakesToken path takes the token;
	// "" is the kind's, or any of the kind's.
	TokenParam string

	// SecretParam is the parameter that takes the secret at a TakesSecret path, and
	// IDParam that for the identity; "" is the kind's ID. JSON is whether they have to
	// be in a body of JSON.
	SecretParam, IDParam string
	JSON                 bool

	// Instead is the path to call in place of a TakesSecret path whose secret the
	// proxy has not.
	Instead string

	// Endpoint is what a TakesTokenRequest path is.
	Endpoint *TokenEndpoint
}

// takesToken is the route of all paths that are in no list.
var takesToken = &Route{Takes: TakesToken}

// Route returns what the API at a path takes that CheckPath has accepted. The
// path is the decoded one. A server that takes a path in another spelling takes
// the same credential.
func (k *Kind) Route(path string) *Route {
	path = strings.ToLower(path)
	if r, ok := k.exact[strings.TrimSuffix(path, "/")]; ok {
		return r
	}
	for _, r := range k.prefixes {
		if strings.HasPrefix(path, r.Path) {
			return r
		}
	}
	return takesToken
}

var (
	takesOwn            = &Route{Takes: TakesOwn}
	takesComponentToken = &Route{Takes: TakesComponentToken}
)

// componentToken is the parameter with a third-party platform's token.
const componentToken = "component_access_token"

// RouteOf returns what a request takes: what its path takes, unless its query has
// a credential of somebody else's, beside which nothing is to be put.
func (k *Kind) RouteOf(u *url.URL) *Route {
	r := k.Route(u.Path)
	if r.Takes != TakesToken && r.Takes != TakesSecret || !mayHaveForeignToken(u.RawQuery) {
		return r
	}
	if !slices.Contains(k.MoreTokenParams, componentToken) && HasQueryParam(u.RawQuery, componentToken) {
		return takesComponentToken
	}
	if slices.ContainsFunc(Kinds, func(k *Kind) bool { return k.HasForeignToken(u.RawQuery) }) {
		return takesOwn
	}
	return r
}

// HasForeignToken reports whether a query has a token that only the kind's API
// takes, and that is none of an account's.
func (k *Kind) HasForeignToken(rawQuery string) bool {
	return mayHaveForeignToken(rawQuery) && slices.ContainsFunc(k.ForeignTokens, func(name string) bool { return HasQueryParam(rawQuery, name) })
}

// mayHaveForeignToken tells most queries apart at little cost. A name may be
// escaped.
func mayHaveForeignToken(rawQuery string) bool {
	return strings.Contains(rawQuery, "_access_token=") || strings.Contains(rawQuery, "%")
}

// HasQueryParam reports whether a parameter is there and not empty.
func HasQueryParam(rawQuery, name string) bool {
	for value := range QueryParams(rawQuery, name) {
		if value != "" {
			return true
		}
	}
	return false
}

// Indexed prepares a kind whose facts are all there for look-ups. It returns it.
func (k *Kind) Indexed() *Kind {
	k.tokenParams = slices.Insert(slices.Clone(k.MoreTokenParams), 0, k.TokenParam)
	k.exact = make(map[string]*Route, len(k.Routes)+len(k.TokenEndpoints))
	for _, e := range k.TokenEndpoints {
		k.exact[e.Path] = &Route{Path: e.Path, Takes: TakesTokenRequest, Endpoint: e}
	}
	for i := range k.Routes {
		r := k.Routes[i]
		if prefix, ok := strings.CutSuffix(r.Path, "*"); ok {
			r.Path = prefix
			k.prefixes = append(k.prefixes, &r)
			continue
		}
		k.exact[r.Path] = &r
	}
	return k
}

// routes returns routes of paths that all take the same.
func routes(takes Takes, paths ...string) []Route {
	list := make([]Route, len(paths))
	for i, path := range paths {
		list[i] = Route{Path: path, Takes: takes}
	}
	return list
}

// HasAlone reports whether no other kind has the API at a path.
func (k *Kind) HasAlone(path string) bool {
	path = strings.ToLower(path)
	exact := strings.TrimSuffix(path, "/")
	return slices.ContainsFunc(k.Families, func(family string) bool {
		return exact == family || strings.HasSuffix(family, "/") && strings.HasPrefix(path, family)
	})
}
