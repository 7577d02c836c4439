package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
)

// credential is what a path takes.
type credential uint8

const (
	accountToken   credential = iota // an account's access_token
	noToken                          // a secret, a one-time code or a user's own token in its place
	componentToken                   // a third-party platform's component_access_token
	agentToken                       // WeCom: an app's access_token
)

// bodyKind is what a path reads.
type bodyKind uint8

const (
	noBody    bodyKind = iota
	jsonBody           // an object
	rawBody            // the path looks into it itself
	mediaBody          // a form with a file
)

// route is one path of WeChat's API: the one place that says how it is called,
// what is checked, and who answers. The reference in docs/sandbox.md is made of
// routes, and every example in it is a test.
type route struct {
	method     string
	path       string
	about      string // what it does, for the reference
	takes      credential
	component  bool // takes a component's token as well as the account's
	orPost     bool // a GET that may be a POST
	fixedParam bool // a component's token only in component_access_token
	reads      bodyKind
	params     []param
	sends      bool // what it takes is a message
	ranges     bool // its answer can be had in parts
	handle     func(*call) (any, error)
	example    string // a query, or a body
}

type handler = func(*call) (any, error)

func get(path, about string, handle handler, example string, params ...param) route {
	return route{method: http.MethodGet, path: path, about: about, handle: handle, example: example, params: params}
}

func post(path, about string, handle handler, example string, params ...param) route {
	r := get(path, about, handle, example, params...)
	r.method, r.reads = http.MethodPost, jsonBody
	return r
}

func upload(path, about string, handle handler, example string, params ...param) route {
	r := get(path, about, handle, example, params...)
	r.method, r.reads = http.MethodPost, mediaBody
	return r
}

func (r route) message() route              { r.sends = true; return r }
func (r route) inParts() route              { r.ranges = true; return r }
func (r route) with(c credential) route     { r.takes = c; return r }
func (r route) orByPost() route             { r.orPost = true; return r }
func (r route) orComponent() route          { r.component = true; return r }
func (r route) onlyComponentParam() route   { r.fixedParam = true; return r }
func (r route) reading(kind bodyKind) route { r.reads = kind; return r }
func all(c credential, list ...route) []route {
	for i := range list {
		list[i].takes = c
	}
	return list
}

// param is a parameter: of the query where the method is GET or the body is a
// file, else a member of the JSON, with a point before each member inside of it.
type param struct {
	name    string
	errcode int                  // of an answer to a value that is missing or wrong; 0 if it is not checked here
	check   func(value any) bool // nil: any value but null and ""
	text    bool                 // a value of another type than text is no data at all: 47001
}

func openIDParam(name string) param {
	return param{name: name, errcode: invalidOpenID, check: isAnyOpenID, text: true}
}

// need is a parameter that must have a value.
func need(name string, errcode int) param { return param{name: name, errcode: errcode} }

// check is a parameter whose value, nil if it is missing, must pass f.
func check(name string, errcode int, f func(any) bool) param {
	return param{name: name, errcode: errcode, check: f}
}

// opt is a parameter that the handler looks at, or nobody.
func opt(names ...string) (list []param) {
	for _, name := range names {
		list = append(list, param{name: name})
	}
	return list
}

func (p param) accepts(value any) bool {
	if p.check != nil {
		return p.check(value)
	}
	return value != nil && value != ""
}

// checkParams refuses the first parameter that is wrong.
func (c *call) checkParams(r *route) error {
	for _, p := range r.params {
		if p.errcode == success {
			continue
		}
		value := c.value(r, p.name)
		if _, isText := value.(string); p.text && value != nil && !isText {
			return c.refuse(dataFormatError)
		}
		if !p.accepts(value) {
			return c.refuse(p.errcode)
		}
	}
	return nil
}

// value returns a parameter's value, nil if there is none.
func (c *call) value(r *route, name string) any {
	if r.reads == jsonBody {
		return member(c.fields, name)
	}
	if value := c.param(name); value != "" {
		return value
	}
	return nil
}

func member(object map[string]any, path string) any {
	name, rest, nested := strings.Cut(path, ".")
	value := object[name]
	if !nested {
		return value
	}
	inner, _ := value.(map[string]any)
	return member(inner, rest)
}

// Checks of parameters.

func isText(value any) bool {
	s, ok := value.(string)
	return ok && s != ""
}

func isAnyOpenID(value any) bool {
	s, ok := value.(string)
	return ok && isOpenID(s)
}

func isWhole(value any) bool {
	_, ok := whole(value)
	return ok
}

// whole returns an integer that may be written as text, as WeChat takes it.
func whole(value any) (int, bool) {
	var text string
	switch v := value.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := json.Number(text).Int64()
	return int(n), err == nil
}

func between(low, high int) func(any) bool {
	return func(value any) bool {
		n, ok := whole(value)
		return ok && low <= n && n <= high
	}
}

// optional lets a parameter be missing, but not wrong.
func optional(f func(any) bool) func(any) bool {
	return func(value any) bool { return value == nil || f(value) }
}

func oneOf(values ...string) func(any) bool {
	return func(value any) bool {
		for _, v := range values {
			if value == v {
				return true
			}
		}
		return false
	}
}

func isObject(value any) bool {
	object, ok := value.(map[string]any)
	return ok && len(object) > 0
}

func isList(value any) bool {
	list, ok := value.([]any)
	return ok && len(list) > 0
}

// textOf is text of a length in bytes, in this many at most.
func textUpTo(limit int) func(any) bool {
	return func(value any) bool {
		s, ok := value.(string)
		return ok && s != "" && len(s) <= limit
	}
}

// table finds routes by path.
type table map[string]*route

func newTable(families ...[]route) table {
	t := make(table)
	for _, family := range families {
		for i := range family {
			r := &family[i]
			if t[r.path] != nil {
				panic("two routes for " + r.path)
			}
			t[r.path] = r
		}
	}
	return t
}
