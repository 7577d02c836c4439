package wechat

import (
	"bytes"
	"slices"
)

// shortestTail is how much of a secret has to be there for the rest to be
// awaited.
const shortestTail = 4

// contextLength is how long a beginning may be that does not wait: every
// character may be escaped, and the last escape cut off.
const contextLength = shortestTail * len(`\u00ff`)

// RedactedStream is a text that comes in pieces and goes on without secrets, and
// with the length that it had.
type RedactedStream struct {
	redactor *Redactor
	context  []byte // the last of what has gone on
	held     []byte // may be the beginning of a secret
}

// Stream returns the beginning of a text.
func (r *Redactor) Stream() *RedactedStream { return &RedactedStream{redactor: r} }

// Next returns what can go on now that the next piece is here. What may be the
// beginning of a secret waits for the piece after it, unless this is the last.
// So little of one that it is there by chance does not wait. The beginning of an
// escape of JSON does: if a secret that is written in escapes were replaced from
// the middle of one on, what is left would be no JSON any more.
func (s *RedactedStream) Next(piece []byte, last bool) []byte {
	if s.redactor == nil || s.redactor.shortest == 0 {
		return piece
	}
	gone := len(s.context)
	text := s.redactor.sameLength(slices.Concat(s.context, s.held, piece))
	end := len(text)
	if !last {
		end = max(min(s.redactor.tail(view{text: text}, maxEscaping), jsonEscapesEnd(text)), gone)
	}
	s.held = slices.Clone(text[end:])
	s.context = slices.Clone(text[max(0, end-contextLength):end])
	return text[gone:end]
}

// tail returns where the earliest such beginning stands, or the end.
func (r *Redactor) tail(v view, depth int) int {
	start := len(v.text)
	complete := withoutCutEscape(v.text)
	for i := range r.forms {
		if n := r.forms[i].beginsAtEnd(complete); n > 0 {
			start = min(start, len(complete)-n)
		}
	}
	origin := v.origin(start)
	for _, escape := range [...]byte{'%', '\\'} {
		if depth == 0 || bytes.IndexByte(v.text, escape) < 0 {
			continue
		}
		if unescaped := v.unescape(escape); len(unescaped.text) < len(v.text) {
			origin = min(origin, r.tail(unescaped, depth-1))
		}
	}
	return origin
}

// withoutCutEscape returns a text without an escape at its end that has not come
// to its own end yet, and without the one that this may be a part of.
func withoutCutEscape(text []byte) []byte {
	for {
		i := cutEscape(text)
		if i < 0 {
			return text
		}
		text = text[:i]
	}
}

// cutEscape returns where such an escape begins, or -1.
func cutEscape(text []byte) int {
	const longest = len(`\u00f`)
	for i := len(text) - 1; i >= 0 && i >= len(text)-longest; i-- {
		rest := len(text) - i
		if text[i] == '%' && rest < 3 || text[i] == '\\' && (rest == 1 || text[i+1] == 'u') {
			return i
		}
	}
	return -1
}

// jsonEscapesEnd returns where an escape of JSON begins that has not come to its
// end, or else the end of the text.
func jsonEscapesEnd(text []byte) int {
	const whole = len(`\u00ff`)
	i := bytes.LastIndexByte(text, '\\')
	if i < 0 || len(text)-i >= whole || isEscaped(text[:i]) {
		return len(text)
	}
	if i == len(text)-1 || text[i+1] == 'u' {
		return i
	}
	return len(text)
}

// beginsAtEnd returns how much of the form stands at the end of a text, where
// that is not all of it.
func (f *form) beginsAtEnd(text []byte) int {
	for n := min(len(f.text)-1, len(text)); n >= shortestTail; n-- {
		if text[len(text)-1] == f.text[n-1] && string(text[len(text)-n:]) == f.text[:n] {
			return n
		}
	}
	return 0
}
