package weixin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/callback"
	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// Callback is the authorisation-event URL of a third-party platform, to which
// WeChat pushes tickets, and which accounts have authorised the platform or have
// withdrawn. What it learns is in the store before it answers `success`.
//
// It needs no caller's key, and its client may have any address: a push is signed
// and encrypted. What is not gets status 403.
type Callback struct {
	// The name of the platform. Default: the only one.
	Platform string `json:"platform,omitempty"`

	// The URL of the application to which every push is passed on, byte for byte
	// and with its query, once the proxy has taken it. What the application answers
	// within 4 seconds is the answer, but for tickets, which are always answered
	// with `success`. Placeholders are resolved when the configuration is loaded.
	// Default: none, and every push is answered with `success`.
	Forward string `json:"forward,omitempty"`

	handler *callback.Handler
}

var callbackForms = option.Forms{"platform": `"isv"`, "forward": `"` + forwardExample + `"`}

// UnmarshalJSON decodes the callback's options.
func (c *Callback) UnmarshalJSON(data []byte) error {
	type plain Callback
	return option.Decode(data, (*plain)(c), callbackForms)
}

// CaddyModule returns the Caddy module information.
func (Callback) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_callback",
		New: func() caddy.Module { return new(Callback) },
	}
}

// Provision sets up the handler.
func (c *Callback) Provision(ctx caddy.Context) error {
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	p, err := app.served.platforms.find(c.Platform)
	if err != nil {
		return err
	}
	forward, err := forwardURL(c.Forward)
	if err != nil {
		return fmt.Errorf("%w%s", err, option.PositionsOf(callbackConfig(c.Forward)).Of("weixin_callback", "forward"))
	}
	c.handler = callback.New(callback.Config{
		Name: p.Component.Name, Receiver: app.served.platforms.receivers[p], Platform: p, Forward: forward, Logger: ctx.Logger(),
	})
	return nil
}

// callbackConfig stands for a callback's configuration in its position.
func callbackConfig(forward string) []byte { return []byte("weixin_callback " + forward) }

// Cleanup closes the connections to the application that are idle.
func (c *Callback) Cleanup() error {
	if c.handler != nil {
		c.handler.Close()
	}
	return nil
}

// ServeHTTP answers a push. It answers every request itself.
func (c *Callback) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	newOutcome(req).Account = c.handler.Name
	clientbody.Serve(w, req, c.handler.ServeHTTP)
	return nil
}

// forwardURL returns where pushes are passed on to, nil for nowhere.
func forwardURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	text, err := option.Resolve("forward", text)
	if err != nil {
		return nil, err
	}
	return parseForwardURL(text)
}

const forwardExample = "http://127.0.0.1:9000/wechat/events"

// parseForwardURL parses the URL of an application. Its errors repeat no password.
func parseForwardURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("forward is no URL: write it with scheme and host, like " + forwardExample)
	case u.User != nil:
		return nil, errors.New("forward has a user or a password, which the application gets from nobody: leave it out, as pushes are signed")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("forward has a query, but the application gets that of the push: leave out the ? and what follows")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("forward has a fragment, which servers do not get: leave out the # and what follows")
	}
	if _, err := upstream.ParseURL(u.Scheme + "://" + u.Host); err != nil {
		return nil, errors.New("forward has no port between 1 and 65535: write it like " + forwardExample)
	}
	return u, nil
}

// parseCallbackDirective sets up the handler from the weixin_callback directive.
// Syntax:
//
//	weixin_callback [<matcher>] [<platform>] {
//		forward <url>
//	}
func parseCallbackDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Callback)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	app, err := appOption(h)
	if err != nil {
		return nil, err
	}
	return handler, checkPlatformNamed(h, app, handler.Platform)
}

// checkPlatformNamed refuses the name of a platform that there is not, and none
// where it is not clear which is meant.
func checkPlatformNamed(h httpcaddyfile.Helper, app *App, name string) error {
	names := slices.Sorted(maps.Keys(app.Platforms))
	switch _, ok := app.Platforms[name]; {
	case len(names) == 0:
		return h.Errf("weixin_callback: %v", errNoPlatform)
	case name == "" && len(names) > 1:
		return h.Errf("weixin_callback does not say for which platform: write one of %s", strings.Join(names, ", "))
	case name != "" && !ok:
		return h.Err(noSuchPlatform(name, names).Error())
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. See
// parseCallbackDirective for the syntax.
func (c *Callback) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	if d.NextArg() {
		c.Platform = d.Val()
	}
	if d.NextArg() {
		if strings.HasPrefix(d.Val(), "/") || strings.HasPrefix(d.Val(), "@") {
			return d.Errf("the matcher comes first: write weixin_callback %s %s", d.Val(), c.Platform)
		}
		return d.Errf("weixin_callback takes one platform, but there is also %s", d.Val())
	}
	if option.HasPlaceholder(c.Platform) {
		return d.Errf("the platform of a weixin_callback cannot depend on the request: write its name instead of %s", c.Platform)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "forward" {
			return option.Unknown(d, "weixin_callback", "forward")
		}
		if err := option.ParseValue(d, &c.Forward, forwardExample); err != nil {
			return err
		}
		if option.HasPlaceholder(c.Forward) { // resolved when the configuration is loaded
			var at option.Positions
			at.Remember(d, "weixin_callback", "forward")
			option.KeepPositions(callbackConfig(c.Forward), at)
			continue
		}
		if _, err := parseForwardURL(c.Forward); err != nil {
			return d.Err(err.Error())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Callback)(nil)
	_ caddy.CleanerUpper          = (*Callback)(nil)
	_ caddyfile.Unmarshaler       = (*Callback)(nil)
	_ caddyhttp.MiddlewareHandler = (*Callback)(nil)
)
