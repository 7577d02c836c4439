package wechat

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// PathKind says which credential the API at a path takes, by the platform's
// documentation.
type PathKind uint8

const (
	// AccountToken paths take the account's access_token. All paths do that
	// are of no other kind.
	AccountToken PathKind = iota
	// TokenEndpoint paths hand out the account's access_token:
	// /cgi-bin/token and /cgi-bin/stable_token.
	TokenEndpoint
	// AppSecret paths take appid and secret in place of a token:
	// /sns/jscode2session, /sns/oauth2/access_token, /cgi-bin/clear_quota/v2.
	// The first two also take a code that is good for one use.
	AppSecret
	// UserToken paths take a user's own token, or the refresh token for it:
	// /sns/userinfo, /sns/auth, /sns/oauth2/refresh_token.
	UserToken
	// ComponentToken paths take a third-party platform's
	// component_access_token: everything below /cgi-bin/component/,
	// /wxa/component/, /sns/component/ and /sns/oauth2/component/.
	ComponentToken
)

// KindOf returns the kind of a path that CheckPath has accepted. The path is
// the decoded one.
func KindOf(path string) PathKind {
	// A server that takes a path in another spelling takes the same credential.
	path = strings.ToLower(path)
	switch strings.TrimSuffix(path, "/") {
	case "/cgi-bin/token", "/cgi-bin/stable_token":
		return TokenEndpoint
	case "/sns/jscode2session", "/sns/oauth2/access_token", "/cgi-bin/clear_quota/v2":
		return AppSecret
	case "/sns/userinfo", "/sns/auth", "/sns/oauth2/refresh_token":
		return UserToken
	}
	for _, prefix := range componentPrefixes {
		if strings.HasPrefix(path, prefix) {
			return ComponentToken
		}
	}
	return AccountToken
}

// IsStableToken says which of the two token endpoints a TokenEndpoint path is.
func IsStableToken(path string) bool {
	return strings.HasPrefix(strings.ToLower(path), "/cgi-bin/stable_token")
}

// SecretParameter returns the name of the parameter that takes the AppSecret at
// an AppSecret path.
func SecretParameter(path string) string {
	if strings.HasPrefix(strings.ToLower(path), "/cgi-bin/clear_quota/v2") {
		return "appsecret"
	}
	return "secret"
}

var componentPrefixes = [...]string{
	"/cgi-bin/component/", "/wxa/component/", "/sns/component/", "/sns/oauth2/component/",
}

// Errors of CheckPath.
var (
	ErrPathRelative  = errors.New("the path does not begin with a slash")
	ErrPathDots      = errors.New("the path has a dot segment")
	ErrPathBegins    = errors.New("the path begins with two slashes: the base URL probably ends with a slash, so write it without one, such as http://127.0.0.1:8080")
	ErrPathSlashes   = errors.New("the path has a doubled slash")
	ErrPathEncoded   = errors.New("the path has an encoded slash, backslash or percent sign")
	ErrPathCharacter = errors.New("the path has a character that servers disagree about, such as a backslash or a semicolon")
)

// CheckPath refuses paths that servers disagree about, so that no spelling of a
// path is of one kind here and of another at WeChat.
func CheckPath(u *url.URL) error {
	path := u.Path
	if path == "" || path[0] != '/' {
		return ErrPathRelative
	}
	if !utf8.ValidString(path) {
		return ErrPathCharacter
	}
	if u.RawPath != "" {
		if err := checkEscapes(u.RawPath); err != nil {
			return err
		}
	}
	segment := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			// A semicolon begins a path parameter, which some servers cut off.
			if c := path[i]; c < 0x20 || c == 0x7f || c == '\\' || c == ';' || c == '?' || c == '#' {
				return ErrPathCharacter
			}
			continue
		}
		switch path[segment:i] {
		case "":
			switch {
			case i == len(path):
			case i == 1:
				return ErrPathBegins
			default:
				return ErrPathSlashes
			}
		case ".", "..":
			return ErrPathDots
		}
		segment = i + 1
	}
	if strings.Contains(path, "%") {
		return ErrPathEncoded
	}
	return nil
}

func checkEscapes(rawPath string) error {
	for rest := rawPath; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			return nil
		}
		if len(after) < 2 {
			return ErrPathEncoded
		}
		switch strings.ToLower(after[:2]) {
		case "2f", "5c", "25":
			return ErrPathEncoded
		}
		rest = after[2:]
	}
}
