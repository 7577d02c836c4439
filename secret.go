package weixin

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/caddy-weixin/caddy-weixin/wechat"
)

// secretRequest is a request to an API that takes AppID and AppSecret: its body,
// which may hold them.
type secretRequest struct {
	parameter string // the name of the AppSecret in it
	appID     string // as the client sent them
	secret    string

	body []byte
	json map[string]json.RawMessage // where the body is a JSON object
	form bool                       // whether the body is a form
	kept io.ReadCloser              // the body where it is neither
}

// readSecretRequest reads what the client has sent.
func readSecretRequest(req *http.Request) (*secretRequest, *proxyError) {
	r := &secretRequest{parameter: wechat.SecretParameter(req.URL.Path)}
	r.secret, _ = wechat.QueryParam(req.URL.RawQuery, r.parameter)
	mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if mediaType == "multipart/form-data" || req.Body == nil || req.Body == http.NoBody {
		r.kept = req.Body
		return r, nil
	}
	body, refusal := readSmallBody(req)
	if refusal != nil {
		return nil, refusal
	}
	r.body = body
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) > 0 && trimmed[0] == '{':
		if json.Unmarshal(trimmed, &r.json) != nil {
			return nil, wechatError(errcodeDataFormat, "data format error")
		}
	case mediaType == "application/x-www-form-urlencoded":
		r.form = true
	}
	if appID, ok := r.field("appid"); ok {
		r.appID = appID
	}
	if secret, ok := r.field(r.parameter); ok && r.secret == "" {
		r.secret = secret
	}
	return r, nil
}

// field returns a field of the body.
func (r *secretRequest) field(name string) (string, bool) {
	if r.form {
		return wechat.QueryParam(string(r.body), name)
	}
	raw, ok := r.json[name]
	var value string
	if ok && json.Unmarshal(raw, &value) != nil {
		value = ""
	}
	return value, ok
}

// inject returns the request with the account's AppID and AppSecret in place of
// what the client has sent: wherever they stand, or else beside one another, or
// else in the query. All other parameters and fields are kept.
func (r *secretRequest) inject(req *http.Request, account *Account) (*http.Request, *proxyError) {
	out := req.WithContext(req.Context())
	u := *req.URL
	out.URL = &u
	_, appIDInBody := r.field("appid")
	_, secretInBody := r.field(r.parameter)
	for name, value := range map[string]string{"appid": account.Credentials.AppID, r.parameter: account.Credentials.AppSecret} {
		if appIDInBody || secretInBody {
			r.setField(name, value)
			if _, ok := wechat.QueryParam(u.RawQuery, name); !ok {
				continue
			}
		}
		u.RawQuery = wechat.SetQueryParam(u.RawQuery, name, url.QueryEscape(value))
	}
	out.Body, out.ContentLength = r.kept, req.ContentLength
	if r.body != nil {
		if r.json != nil {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if enc.Encode(r.json) != nil {
				return nil, wechatError(errcodeDataFormat, "data format error")
			}
			r.body = bytes.TrimRight(b.Bytes(), "\n")
		}
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
	}
	return out, nil
}

func (r *secretRequest) setField(name, value string) {
	if r.form {
		r.body = []byte(wechat.SetQueryParam(string(r.body), name, url.QueryEscape(value)))
		return
	}
	// Encoding a string cannot fail.
	r.json[name], _ = json.Marshal(value)
}
