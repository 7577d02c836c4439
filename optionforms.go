package weixin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// optionForms are how options are written in JSON.
type optionForms map[string]string

// with returns the forms, and more of them.
func (f optionForms) with(more ...optionForms) optionForms {
	all := make(optionForms)
	for _, forms := range append(more, f) {
		maps.Copy(all, forms)
	}
	return all
}

var (
	accessForms = optionForms{
		"allow_ips": `["10.0.0.0/8"]`,
		"hosts":     `["wx.example.com"]`,
	}
	forwardingForms = optionForms{
		"body_buffer":     `262144`,
		"body_limit":      `134217728`,
		"timeout":         `"30s"`,
		"round_tripper":   `"http1"`,
		"forward_headers": `["X-Something"]`,
	}
	handlerForms    = optionForms{"account": `"shop"`}.with(accessForms, forwardingForms)
	transportForms  = optionForms{"tls": `{}`, "trust_upstream": `true`}.with(handlerForms)
	statusPageForms = optionForms{"read_only": `true`}.with(accessForms)
	jssdkForms      = optionForms{"account": `"shop"`, "hosts": `["shop.example.com"]`, "agent": `true`}
	callbackForms   = optionForms{"platform": `"isv"`, "forward": `"` + forwardExample + `"`}
	healthForms     = optionForms{"allow_ips": accessForms["allow_ips"]}
	accountForms    = optionForms{ //nolint:gosec // they are placeholders
		"kind":     `"official"`,
		"appid":    `"{env.WEIXIN_APPID}"`,
		"corpid":   `"{env.CORPID}"`,
		"agentid":  `"1000002"`,
		"secret":   `"{env.WEIXIN_SECRET}"`,
		"token":    `"stable"`,
		"upstream": `"https://api.weixin.qq.com"`,
		"resolver": `"223.5.5.5"`,
		"issue":    `"virtual"`,
		"tickets":  `"kept"`,
		"mirrors":  `[{"preset": "wxjava", "url": "redis://127.0.0.1:6379/0"}]`,

		optionAPISecurity: `{` + exampleOf(apiSecurityForms) + `}`,
	}
	callerForms = optionForms{
		"key":      `"{env.ORDERS_KEY}"`,
		"accounts": `["shop"]`,
		"allow":    `["/cgi-bin/message/*"]`,
		"ips":      `["10.0.0.0/8"]`,
	}
	platformForms = optionForms{ //nolint:gosec // likewise
		"appid":        `"{env.COMPONENT_APPID}"`,
		"secret":       `"{env.COMPONENT_SECRET}"`,
		"push_token":   `"{env.COMPONENT_TOKEN}"`,
		"push_aes_key": `"{env.COMPONENT_AES_KEY}"`,
		"upstream":     `"https://api.weixin.qq.com"`,
		"resolver":     `"223.5.5.5"`,
		"issue":        `"virtual"`,

		optionInMemory: `100000`,
	}
	mirrorForms = optionForms{
		"preset": `"wxjava"`,
		"url":    `"{env.REDIS_URL}"`,
		"prefix": `"wx"`,
	}
	appForms = optionForms{
		"upstream": `"https://api.weixin.qq.com"`,
		"resolver": `"223.5.5.5"`,
		"store":    `{"module": "storage"}`,
		"accounts": `{"shop": {"appid": "{env.WEIXIN_APPID}", "secret": "{env.WEIXIN_SECRET}"}}`,
		"callers":  `{"orders": {"key": "{env.ORDERS_KEY}"}}`,

		"platforms": `{"isv": {"appid": "{env.COMPONENT_APPID}", "secret": "{env.COMPONENT_SECRET}", "push_token": "{env.COMPONENT_TOKEN}", "push_aes_key": "{env.COMPONENT_AES_KEY}"}}`,
	}
)

// optionError is an option in JSON that is not as it should be.
type optionError struct{ text string }

// Error returns the option's name and how it is written.
func (e *optionError) Error() string { return e.text }

// decodeOptions decodes a JSON object into the struct that target points to. Its
// errors name the option and repeat no value, which may be secret.
func decodeOptions(data []byte, target any, forms optionForms) error {
	err := decodeStrictly(data, target)
	if err == nil {
		return nil
	}
	if nested, ok := errors.AsType[*optionError](err); ok {
		return nested
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return &optionError{"it is no object: write its options as {" + exampleOf(forms) + "}"}
	}
	for _, name := range sortedKeys(members) {
		member, _ := json.Marshal(map[string]json.RawMessage{name: members[name]}) // it was decoded just now
		if decodeStrictly(member, reflect.New(reflect.TypeOf(target).Elem()).Interface()) == nil {
			continue
		}
		form, ok := forms[strings.ToLower(name)]
		if !ok {
			return &optionError{fmt.Sprintf("unknown option %s: write one of %s", name, strings.Join(sortedKeys(forms), ", "))}
		}
		return &optionError{fmt.Sprintf("%s has not the form it should have: write %q: %s, for example", name, name, form)}
	}
	return err
}

func decodeStrictly(data []byte, target any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(target)
}

func exampleOf(forms optionForms) string {
	name := sortedKeys(forms)[0]
	return fmt.Sprintf("%q: %s", name, forms[name])
}

// storeOptions are the options of the stores that there are here.
type storeOptions struct {
	Module  string         `json:"module"`
	URL     string         `json:"url"`
	Prefix  string         `json:"prefix"`
	Timeout caddy.Duration `json:"timeout"`
	Storage map[string]any `json:"storage"`
}

// storeForms are the forms of their options, by the module's name.
var storeForms = map[string]optionForms{
	"redis":   {"module": `"redis"`, "url": `"{env.REDIS_URL}"`, "prefix": `"weixin:"`, "timeout": `"1s"`},
	"storage": {"module": `"storage"`, "storage": `{"module": "file_system", "root": "/var/lib/caddy"}`},
}

// UnmarshalJSON decodes the app's options.
func (app *App) UnmarshalJSON(data []byte) error {
	type plain App
	app.positions = positionsOf(data)
	if err := decodeMembers[AccountConfig](data, "accounts", "account"); err != nil {
		return err
	}
	if err := decodeMembers[PlatformConfig](data, "platforms", "platform"); err != nil {
		return err
	}
	if err := decodeMembers[CallerConfig](data, "callers", "caller"); err != nil {
		return err
	}
	if err := decodeOptions(data, (*plain)(app), appForms); err != nil {
		return err
	}
	var module struct {
		Module string `json:"module"`
	}
	if app.StoreRaw != nil && (json.Unmarshal(app.StoreRaw, &module) != nil || module.Module == "") {
		return &optionError{`store has not the form it should have: write "store": ` + appForms["store"] + ", for example"}
	}
	return nil
}

// decodeMembers reports what is wrong with one of the members of an object of
// objects, by its name. That the object is none is reported elsewhere.
func decodeMembers[T any](data []byte, option, kind string) error {
	var object, members map[string]json.RawMessage
	_ = json.Unmarshal(data, &object)
	_ = json.Unmarshal(object[option], &members)
	for _, name := range sortedKeys(members) {
		if err := json.Unmarshal(members[name], new(T)); err != nil {
			return &optionError{fmt.Sprintf("%s %s: %v", kind, name, err)}
		}
	}
	return nil
}

// UnmarshalJSON decodes an account's options.
func (c *AccountConfig) UnmarshalJSON(data []byte) error {
	type plain AccountConfig
	return decodeOptions(data, (*plain)(c), accountForms)
}

// UnmarshalJSON decodes a platform's options.
func (c *PlatformConfig) UnmarshalJSON(data []byte) error {
	type plain PlatformConfig
	return decodeOptions(data, (*plain)(c), platformForms)
}

// UnmarshalJSON decodes a caller's options.
func (c *CallerConfig) UnmarshalJSON(data []byte) error {
	type plain CallerConfig
	return decodeOptions(data, (*plain)(c), callerForms)
}

// UnmarshalJSON decodes the handler's options.
func (h *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return decodeOptions(data, (*plain)(h), handlerForms)
}

// UnmarshalJSON decodes the transport's options.
func (t *Transport) UnmarshalJSON(data []byte) error {
	type plain Transport
	return decodeOptions(data, (*plain)(t), transportForms)
}

// UnmarshalJSON decodes the callback's options.
func (c *Callback) UnmarshalJSON(data []byte) error {
	type plain Callback
	return decodeOptions(data, (*plain)(c), callbackForms)
}

// UnmarshalJSON decodes the page's options.
func (p *StatusPage) UnmarshalJSON(data []byte) error {
	type plain StatusPage
	return decodeOptions(data, (*plain)(p), statusPageForms)
}

// UnmarshalJSON decodes the check's options.
func (h *HealthCheck) UnmarshalJSON(data []byte) error {
	type plain HealthCheck
	return decodeOptions(data, (*plain)(h), healthForms)
}

// UnmarshalJSON decodes the handler's options.
func (h *JSSDK) UnmarshalJSON(data []byte) error {
	type plain JSSDK
	return decodeOptions(data, (*plain)(h), jssdkForms)
}
