package weixin

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// init registers with Caddy all that this package has for it.
func init() {
	for _, module := range []caddy.Module{
		App{}, Handler{}, Transport{}, Callback{}, Capture{}, HealthCheck{}, JSSDK{}, StatusPage{}, adminAPI{},
	} {
		caddy.RegisterModule(module)
	}
	caddycmd.RegisterCommand(command())
	registerDirectives()
}

// registerDirectives registers the global option and the directives. Directives
// that are for certain paths come ahead of weixin, which may take every path.
func registerDirectives() {
	httpcaddyfile.RegisterGlobalOption("weixin", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("weixin", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("weixin", httpcaddyfile.Before, "reverse_proxy")
	for _, ahead := range []struct {
		directive string
		parse     httpcaddyfile.UnmarshalHandlerFunc
	}{
		{"weixin_status", parseStatusDirective},
		{"weixin_health", parseHealthDirective},
		{"weixin_callback", parseCallbackDirective},
		{"weixin_capture", parseCaptureDirective},
		{"weixin_jssdk", parseJSSDKDirective},
	} {
		httpcaddyfile.RegisterHandlerDirective(ahead.directive, ahead.parse)
		httpcaddyfile.RegisterDirectiveOrder(ahead.directive, httpcaddyfile.After, "metrics")
	}
}
