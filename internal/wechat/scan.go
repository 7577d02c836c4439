package wechat

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// ScanResult is what the beginning of a JSON answer says about its errcode.
type ScanResult uint8

const (
	// ScanMore means that the errcode may stand in the bytes still to come.
	ScanMore ScanResult = iota
	// ScanUnlikely means the same, but that the object begins with another
	// member than WeChat's errors do.
	ScanUnlikely
	// ScanFound means that the errcode is known.
	ScanFound
	// ScanNone means that there is none, whatever follows.
	ScanNone
)

// ScanErrcode looks for the errcode of an answer in its beginning. The errcode
// is a member of the outermost object, or of its member base_resp, in which the
// old device APIs have it. It may be written as a number or as text, and as any
// number that is an integer: 40001.0 is 40001. Of several the first counts. A
// byte order mark and white space may stand before the object. Only the
// structure that leads to the errcode is looked at: what follows may be anything.
func ScanErrcode(prefix []byte) (errcode int, result ScanResult) {
	rest, ok := afterBOM(prefix)
	if !ok {
		return 0, ScanMore
	}
	s := scanner{rest: rest, more: ScanMore}
	c, ok := s.next()
	if !ok {
		return 0, ScanMore
	}
	if c != '{' {
		return 0, ScanNone
	}
	return s.members(false)
}

// afterBOM returns what follows a byte order mark, if there is one. It reports
// false where that is still to come.
func afterBOM(prefix []byte) ([]byte, bool) {
	const bom = "\ufeff"
	if len(prefix) < len(bom) && bytes.HasPrefix([]byte(bom), prefix) {
		return nil, false
	}
	return bytes.TrimPrefix(prefix, []byte(bom)), true
}

// members looks for the errcode among the members of an object whose opening
// brace has been read. Inside of another object, ScanNone also tells that the
// object has ended.
func (s *scanner) members(nested bool) (errcode int, result ScanResult) {
	for first := true; ; first = false {
		key, result := s.key(first)
		if result != ScanFound {
			return 0, result
		}
		isErrcode, isWrapper := keyIs(key, "errcode"), !nested && keyIs(key, "base_resp")
		if first && !isErrcode && !isWrapper && !nested && !keyIs(key, "errmsg") {
			s.more = ScanUnlikely
		}
		if isErrcode {
			return s.errcode()
		}
		if isWrapper {
			if errcode, result, ok := s.wrapped(); ok {
				return errcode, result
			}
			continue
		}
		if result := s.skipValue(); result != ScanFound {
			return 0, result
		}
	}
}

// key reads a member's name and the colon after it. ScanNone tells that there
// is none: the object has ended, or is none.
func (s *scanner) key(first bool) ([]byte, ScanResult) {
	c, ok := s.next()
	if !ok {
		return nil, s.more
	}
	if c == '}' {
		s.ended = true
		return nil, ScanNone
	}
	if !first {
		if c != ',' {
			return nil, ScanNone
		}
		if c, ok = s.next(); !ok {
			return nil, s.more
		}
	}
	if c != '"' {
		return nil, ScanNone
	}
	key, ok := s.str()
	if !ok {
		return nil, s.more
	}
	if c, ok = s.next(); !ok {
		return nil, s.more
	}
	if c != ':' {
		return nil, ScanNone
	}
	return key, ScanFound
}

// keyIs reports whether a member's name, as it is written, is the given one.
func keyIs(key []byte, name string) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key) == name
	}
	const longest = 6 * len("base_resp") // where every character is escaped
	var decoded string
	return len(key) <= longest && json.Unmarshal(slices.Concat([]byte{'"'}, key, []byte{'"'}), &decoded) == nil && decoded == name
}

// wrapped looks for the errcode in the value of base_resp. It reports false
// where the value has ended without one.
func (s *scanner) wrapped() (errcode int, result ScanResult, ok bool) {
	s.skipSpace()
	if len(s.rest) == 0 {
		return 0, s.more, true
	}
	if s.rest[0] != '{' {
		result := s.skipValue()
		return 0, result, result != ScanFound
	}
	s.rest = s.rest[1:]
	errcode, result = s.members(true)
	if result == ScanNone && s.ended {
		s.ended = false
		return 0, ScanFound, false
	}
	return errcode, result, true
}

type scanner struct {
	rest  []byte
	more  ScanResult // what to answer where the bytes end
	ended bool       // the closing brace of an object was read
}

// next returns the next byte that is not white space.
func (s *scanner) next() (byte, bool) {
	s.skipSpace()
	if len(s.rest) == 0 {
		return 0, false
	}
	c := s.rest[0]
	s.rest = s.rest[1:]
	return c, true
}

func (s *scanner) skipSpace() {
	for len(s.rest) > 0 && isSpace(s.rest[0]) {
		s.rest = s.rest[1:]
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// str returns the bytes of a string whose opening quote has been read.
func (s *scanner) str() ([]byte, bool) {
	for end := 0; ; end++ {
		i := bytes.IndexByte(s.rest[end:], '"')
		if i < 0 {
			return nil, false
		}
		if end += i; isEscaped(s.rest[:end]) {
			continue
		}
		str := s.rest[:end]
		s.rest = s.rest[end+1:]
		return str, true
	}
}

// isEscaped reports whether the character after a part of a string is escaped.
func isEscaped(before []byte) bool {
	backslashes := 0
	for len(before) > backslashes && before[len(before)-1-backslashes] == '\\' {
		backslashes++
	}
	return backslashes%2 == 1
}

// maxErrcodeLength bounds the text of an errcode.
const maxErrcodeLength = 32

// errcode reads the errcode's value. It is known only once the byte after it is.
func (s *scanner) errcode() (int, ScanResult) {
	s.skipSpace()
	if len(s.rest) == 0 {
		return 0, s.more
	}
	text, isEnd := s.rest, endsNumber
	if s.rest[0] == '"' {
		text, isEnd = s.rest[1:], endsString
	} else if c := s.rest[0]; c != '-' && (c < '0' || c > '9') {
		return 0, ScanNone
	}
	switch end := slices.IndexFunc(text[:min(len(text), maxErrcodeLength+1)], isEnd); {
	case end >= 0:
		if n, ok := parseErrcode(text[:end]); ok {
			return n, ScanFound
		}
		return 0, ScanNone
	case len(text) > maxErrcodeLength:
		return 0, ScanNone
	}
	return 0, s.more
}

func endsNumber(c byte) bool { return c == ',' || c == '}' || isSpace(c) }
func endsString(c byte) bool { return c == '"' }

// parseErrcode parses a JSON number that is an integer of at most nine digits.
func parseErrcode(text []byte) (int, bool) {
	if n, ok := parseDigits(text); ok {
		return n, true
	}
	if !json.Valid(text) || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > maxErrcode {
		return 0, false
	}
	return int(f), true
}

const maxErrcode = 999_999_999

// parseDigits parses the form in which nearly every errcode comes.
func parseDigits(text []byte) (int, bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || len(digits) > len("999999999") {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

// skipValue passes over any value; ScanFound says that it has ended.
func (s *scanner) skipValue() ScanResult {
	c, ok := s.next()
	if !ok {
		return s.more
	}
	switch c {
	case '"':
		if _, ok := s.str(); !ok {
			return s.more
		}
		return ScanFound
	case '{', '[':
		return s.skipNested()
	case ',', '}', ']', ':':
		return ScanNone
	}
	end := slices.IndexFunc(s.rest, func(c byte) bool { return endsNumber(c) || c == ']' })
	if end < 0 {
		return s.more
	}
	s.rest = s.rest[end:]
	return ScanFound
}

// skipNested passes over an object or array whose opening has been read.
func (s *scanner) skipNested() ScanResult {
	for depth := 1; depth > 0; {
		if len(s.rest) == 0 {
			return s.more
		}
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			if _, ok := s.str(); !ok {
				return s.more
			}
		}
	}
	return ScanFound
}
