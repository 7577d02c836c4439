package wechat

import (
	"bytes"
	"slices"
	"strings"
)

// view is a text with its escapes removed. It knows where each of its bytes
// stood in the text it was made from.
type view struct {
	text []byte
	at   []int // with one more element, for the end; nil where nothing has moved
}

// origin returns where the byte at i stood.
func (v *view) origin(i int) int {
	if v.at == nil {
		return i
	}
	return v.at[i]
}

// unescape returns the view without one kind of escapes: those with '%', as in
// URLs, or those with '\\', as in JSON. What is no escape of an ASCII character
// stays.
func (v *view) unescape(escape byte) view {
	out := view{make([]byte, 0, len(v.text)), make([]int, 0, len(v.text)+1)}
	for i := 0; i < len(v.text); {
		c, length := v.text[i], 1
		if c == escape {
			c, length = unescapeOne(v.text[i:])
		}
		out.text, out.at = append(out.text, c), append(out.at, v.origin(i))
		i += length
	}
	out.at = append(out.at, v.origin(len(v.text)))
	return out
}

// appendUnescaped appends what unescape would make of a text.
func appendUnescaped(out, text []byte, escape byte) []byte {
	for {
		i := bytes.IndexByte(text, escape)
		if i < 0 {
			return append(out, text...)
		}
		c, length := unescapeOne(text[i:])
		out = append(append(out, text[:i]...), c)
		text = text[i+length:]
	}
}

// unescapeOne returns the character that an escape stands for, and the escape's
// length.
func unescapeOne(text []byte) (byte, int) {
	switch {
	case text[0] == '%' && len(text) >= 3:
		if c, ok := unhex(text[1:3]); ok && c < 0x80 {
			return c, 3
		}
	case text[0] == '\\' && len(text) >= 6 && text[1] == 'u' && text[2] == '0' && text[3] == '0':
		if c, ok := unhex(text[4:6]); ok && c < 0x80 {
			return c, 6
		}
	case text[0] == '\\' && len(text) >= 2 && (text[1] == '/' || text[1] == '\\' || text[1] == '"' || text[1] == '\''):
		return text[1], 2
	}
	return text[0], 1
}

func unhex(digits []byte) (byte, bool) {
	var n byte
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | (c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | (c | 0x20 - 'a' + 10)
		default:
			return 0, false
		}
	}
	return n, true
}

// span is a part of a text.
type span struct{ start, end int }

// replace returns a text with the secrets replaced, by as many characters if the
// length has to stay.
func (r *Redactor) replace(text []byte, sameLength bool) []byte {
	spans := r.find(nil, view{text: text}, maxEscaping)
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	out, done := make([]byte, 0, len(text)), 0
	for _, s := range merged(spans) {
		out = append(append(out, text[done:s.start]...), replacement(s, sameLength)...)
		done = s.end
	}
	return append(out, text[done:]...)
}

// merged returns spans without overlaps. They are sorted by their start.
func merged(spans []span) []span {
	out := spans[:1]
	for _, s := range spans[1:] {
		if last := &out[len(out)-1]; s.start < last.end {
			last.end = max(last.end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}

// replacement returns what stands in place of a secret.
func replacement(s span, sameLength bool) string {
	n := s.end - s.start
	switch {
	case !sameLength:
		return redactedText
	case n <= len(redactedText):
		return redactedText[:n]
	}
	return redactedText + strings.Repeat("*", n-len(redactedText))
}

// find appends where the secrets are in a view, and in what its escapes stand
// for.
func (r *Redactor) find(spans []span, v view, depth int) []span {
	for i := range r.forms {
		spans = r.forms[i].find(spans, v)
	}
	for _, escape := range [...]byte{'%', '\\'} {
		if depth == 0 || bytes.IndexByte(v.text, escape) < 0 {
			continue
		}
		if unescaped := v.unescape(escape); len(unescaped.text) < len(v.text) {
			spans = r.find(spans, unescaped, depth-1)
		}
	}
	return spans
}

func (f *form) find(spans []span, v view) []span {
	for from := 0; ; {
		i := bytes.Index(v.text[from:], []byte(f.text))
		if i < 0 {
			return spans
		}
		start, end := from+i, from+i+len(f.text)
		from = end
		if f.openStart && start > 0 && isBase64(v.text[start-1]) {
			start--
		}
		if f.openEnd && end < len(v.text) && isBase64(v.text[end]) {
			end++
		}
		for f.base64 && end < len(v.text) && v.text[end] == '=' {
			end++
		}
		spans = append(spans, span{v.origin(start), v.origin(end)})
	}
}

func isBase64(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("+/-_", c) >= 0
}
