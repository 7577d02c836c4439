package option

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Forms are how options are written in JSON.
type Forms map[string]string

// With returns the forms, and more of them.
func (f Forms) With(more ...Forms) Forms {
	all := make(Forms)
	for _, forms := range append(more, f) {
		maps.Copy(all, forms)
	}
	return all
}

// Error is an option in JSON that is not as it should be.
type Error struct{ text string }

// Error returns the option's name and how it is written.
func (e *Error) Error() string { return e.text }

// Errorf returns an Error. Its text is what the user is told.
func Errorf(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}

// Decode decodes a JSON object into the struct that target points to. Its
// errors name the option and repeat no value, which may be secret.
func Decode(data []byte, target any, forms Forms) error {
	err := decodeStrictly(data, target)
	if err == nil {
		return nil
	}
	if nested, ok := errors.AsType[*Error](err); ok {
		return nested
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return &Error{"it is no object: write its options as {" + forms.Example() + "}"}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		member, _ := json.Marshal(map[string]json.RawMessage{name: members[name]}) // it was decoded just now
		if decodeStrictly(member, reflect.New(reflect.TypeOf(target).Elem()).Interface()) == nil {
			continue
		}
		form, ok := forms[strings.ToLower(name)]
		if !ok {
			return Errorf("unknown option %s: write one of %s", name, strings.Join(slices.Sorted(maps.Keys(forms)), ", "))
		}
		return Errorf("%s has not the form it should have: write %q: %s, for example", name, name, form)
	}
	return err
}

func decodeStrictly(data []byte, target any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(target)
}

// Example returns one of the options as it is written.
func (f Forms) Example() string {
	name := slices.Sorted(maps.Keys(f))[0]
	return fmt.Sprintf("%q: %s", name, f[name])
}

// DecodeMembers reports what is wrong with one of the members of an object of
// objects, by its name. That the object is none is reported elsewhere.
func DecodeMembers[T any](data []byte, option, kind string) error {
	var object, members map[string]json.RawMessage
	_ = json.Unmarshal(data, &object)
	_ = json.Unmarshal(object[option], &members)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := json.Unmarshal(members[name], new(T)); err != nil {
			return Errorf("%s %s: %v", kind, name, err)
		}
	}
	return nil
}
