package wechat

import "bytes"

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
// counts only as a number and as a member of the outermost object, which has
// to begin with the first byte. Only the structure that leads there is looked
// at: what follows may be anything.
func ScanErrcode(prefix []byte) (errcode int, result ScanResult) {
	if len(prefix) == 0 {
		return 0, ScanMore
	}
	if prefix[0] != '{' {
		return 0, ScanNone
	}
	s := scanner{rest: prefix[1:], more: ScanMore}
	for first := true; ; first = false {
		c, ok := s.next()
		if !ok {
			return 0, s.more
		}
		if c == '}' {
			return 0, ScanNone
		}
		if !first {
			if c != ',' {
				return 0, ScanNone
			}
			if c, ok = s.next(); !ok {
				return 0, s.more
			}
		}
		if c != '"' {
			return 0, ScanNone
		}
		key, ok := s.str()
		if !ok {
			return 0, s.more
		}
		isErrcode := string(key) == "errcode"
		if first && !isErrcode && string(key) != "errmsg" {
			s.more = ScanUnlikely
		}
		if c, ok = s.next(); !ok {
			return 0, s.more
		}
		if c != ':' {
			return 0, ScanNone
		}
		if isErrcode {
			return s.number()
		}
		if result := s.skipValue(); result != ScanFound {
			return 0, result
		}
	}
}

type scanner struct {
	rest []byte
	more ScanResult // what to answer where the bytes end
}

// next returns the next byte that is not white space.
func (s *scanner) next() (byte, bool) {
	for i, c := range s.rest {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			s.rest = s.rest[i+1:]
			return c, true
		}
	}
	s.rest = nil
	return 0, false
}

// str returns the bytes of a string whose opening quote has been read.
func (s *scanner) str() ([]byte, bool) {
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '"':
			str := s.rest[:i]
			s.rest = s.rest[i+1:]
			return str, true
		}
	}
	return nil, false
}

// number reads the errcode, an integer of at most nine digits. It is known only
// once the byte after it is.
func (s *scanner) number() (int, ScanResult) {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	digits, negative := s.rest, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	n := 0
	for i, c := range digits {
		switch {
		case c >= '0' && c <= '9' && i < 9:
			n = n*10 + int(c-'0')
		case i > 0 && (c == ',' || c == '}' || c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			if negative {
				n = -n
			}
			return n, ScanFound
		default:
			return 0, ScanNone
		}
	}
	return 0, s.more
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
	end := bytes.IndexAny(s.rest, ",}] \t\r\n")
	if end < 0 {
		return s.more
	}
	s.rest = s.rest[end:]
	return ScanFound
}

// skipNested passes over an object or array whose opening has been read.
func (s *scanner) skipNested() ScanResult {
	for depth := 1; depth > 0; {
		i := bytes.IndexAny(s.rest, `{}[]"`)
		if i < 0 {
			return s.more
		}
		c := s.rest[i]
		s.rest = s.rest[i+1:]
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
