package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errNoJSON repeats nothing of what was read, as a decoder's own errors may.
var errNoJSON = fmt.Errorf("%w: it is no JSON of the kind that WeChat pushes", ErrMalformed)

// parseJSON returns the texts and numbers of an object. What else it has is passed
// over. Readers of JSON differ about the case of names, and about which of two
// members of a name counts: an object that has a name twice is refused.
func parseJSON(data []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errNoJSON
	}
	fields, names := make(map[string]string), make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		folded := strings.ToLower(name)
		var value any
		if err != nil || !isName || names[folded] || d.Decode(&value) != nil {
			return nil, errNoJSON
		}
		names[folded] = true
		switch v := value.(type) {
		case string:
			fields[name] = v
		case json.Number:
			fields[name] = v.String()
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errNoJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoJSON
	}
	return fields, nil
}
