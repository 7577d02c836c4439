package apisecurity

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
)

// ErrNotObject is returned for a text that is no JSON object.
var ErrNotObject = errors.New("the body is no JSON object")

// object is a JSON object as it was written: its members in their order, with
// every digit, and those that are there twice.
type object []member

type member struct {
	name  string
	key   json.RawMessage // the name as it is written
	value json.RawMessage
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// parseObject parses a JSON object.
func parseObject(text []byte) (object, error) {
	text = bytes.TrimPrefix(text, byteOrderMark)
	dec := json.NewDecoder(bytes.NewReader(text))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, ErrNotObject
	}
	var o object
	for dec.More() {
		before := dec.InputOffset()
		name, err := dec.Token()
		if err != nil {
			return nil, ErrNotObject
		}
		m := member{key: bytes.TrimLeft(text[before:dec.InputOffset()], " \t\r\n,")}
		var ok bool
		if m.name, ok = name.(string); !ok || dec.Decode(&m.value) != nil {
			return nil, ErrNotObject
		}
		o = append(o, m)
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, ErrNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrNotObject
	}
	return o, nil
}

// has reports whether there is a member of that name.
func (o object) has(name string) bool {
	return slices.ContainsFunc(o, func(m member) bool { return m.name == name })
}

// text returns the string that the member of that name holds.
func (o object) text(name string) (string, bool) {
	for _, m := range o {
		var s string
		if m.name == name && len(m.value) > 0 && m.value[0] == '"' && json.Unmarshal(m.value, &s) == nil {
			return s, true
		}
	}
	return "", false
}

// without returns the object without the members of those names.
func (o object) without(names ...string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return slices.Contains(names, m.name) })
}

// with returns the object with one more member.
func (o object) with(name string, value json.RawMessage) object {
	return append(o, member{name: name, key: quote(name), value: value})
}

// quote returns a string in JSON.
func quote(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be encoded, and a buffer written
	return bytes.TrimRight(b.Bytes(), "\n")
}

// append appends the object's text.
func (o object) append(text []byte) []byte {
	text = append(text, '{')
	for i, m := range o {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(append(text, m.key...), ':'), m.value...)
	}
	return append(text, '}')
}

// hasErrcode reports whether the object is WeChat's answer to a call that
// failed. The errcode may be a number or text.
func (o object) hasErrcode() bool {
	for _, m := range o {
		if m.name != "errcode" {
			continue
		}
		digits := string(m.value)
		if s, ok := (object{m}).text("errcode"); ok {
			digits = s
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n != 0 {
			return true
		}
	}
	return false
}
