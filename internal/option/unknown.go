package option

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Unknown says which options there are, and where an option belongs that
// is one elsewhere. Of the word it repeats the option's name alone: beside that
// there may be a secret.
func Unknown(d *caddyfile.Dispenser, of string, options ...string) error {
	name := d.Val()
	if name == "{" {
		return d.Errf("there is a { behind an option of %s that has no block: leave it out, and the } that belongs to it", of)
	}
	if i := strings.IndexAny(name, "=:"); i > 0 {
		if name = name[:i]; slices.Contains(options, name) {
			return d.Errf("option %s of %s has %q after it: write %s, a space and the value", name, of, d.Val()[i], name)
		}
	}
	oneOf := "one of "
	if len(options) == 1 {
		oneOf = ""
	}
	return d.Errf("unknown option %s of %s: write %s%s%s", name, of, oneOf, strings.Join(options, ", "), placeOf(name, options))
}

// placeOf says where an option belongs that is unknown where it stands.
func placeOf(name string, here []string) string {
	atSite := slices.Contains(here, "timeout") || slices.Contains(here, "allow_ips")
	switch {
	case atSite && slices.Contains([]string{"account", "platform", "caller", "store", "upstream", "resolver"}, name):
		return "; " + name + " belongs into the global option, { weixin { … } }, at the top of the file"
	case slices.Contains(here, "account") && slices.Contains([]string{"appid", "secret", "token", "issue", "tickets", "mirror"}, name):
		return "; " + name + " belongs into an account: account <name> { … }"
	case slices.Contains([]string{PushToken, PushAESKey, "authorizers_in_memory"}, name):
		return "; " + name + " belongs into a third-party platform: platform <name> { … }"
	case name == "forward" && atSite:
		return "; forward belongs into the directive weixin_callback"
	case slices.Contains(here, "account") && slices.Contains(siteOptions, name):
		return "; " + name + " belongs into the directive weixin of a site"
	case slices.Contains(here, AppID) && slices.Contains([]string{"key", "accounts", "allow", "ips"}, name):
		return "; " + name + " belongs into a caller: caller <name> { … }"
	case slices.Contains([]string{"account", "platform", "caller", "store"}, name) && !slices.Contains(here, "accounts"):
		return "; " + name + " is no part of this block: write it behind the } of this one"
	}
	return ""
}

// siteOptions are the options of the directive weixin.
var siteOptions = []string{"allow_ips", "hosts", "body_buffer", "body_limit", "timeout", "round_tripper", "forward_headers"}
