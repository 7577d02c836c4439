package wechat

import (
	"bytes"
	"strings"
)

// ErrmsgOf returns the errmsg of an answer, as it is written there. It may be
// the beginning of one.
func ErrmsgOf(answer []byte) string {
	_, rest, ok := bytes.Cut(answer, []byte(`"errmsg"`))
	if !ok {
		return ""
	}
	s := scanner{rest: rest}
	if c, _ := s.next(); c != ':' {
		return ""
	}
	if c, _ := s.next(); c != '"' {
		return ""
	}
	rest = s.rest
	errmsg, ok := s.str()
	if !ok {
		return string(rest)
	}
	return string(errmsg)
}

// RIDOf returns the request ID that WeChat puts at the end of an errmsg, by
// which its support finds a request, or "".
func RIDOf(errmsg string) string {
	const mark, longest = "rid: ", 64
	i := strings.LastIndex(errmsg, mark)
	if i < 0 || i > 0 && errmsg[i-1] != ' ' {
		return ""
	}
	rid := errmsg[i+len(mark):]
	end := strings.IndexFunc(rid, func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if end >= 0 {
		rid = rid[:end]
	}
	if len(rid) > longest {
		return ""
	}
	return rid
}
