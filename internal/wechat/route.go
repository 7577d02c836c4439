package wechat

import "strings"

// Takes says which credential the API at a path takes.
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

// Route says what the API at a path takes, where that is not the account's token.
type Route struct {
	// Path is a path, or the beginning of paths if it ends with a slash and a
	// star. It is in lower case.
	Path string

	Takes Takes

	// SecretParam is the parameter that takes the secret at a TakesSecret path.
	SecretParam string

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

// index prepares the look-up of routes, the token endpoints' among them.
func (k *Kind) index() *Kind {
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

// KindOfPath returns the kind that alone has the API at a path, or nil where
// several have it or it is not known.
func KindOfPath(path string) *Kind {
	path = strings.ToLower(path)
	for _, k := range Kinds {
		for _, family := range k.Families {
			if strings.HasSuffix(family, "/") && strings.HasPrefix(path, family) || strings.TrimSuffix(path, "/") == family {
				return k
			}
		}
	}
	return nil
}

// ownCredentials are query parameters that carry a credential which is none of
// an account's. Nothing is injected beside it.
var ownCredentials = [...]string{
	"component_access_token", "suite_access_token", "provider_access_token",
	"model_access_token", "device_access_token", "cloudbase_access_token",
}

// OwnCredential returns the query parameter by which a request brings a
// credential of its own, or "".
func OwnCredential(rawQuery string) string {
	if !strings.Contains(rawQuery, "access_token") && !strings.Contains(rawQuery, "%") {
		return ""
	}
	for _, name := range ownCredentials {
		if _, ok := QueryParam(rawQuery, name); ok {
			return name
		}
	}
	return ""
}
