package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// secretRequest is a request to an API that takes the account's ID and secret. They may
// be in its query or in its body, which may be a form or JSON.
type secretRequest struct {
	kind   *wechat.Kind
	param  string   // the name of the secret at this API
	idName string   // likewise of the ID
	isJSON bool     // they have to be in a body of JSON
	ids    []string // as the client sent them, wherever they stand
	secret string   // likewise; it may be a caller's key

	// account is the account's name that stands before the key, or "". key is the
	// caller's.
	account, key string

	hasBody bool
	form    string     // the body, where it is a form
	json    jsonObject // where it is a JSON object
}

// readSecretRequest reads what the client has sent. A body of another form than
// WeChat takes is refused.
func readSecretRequest(call *apiCall) (*secretRequest, error) {
	route := call.route
	r := &secretRequest{kind: call.kind, param: route.SecretParam, idName: cmp.Or(route.IDParam, call.kind.ID), isJSON: route.JSON}
	body, err := readSmallBody(call.Request)
	if err != nil {
		return nil, err
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	mediaType, _, _ := mime.ParseMediaType(call.Header.Get("Content-Type"))
	switch {
	case len(body) == 0 && r.isJSON:
		r.json, r.hasBody = make(jsonObject), true
	case len(body) == 0:
	case r.isJSON && body[0] != '{':
		return nil, errDataFormat()
	case body[0] == '{':
		if json.Unmarshal(body, &r.json) != nil {
			return nil, errDataFormat()
		}
		r.hasBody = true
	case mediaType == "application/x-www-form-urlencoded" || bytes.HasPrefix(body, []byte(r.idName+"=")) ||
		bytes.Contains(body, []byte("secret=")) && !strings.HasPrefix(mediaType, "multipart/"):
		r.form, r.hasBody = string(body), true
	default:
		return nil, answer.WeChat(wechat.DataFormatError, "data format error: write a form or JSON")
	}
	query := func(name string) string {
		value, _ := wechat.QueryParam(call.URL.RawQuery, name)
		return value
	}
	r.readIDs(call.URL.RawQuery)
	for _, name := range r.kind.SecretParams {
		r.secret = firstOf(r.secret, query(name), r.field(name))
	}
	return r, nil
}

// readIDs notes every ID that the request has. An empty one is none.
func (r *secretRequest) readIDs(query string) {
	add := func(id string) {
		if id != "" {
			r.ids = append(r.ids, id)
		}
	}
	for id := range wechat.QueryParams(query, r.idName) {
		add(id)
	}
	for id := range wechat.QueryParams(r.form, r.idName) {
		add(id)
	}
	for _, key := range r.json.keysOf(r.idName) {
		var id string
		if json.Unmarshal(r.json[key], &id) != nil {
			id = string(r.json[key]) // no ID is a number or the like
		}
		add(id)
	}
}

// id returns the ID that the request has, or "".
func (r *secretRequest) id() string { return firstOf(r.ids...) }

// check refuses a request that names another account than the one it has to be
// for: by an ID, or by the name before a caller's key. r may be nil, and so may a.
func (r *secretRequest) check(call *apiCall, a *account.Account, caller *Caller) error {
	if r == nil {
		return nil
	}
	if slices.ContainsFunc(r.ids, func(id string) bool { return a == nil || id != a.Credentials.ID }) {
		return invalidID(call)
	}
	if a != nil && caller != nil && r.key != r.secret && r.account != a.Name {
		return secretRefused(call, "account "+r.account+" has another "+call.kind.ID)
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// has reports whether the body has a field.
func (r *secretRequest) has(name string) bool {
	_, ok := wechat.QueryParam(r.form, name)
	return ok || len(r.json.keysOf(name)) > 0
}

// field returns a field of the body.
func (r *secretRequest) field(name string) string {
	value, _ := wechat.QueryParam(r.form, name)
	for _, key := range r.json.keysOf(name) {
		// What is no string is no ID and no key.
		_ = json.Unmarshal(r.json[key], &value)
	}
	return value
}

// set sets a field of the body.
func (r *secretRequest) set(name, value string) {
	if r.json == nil {
		r.form = wechat.SetQueryParam(r.form, name, url.QueryEscape(value))
		return
	}
	for _, key := range r.json.keysOf(name) {
		delete(r.json, key)
	}
	// Encoding a string cannot fail.
	r.json[name], _ = json.Marshal(value)
}

// inject returns the request with the account's ID and secret in place of
// what the client has sent: wherever they stand, or else beside one another, or
// else in the query. All other parameters and fields are kept.
func (r *secretRequest) inject(call *apiCall, a *account.Account) (*http.Request, error) {
	query := call.URL.RawQuery
	inBody := r.isJSON || r.has(r.idName) || slices.ContainsFunc(r.kind.SecretParams, r.has)
	put := func(name, value string, always bool) {
		_, inQuery := wechat.QueryParam(query, name)
		if inQuery || always && !inBody {
			query = wechat.SetQueryParam(query, name, url.QueryEscape(value))
		}
		if inBody && (always || r.has(name)) {
			r.set(name, value)
		}
	}
	put(r.idName, a.Credentials.ID, true)
	for _, name := range r.kind.SecretParams {
		put(name, a.Credentials.Secret, name == r.param)
	}
	for _, param := range r.kind.TokenParams() {
		if _, ok := wechat.QueryParam(query, param); ok {
			// No token is taken here, and a virtual one is none of WeChat's.
			query = wechat.SetQueryParam(query, param, "")
		}
	}
	out := call.WithContext(call.Context())
	u := *call.URL
	u.RawQuery = query
	out.URL = &u
	return r.withBody(out)
}

// withBody gives the request its body again.
func (r *secretRequest) withBody(out *http.Request) (*http.Request, error) {
	body := []byte(r.form)
	if r.json != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if enc.Encode(r.json) != nil {
			return nil, errDataFormat()
		}
		body = bytes.TrimRight(b.Bytes(), "\n")
	}
	out.Body, out.ContentLength = http.NoBody, 0
	if r.hasBody {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return out, nil
}
