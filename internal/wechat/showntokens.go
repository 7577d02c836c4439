package wechat

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ShownTokens are the tokens of an account, as an answer shows them. What it does
// not show is empty.
type ShownTokens struct {
	AppID        string
	AccessToken  string
	RefreshToken string
	ExpiresIn    time.Duration // of AccessToken
}

// String returns the AppID alone, so that no log line shows a token.
func (t ShownTokens) String() string { return t.AppID }

// GoString returns the AppID alone as well.
func (t ShownTokens) GoString() string { return t.AppID }

// ErrTokensUnclear is that it cannot be told for sure which tokens an answer shows,
// or whose they are.
var ErrTokensUnclear = errors.New("the answer is no JSON of the documented form")

// MaxAppID is how long an AppID may be.
const MaxAppID = 64

// IsAppID reports whether a text can be an AppID.
func IsAppID(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return text != "" && len(text) <= MaxAppID
}

// ReplaceTokens returns an answer, a JSON object, with what replace returns in place
// of the tokens that it shows, wherever and however often they stand. All other
// bytes stay as they are. replace is called once for each object that has tokens.
func ReplaceTokens(answer []byte, replace func(ShownTokens) ShownTokens) ([]byte, error) {
	text := bytes.TrimPrefix(answer, []byte("\ufeff"))
	r := tokenReader{text: text}
	r.space()
	if r.peek() != '{' || !r.value(nil, 0) {
		return nil, ErrTokensUnclear
	}
	if r.space(); r.at < len(text) {
		return nil, ErrTokensUnclear
	}
	if len(r.found) == 0 {
		return answer, nil
	}
	edits, err := r.edits(replace)
	if err != nil {
		return nil, err
	}
	out, done := slices.Clone(answer[:len(answer)-len(text)]), 0
	for _, e := range edits {
		out = append(append(out, text[done:e.start]...), e.text...)
		done = e.end
	}
	return append(out, text[done:]...), nil
}

// edit is a part of a text with what comes in its place.
type edit struct {
	span
	text []byte
}

// edits returns what has to be replaced, in its order.
func (r *tokenReader) edits(replace func(ShownTokens) ShownTokens) ([]edit, error) {
	var edits []edit
	for _, o := range r.found {
		shown := o.shown
		if shown.AppID = o.appID(); !IsAppID(shown.AppID) {
			return nil, ErrTokensUnclear
		}
		by := replace(shown)
		for _, f := range o.fields {
			text := by.RefreshToken
			if f.isAccess {
				text = by.AccessToken
			}
			if text == f.value {
				continue
			}
			// Encoding a string cannot fail.
			quoted, _ := json.Marshal(text)
			edits = append(edits, edit{f.span, quoted})
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	return edits, nil
}

// tokenObject is an object of an answer, as far as it is about tokens.
type tokenObject struct {
	outer  *tokenObject
	shown  ShownTokens
	fields []tokenField
}

// tokenField is a member of an object whose value is a token.
type tokenField struct {
	span
	value    string
	isAccess bool
}

// appID returns whose tokens the object has: it says so itself, or what it is in.
func (o *tokenObject) appID() string {
	for ; o != nil; o = o.outer {
		if o.shown.AppID != "" {
			return o.shown.AppID
		}
	}
	return ""
}

// tokenReader reads an answer. It is strict about the structure, so that it sees
// what every other reader sees, and not about what stands in strings: WeChat has
// names in them that users have chosen.
type tokenReader struct {
	text  []byte
	at    int
	found []*tokenObject // those that have tokens
}

// maxTokenDepth bounds how deep the objects and lists of an answer may lie.
const maxTokenDepth = 64

// peek returns the next byte, or 0 at the end.
func (r *tokenReader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

// take reports whether the next byte is c, and goes on to what follows it.
func (r *tokenReader) take(c byte) bool {
	if r.at >= len(r.text) || r.text[r.at] != c {
		return false
	}
	r.at++
	r.space()
	return true
}

func (r *tokenReader) space() {
	for r.at < len(r.text) && isSpace(r.text[r.at]) {
		r.at++
	}
}

// value passes over a value in an object, and reports whether it is well-formed.
func (r *tokenReader) value(in *tokenObject, depth int) bool {
	if depth > maxTokenDepth {
		return false
	}
	switch r.peek() {
	case '{':
		return r.object(in, depth)
	case '[':
		return r.list(in, depth)
	case '"':
		_, ok := r.str()
		return ok
	default:
		return r.literal()
	}
}

func (r *tokenReader) object(outer *tokenObject, depth int) bool {
	o := &tokenObject{outer: outer}
	r.take('{')
	for first := true; !r.take('}'); first = false {
		if !first && !r.take(',') || !r.member(o, depth) {
			return false
		}
	}
	if len(o.fields) > 0 {
		r.found = append(r.found, o)
	}
	return true
}

func (r *tokenReader) list(in *tokenObject, depth int) bool {
	r.take('[')
	for first := true; !r.take(']'); first = false {
		if !first && !r.take(',') || !r.value(in, depth+1) {
			return false
		}
		r.space()
	}
	return true
}

// member reads a member of an object.
func (r *tokenReader) member(o *tokenObject, depth int) bool {
	if r.peek() != '"' {
		return false
	}
	quoted, ok := r.str()
	name, plain := unquote(quoted)
	if r.space(); !ok || !plain || !r.take(':') {
		return false
	}
	start := r.at
	if !r.value(o, depth+1) {
		return false
	}
	value := span{start, r.at}
	r.space()
	return o.note(name, value, r.text[start:value.end])
}

// note takes in a member of the object if it is about tokens. It reports whether
// what it says is clear. Readers of JSON differ about the case of names, and about
// which of two members of a name counts.
func (o *tokenObject) note(name string, at span, raw []byte) bool {
	isName := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	switch {
	case isName(authorizerAppID):
		id, ok := unquote(raw)
		differs := o.shown.AppID != "" && o.shown.AppID != id
		o.shown.AppID = id
		return ok && !differs
	case isName("expires_in"):
		o.shown.ExpiresIn = secondsOf(raw)
	case isName(AuthorizerToken.TokenMember):
		return o.noteToken(at, raw, true, &o.shown.AccessToken)
	case isName(AuthorizerToken.RefreshMember, "refresh_token"):
		return o.noteToken(at, raw, false, &o.shown.RefreshToken)
	}
	return true
}

// noteToken takes in a token. None has been made yet where it is empty.
func (o *tokenObject) noteToken(at span, raw []byte, isAccess bool, shown *string) bool {
	if string(raw) == "null" || string(raw) == `""` {
		return true
	}
	value, ok := unquote(raw)
	if !ok {
		return false
	}
	*shown = value
	o.fields = append(o.fields, tokenField{at, value, isAccess})
	return true
}

// secondsOf returns a lifetime, which may be a number or text; 0 is none.
func secondsOf(raw []byte) time.Duration {
	seconds, err := strconv.ParseFloat(string(bytes.Trim(raw, `"`)), 64)
	if err != nil || !(seconds >= 1 && seconds <= 365*24*3600) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// str passes over a string, and returns it with its quotes.
func (r *tokenReader) str() ([]byte, bool) {
	start := r.at
	for i := start + 1; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case '"':
			r.at = i + 1
			return r.text[start:r.at], true
		}
	}
	return nil, false
}

// unquote returns the value of a string, and reports whether it is one that all
// readers understand alike.
func unquote(raw []byte) (string, bool) {
	var value string
	if len(raw) < 2 || raw[0] != '"' || json.Unmarshal(raw, &value) != nil {
		return "", false
	}
	return value, true
}

// literal passes over a number, or true, false or null.
func (r *tokenReader) literal() bool {
	end := r.at
	for end < len(r.text) && strings.IndexByte(",}] \t\r\n", r.text[end]) < 0 {
		end++
	}
	literal := r.text[r.at:end]
	r.at = end
	return json.Valid(literal)
}
