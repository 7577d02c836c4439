package wechat

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Errors of CheckPath.
var (
	ErrPathRelative  = errors.New("the path does not begin with a slash")
	ErrPathDots      = errors.New("the path has a dot segment")
	ErrPathBegins    = errors.New("the path has two slashes at its beginning: the base URL probably ends with a slash, so write it without one, such as http://127.0.0.1:8080")
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
