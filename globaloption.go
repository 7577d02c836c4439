package weixin

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// appOption returns the app that the global option has set up. There has to be
// one, or the accounts are nowhere.
func appOption(h httpcaddyfile.Helper) (*App, error) {
	option, ok := h.Option("weixin").(httpcaddyfile.App)
	if !ok {
		return nil, h.Err("weixin has no accounts: add the weixin global option, { weixin { account <name> { … } } }")
	}
	app := new(App)
	return app, json.Unmarshal(option.Value, app)
}

// checkServedName refuses a name that neither an account nor a platform has, nor as
// <platform>:<appid> an account that could have authorised one.
func checkServedName(h httpcaddyfile.Helper, app *App, name string) error {
	of, appID, ok := strings.Cut(name, ":")
	if _, isPlatform := app.Platforms[of]; isPlatform && (!ok || wechat.IsAppID(appID)) {
		return nil
	}
	if _, ok := app.Accounts[name]; !ok && name != "" && !option.HasPlaceholder(name) {
		names := slices.Concat(slices.Sorted(maps.Keys(app.Accounts)), slices.Sorted(maps.Keys(app.Platforms)))
		return h.Errf("there is no account %s: write one of %s", name, strings.Join(names, ", "))
	}
	return nil
}

// checkAccountNamed refuses the name of an account that there is not. A platform
// is none.
func checkAccountNamed(h httpcaddyfile.Helper, app *App, name string) error {
	of, _, _ := strings.Cut(name, ":")
	if _, ok := app.Platforms[of]; ok {
		return h.Errf("%s is a platform, which this directive does not serve: write the name of an account", of)
	}
	return checkServedName(h, app, name)
}
