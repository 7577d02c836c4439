package weixin

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// secretRequest is a request to an API that takes AppID and AppSecret. They may
// be in its query or in its body, which may be a form or JSON.
type secretRequest struct {
	parameter string   // the name of the AppSecret at this API
	appIDs    []string // as the client sent them, wherever they stand
	secret    string

	hasBody bool
	form    string                     // the body, where it is a form
	json    map[string]json.RawMessage // where it is a JSON object
}

// secretNames are all names that the AppSecret has at any API. Whatever of them
// a client has sent is replaced: it may be a caller's key.
var secretNames = [...]string{"secret", "appsecret"}

// readSecretRequest reads what the client has sent. A body of another form than
// WeChat takes is refused.
func readSecretRequest(req *http.Request) (*secretRequest, *proxyError) {
	r := &secretRequest{parameter: wechat.SecretParameter(req.URL.Path)}
	body, refusal := readSmallBody(req)
	if refusal != nil {
		return nil, refusal
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case body[0] == '{':
		if json.Unmarshal(body, &r.json) != nil {
			return nil, wechatError(wechat.DataFormatError, "data format error")
		}
		r.hasBody = true
	case mediaType == "application/x-www-form-urlencoded" || bytes.HasPrefix(body, []byte("appid=")) ||
		bytes.Contains(body, []byte("secret=")) && !strings.HasPrefix(mediaType, "multipart/"):
		r.form, r.hasBody = string(body), true
	default:
		return nil, wechatError(wechat.DataFormatError, "data format error: write a form or JSON")
	}
	query := func(name string) string {
		value, _ := wechat.QueryParam(req.URL.RawQuery, name)
		return value
	}
	r.readAppIDs(req.URL.RawQuery)
	for _, name := range secretNames {
		r.secret = firstOf(r.secret, query(name), r.field(name))
	}
	return r, nil
}

// readAppIDs notes every AppID that the request has. An empty one is none.
func (r *secretRequest) readAppIDs(query string) {
	add := func(appID string) {
		if appID != "" {
			r.appIDs = append(r.appIDs, appID)
		}
	}
	for appID := range wechat.QueryParams(query, "appid") {
		add(appID)
	}
	for appID := range wechat.QueryParams(r.form, "appid") {
		add(appID)
	}
	for _, key := range r.keysOf("appid") {
		var appID string
		if json.Unmarshal(r.json[key], &appID) != nil {
			appID = string(r.json[key]) // no AppID is a number or the like
		}
		add(appID)
	}
}

// appID returns the AppID that the request has, or "".
func (r *secretRequest) appID() string {
	return firstOf(r.appIDs...)
}

// mayMean reports whether the request names no other account than this one.
func (r *secretRequest) mayMean(account *Account) bool {
	return !slices.ContainsFunc(r.appIDs, func(appID string) bool {
		return account == nil || appID != account.Credentials.ID
	})
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// keysOf returns the fields of a JSON body with a name, in whatever case.
func (r *secretRequest) keysOf(name string) []string {
	var keys []string
	for key := range r.json {
		if strings.EqualFold(key, name) {
			keys = append(keys, key)
		}
	}
	return keys
}

// has says whether the body has a field.
func (r *secretRequest) has(name string) bool {
	_, ok := wechat.QueryParam(r.form, name)
	return ok || len(r.keysOf(name)) > 0
}

// field returns a field of the body.
func (r *secretRequest) field(name string) string {
	value, _ := wechat.QueryParam(r.form, name)
	for _, key := range r.keysOf(name) {
		// What is no string is no AppID and no key.
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
	for _, key := range r.keysOf(name) {
		delete(r.json, key)
	}
	// Encoding a string cannot fail.
	r.json[name], _ = json.Marshal(value)
}

// inject returns the request with the account's AppID and AppSecret in place of
// what the client has sent: wherever they stand, or else beside one another, or
// else in the query. All other parameters and fields are kept.
func (r *secretRequest) inject(req *http.Request, account *Account) (*http.Request, *proxyError) {
	query := req.URL.RawQuery
	inBody := r.has("appid") || r.has("secret") || r.has("appsecret")
	put := func(name, value string, always bool) {
		_, inQuery := wechat.QueryParam(query, name)
		if inQuery || always && !inBody {
			query = wechat.SetQueryParam(query, name, url.QueryEscape(value))
		}
		if inBody && (always || r.has(name)) {
			r.set(name, value)
		}
	}
	put("appid", account.Credentials.ID, true)
	for _, name := range secretNames {
		put(name, account.Credentials.Secret, name == r.parameter)
	}
	if _, ok := wechat.QueryParam(query, wechat.Official.Parameter); ok {
		// No token is taken here, and a virtual one is none of WeChat's.
		query = wechat.SetQueryParam(query, wechat.Official.Parameter, "")
	}
	out := req.WithContext(req.Context())
	u := *req.URL
	u.RawQuery = query
	out.URL = &u
	return r.withBody(out)
}

// withBody gives the request its body again.
func (r *secretRequest) withBody(out *http.Request) (*http.Request, *proxyError) {
	body := []byte(r.form)
	if r.json != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if enc.Encode(r.json) != nil {
			return nil, wechatError(wechat.DataFormatError, "data format error")
		}
		body = bytes.TrimRight(b.Bytes(), "\n")
	}
	out.Body, out.ContentLength = http.NoBody, 0
	if r.hasBody {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return out, nil
}
