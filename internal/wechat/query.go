package wechat

import (
	"iter"
	"net/url"
	"strings"
)

// SetQueryParam returns rawQuery with the parameter name set to escapedValue:
// wherever and however often it stands, in whatever spelling, or else at the
// end. All other bytes stay as they are.
func SetQueryParam(rawQuery, name, escapedValue string) string {
	var b strings.Builder
	found := false
	for rest, more := rawQuery, true; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		if isParam(pair, name) {
			if !found {
				b.Grow(len(rawQuery) + len(name) + len(escapedValue) + 2)
				b.WriteString(rawQuery[:len(rawQuery)-len(pair)-len(rest)-separator(more)])
				found = true
			}
			b.WriteString(name)
			b.WriteByte('=')
			b.WriteString(escapedValue)
		} else if found {
			b.WriteString(pair)
		}
		if found && more {
			b.WriteByte('&')
		}
	}
	if found {
		return b.String()
	}
	if rawQuery == "" {
		return name + "=" + escapedValue
	}
	return rawQuery + "&" + name + "=" + escapedValue
}

// QueryParam returns the first value of a parameter, and whether there is one.
func QueryParam(rawQuery, name string) (string, bool) {
	for value := range QueryParams(rawQuery, name) {
		return value, true
	}
	return "", false
}

// QueryParams returns all values of a parameter, in whatever spelling its name
// is. A value that cannot be unescaped is returned as it is.
func QueryParams(rawQuery, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for pair := range strings.SplitSeq(rawQuery, "&") {
			if !isParam(pair, name) {
				continue
			}
			_, value, _ := strings.Cut(pair, "=")
			if unescaped, err := url.QueryUnescape(value); err == nil {
				value = unescaped
			}
			if !yield(value) {
				return
			}
		}
	}
}

// isParam says whether a pair of a query has the given name in any spelling.
func isParam(pair, name string) bool {
	key, _, _ := strings.Cut(pair, "=")
	if key == name {
		return true
	}
	if !strings.Contains(key, "%") {
		return false
	}
	unescaped, err := url.QueryUnescape(key)
	return err == nil && unescaped == name
}

func separator(present bool) int {
	if present {
		return 1
	}
	return 0
}
