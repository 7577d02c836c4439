package wechat

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// redactedText is what stands in place of a secret.
const redactedText = "REDACTED"

// Redactor removes secrets from what leaves the proxy, in whatever dress they
// come back: as they are, escaped as in a URL or in JSON (or one in the other),
// in base64, alone or as a part of something longer.
//
// Nearly all texts hold none, and a Redactor finds that out without reading all
// of them. An occurrence has as many characters as the shortest form at least.
// So at distances that no such run of characters fits between, groups of four
// characters are looked at, and whether they stand in the beginning of any form.
type Redactor struct {
	forms    []form
	shortest int
	groups   [groupBits / 64]uint64 // a set of hashes
}

// form is one way to write a secret, before anything is escaped.
type form struct {
	text string

	// A secret in base64 may begin and end in the middle of a character.
	openStart, openEnd, base64 bool
}

const (
	groupLength = 4
	groupBits   = 1 << 13

	// shortestSecret bounds what counts as a secret: what is shorter would be
	// found in texts that have nothing to do with it.
	shortestSecret = 6
)

// NewRedactor returns a Redactor of some secrets. Those that are too short to be
// any are left out.
func NewRedactor(secrets ...string) *Redactor {
	r := new(Redactor)
	for _, secret := range secrets {
		if len(secret) >= shortestSecret {
			r.addSecret(secret)
		}
	}
	for _, f := range r.forms {
		if r.shortest == 0 || len(f.text) < r.shortest {
			r.shortest = len(f.text)
		}
	}
	for _, f := range r.forms {
		for i := range r.step() {
			group := hashGroup(f.text, i)
			r.groups[group/64] |= 1 << (group % 64)
		}
	}
	return r
}

func (r *Redactor) addSecret(secret string) {
	r.addForm(form{text: secret})
	if strings.Contains(secret, " ") {
		r.addForm(form{text: strings.ReplaceAll(secret, " ", "+")}) // in a query
	}
	r.addBase64(secret)
	if escaped := url.QueryEscape(secret); escaped != secret {
		r.addBase64(escaped) // as OAuth does it
	}
}

// addBase64 adds what is the same in base64 whatever stands before and after the
// secret.
func (r *Redactor) addBase64(secret string) {
	for before := range 3 {
		raw := append(make([]byte, before, before+len(secret)+2), secret...)
		bits := 8 * len(raw)
		first, end := (8*before+5)/6, bits/6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			r.addForm(form{
				text:   encoding.EncodeToString(raw)[first:end],
				base64: true, openStart: before > 0, openEnd: bits%6 != 0,
			})
		}
	}
}

func (r *Redactor) addForm(f form) {
	if !slices.Contains(r.forms, f) {
		r.forms = append(r.forms, f)
	}
}

// step returns how far apart the groups are that are looked at.
func (r *Redactor) step() int { return r.shortest - groupLength + 1 }

func hashGroup[T ~string | ~[]byte](text T, i int) uint32 {
	group := uint32(text[i]) | uint32(text[i+1])<<8 | uint32(text[i+2])<<16 | uint32(text[i+3])<<24
	return group * 0x9e3779b1 >> 19
}

func hasGroup[T ~string | ~[]byte](r *Redactor, text T, i int) bool {
	group := hashGroup(text, i)
	return r.groups[group/64]&(1<<(group%64)) != 0
}

// suspects reports whether a form may stand in a text as it is.
func suspects[T ~string | ~[]byte](r *Redactor, text T) bool {
	step := r.step()
	for i := step - 1; i+groupLength <= len(text); i += step {
		if hasGroup(r, text, i) && suspectsAround(r, text, i) {
			return true
		}
	}
	return false
}

// suspectsAround reports whether so many groups stand next to one another as
// the beginning of a form has.
func suspectsAround[T ~string | ~[]byte](r *Redactor, text T, i int) bool {
	run, step := 1, r.step()
	for at := i - 1; at >= 0 && run < step && hasGroup(r, text, at); at-- {
		run++
	}
	for at := i + 1; at+groupLength <= len(text) && run < step && hasGroup(r, text, at); at++ {
		run++
	}
	return run >= step
}

// String returns a text without the secrets.
func (r *Redactor) String(text string) string {
	if r == nil || r.shortest == 0 || len(text) < r.shortest {
		return text
	}
	escaped := strings.IndexByte(text, '%') >= 0 || strings.IndexByte(text, '\\') >= 0
	if !mayHold(r, text, escaped) {
		return text
	}
	return string(r.replace([]byte(text), false))
}

// Bytes returns a text without the secrets: the text itself if there are none.
func (r *Redactor) Bytes(text []byte) []byte {
	if r == nil || r.shortest == 0 || len(text) < r.shortest {
		return text
	}
	escaped := bytes.IndexByte(text, '%') >= 0 || bytes.IndexByte(text, '\\') >= 0
	if !mayHold(r, text, escaped) {
		return text
	}
	return r.replace(text, false)
}

// sameLength returns a text without the secrets that is as long: the text itself
// if there are none.
func (r *Redactor) sameLength(text []byte) []byte {
	escaped := bytes.IndexByte(text, '%') >= 0 || bytes.IndexByte(text, '\\') >= 0
	if len(text) < r.shortest || !mayHold(r, text, escaped) {
		return text
	}
	return r.replace(text, true)
}

// Header removes the secrets from a header's values.
func (r *Redactor) Header(h http.Header) {
	for _, values := range h {
		for i, value := range values {
			if text := r.String(value); len(text) != len(value) || text != value {
				values[i] = text
			}
		}
	}
}

// Redact returns a text without a secret, however short that is.
func Redact(text, secret string) string {
	if secret == "" {
		return text
	}
	if len(secret) < shortestSecret {
		text = strings.ReplaceAll(text, secret, redactedText)
		return strings.ReplaceAll(text, url.QueryEscape(secret), redactedText)
	}
	return NewRedactor(secret).String(text)
}

// maxEscaping is how many times over a secret may be escaped, as in JSON that
// holds a URL which holds another.
const maxEscaping = 3

// mayHold reports whether a secret may be in a text, escaped or not.
func mayHold[T ~string | ~[]byte](r *Redactor, text T, escaped bool) bool {
	if suspects(r, text) {
		return true
	}
	if !escaped {
		return false
	}
	buf := viewBuffers.Get().(*[]byte)
	defer viewBuffers.Put(buf)
	*buf = append((*buf)[:0], text...)
	return r.mayHoldEscaped(*buf, maxEscaping)
}

var viewBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (r *Redactor) mayHoldEscaped(text []byte, depth int) bool {
	for _, escape := range [...]byte{'%', '\\'} {
		if depth == 0 || bytes.IndexByte(text, escape) < 0 {
			continue
		}
		buf := viewBuffers.Get().(*[]byte)
		decoded := appendUnescaped((*buf)[:0], text, escape)
		found := len(decoded) < len(text) && (suspects(r, decoded) || r.mayHoldEscaped(decoded, depth-1))
		*buf = decoded
		viewBuffers.Put(buf)
		if found {
			return true
		}
	}
	return false
}
