package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call is one request to an API.
type call struct {
	server *Server
	r      *http.Request
	body   io.Reader
	now    time.Time
	wecom  bool // it is WeCom that is asked

	// Whose token the request carries.
	account       *account
	agent         *agent
	component     *component
	authorization *authorization // beside its account

	raw    []byte         // the body as it came, where the route reads JSON
	json   []byte         // the same without white space around it; decrypted
	fields map[string]any // the same, decoded
	form   url.Values     // the other fields of an upload
	upload *mediaFile     // the file of an upload; nil if there was none
	sealed *sealer        // what the request was encrypted with, and the answer will be
}

// param returns a parameter of the query, "" where there is none. An upload's
// may be a field of the form as well.
func (c *call) param(name string) string {
	if value, ok := queryParam(c.r.URL.RawQuery, name); ok {
		return value
	}
	if value, ok := c.fields[name].(string); ok && c.sealed != nil {
		return value // encrypted parameters are in the body
	}
	return c.form.Get(name)
}

// text returns a member of the body that is text, "" where there is none.
func (c *call) text(path string) string {
	s, _ := member(c.fields, path).(string)
	return s
}

// number returns a member of the body that is an integer, 0 where there is none.
func (c *call) number(path string) int {
	n, _ := whole(member(c.fields, path))
	return n
}

// texts returns a member of the body that is a list of text. What is no text in
// it counts as "".
func (c *call) texts(path string) []string {
	list, _ := member(c.fields, path).([]any)
	texts := make([]string, len(list))
	for i := range list {
		texts[i], _ = list[i].(string)
	}
	return texts
}

// queryParam returns the first value of a parameter, in whatever spelling its
// name is. A value that cannot be unescaped is returned as it is.
func queryParam(rawQuery, name string) (string, bool) {
	for pair := range strings.SplitSeq(rawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if unescape(key) == name {
			return unescape(value), true
		}
	}
	return "", false
}

func unescape(s string) string {
	if unescaped, err := url.QueryUnescape(s); err == nil {
		return unescaped
	}
	return s
}

const maxJSON = 1 << 20

// read takes in the body as far as the route needs it.
func (c *call) read(r *route) error {
	if c.r.Method != r.method && (!r.orPost || c.r.Method != http.MethodPost) {
		if r.method == http.MethodGet {
			return c.refuse(requireGET)
		}
		return c.refuse(requirePOST)
	}
	switch r.reads {
	case noBody:
		return nil
	case mediaBody:
		upload, form, err := readUpload(c.r.Header.Get("Content-Type"), c.body)
		c.upload, c.form = upload, form
		return err
	case jsonBody, rawBody:
	}
	body, err := io.ReadAll(io.LimitReader(c.body, maxJSON+1))
	if err != nil {
		return err
	}
	if len(body) > maxJSON {
		return c.refuse(contentTooLarge)
	}
	c.raw, c.json = body, bytes.TrimSpace(body)
	if r.reads == jsonBody {
		return c.parse()
	}
	return nil
}

// parse decodes the body, whatever its content type: WeChat does not look at
// that either.
func (c *call) parse() error {
	if len(c.json) == 0 {
		return c.refuse(emptyPostData)
	}
	decoder := json.NewDecoder(bytes.NewReader(c.json))
	decoder.UseNumber()
	if decoder.Decode(&c.fields) != nil || !errors.Is(decoder.Decode(new(any)), io.EOF) || c.fields == nil {
		return c.refuse(dataFormatError)
	}
	return nil
}

// decode fills v from the body.
func (c *call) decode(v any) error {
	if len(c.json) == 0 {
		return c.refuse(emptyPostData)
	}
	if json.Unmarshal(c.json, v) != nil {
		return c.refuse(dataFormatError)
	}
	return nil
}

// isJSONObject tells an object, however broken, from a form.
func (c *call) isJSONObject() bool {
	return bytes.HasPrefix(c.json, []byte("{"))
}

// refuse returns the error of an errcode in the words of whoever is asked:
// WeCom has its own for many.
func (c *call) refuse(errcode int) error {
	if c.wecom {
		return refuseWeCom(errcode)
	}
	return refuse(errcode)
}

// object is an answer, or a part of one.
type object map[string]any

// MarshalJSON writes the errcode first, as WeChat does.
func (o object) MarshalJSON() ([]byte, error) {
	rest := maps.Clone(map[string]any(o))
	text := []byte("{")
	for _, name := range []string{"errcode", "errmsg"} {
		if value, ok := rest[name]; ok {
			text = append(append(text, `"`+name+`":`...), append(encode(value), ',')...)
			delete(rest, name)
		}
	}
	if len(rest) == 0 {
		return append(bytes.TrimSuffix(text, []byte(",")), '}'), nil
	}
	return append(text, encode(rest)[1:]...), nil
}

// ok is an answer of success. Where WeChat gives no errcode on success, an
// object alone is the answer.
func ok(o object) object {
	if o == nil {
		o = object{}
	}
	o["errcode"], o["errmsg"] = success, "ok"
	return o
}
