package weixin

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
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

// parseName parses the name of an account, a platform or a caller.
func parseName(d *caddyfile.Dispenser) (string, error) {
	kind := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s needs a name: write %s <name> { … }", kind, kind)
	}
	name := d.Val()
	if bare, ok := strings.CutSuffix(name, "{"); ok && bare != "" {
		return "", d.Errf("%s %s has no space before the brace: write %s %s {", kind, name, kind, bare)
	}
	if err := checkName(name); err != nil {
		return "", d.Err(err.Error())
	}
	if d.NextArg() {
		return "", d.Errf("%s takes one name, but there is also %s", kind, d.Val())
	}
	return name, nil
}

func parseAllowIPs(d *caddyfile.Dispenser, access *gateway.Access) error {
	if err := parseList(d, &access.AllowIPs, "10.0.0.0/8"); err != nil {
		return err
	}
	if _, err := gateway.ParseRanges(access.AllowIPs); err != nil {
		return d.Errf("allow_ips: %v", err)
	}
	return nil
}

func parseHostsOption(d *caddyfile.Dispenser, access *gateway.Access) error {
	if err := parseList(d, &access.Hosts, "wx.example.com"); err != nil {
		return err
	}
	if _, err := gateway.ParseHosts(access.Hosts); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// parseList sets an option that takes any number of arguments.
func parseList(d *caddyfile.Dispenser, values *[]string, example string) error {
	option := d.Val()
	if *values != nil {
		return d.Errf("%s is given twice: put everything on one line", option)
	}
	if *values = d.RemainingArgs(); len(*values) == 0 {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	for _, value := range *values {
		if strings.ContainsAny(value, gateway.Separators) {
			return d.Errf("%s %s has a comma or a semicolon: write a space between values, and nothing else", option, value)
		}
	}
	return nil
}

// parseString sets an option that takes one argument.
func parseString(d *caddyfile.Dispenser, value *string, example string) error {
	option := d.Val()
	if *value != "" {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	*value = d.Val()
	if d.NextArg() {
		return d.Errf("%s takes one value, but there is also another: write it without spaces, =, : and comments, like %s %s", option, option, example)
	}
	return nil
}

// parseValue sets an option that may have placeholders.
func parseValue(d *caddyfile.Dispenser, value *string, example string) error {
	option := d.Val()
	if err := parseString(d, value, example); err != nil {
		return err
	}
	return checkValue(d, option, *value)
}

// checkValue refuses what is seen to be wrong with a value as it stands there.
func checkValue(d *caddyfile.Dispenser, option, value string) error {
	err := checkPlaceholders(option, value)
	if err == nil && !gateway.HasPlaceholder(value) {
		err = checkCharacters(option, value)
	}
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// checkStoreURL looks at the URL of a store that has one.
func checkStoreURL(d *caddyfile.Dispenser, name string) error {
	if arg := *d; name == "redis" && arg.NextArg() {
		return checkValue(&arg, "url", arg.Val())
	}
	return nil
}

// checkTokens refuses the punctuation of a Chinese keyboard, which looks like
// Caddy's and is taken for a part of a word.
func checkTokens(d *caddyfile.Dispenser) error {
	before := ""
	for at := *d; at.Next(); before = at.Val() {
		if i := strings.IndexAny(at.Val(), "｛｝：\u3000"); i >= 0 && before != optionKey {
			r, _ := utf8.DecodeRuneInString(at.Val()[i:])
			ascii := r - '\uff01' + '!'
			if r == '\u3000' {
				ascii = ' '
			}
			return at.Errf("there is a full-width %c: write %c, with an English keyboard", r, ascii)
		}
	}
	return nil
}

// unknownOption says which options there are, and where an option belongs that
// is one elsewhere. Of the word it repeats the option's name alone: beside that
// there may be a secret.
func unknownOption(d *caddyfile.Dispenser, of string, options ...string) error {
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
	case slices.Contains([]string{optionPushToken, optionPushAESKey, optionInMemory}, name):
		return "; " + name + " belongs into a third-party platform: platform <name> { … }"
	case name == "forward" && atSite:
		return "; forward belongs into the directive weixin_callback"
	case slices.Contains(here, "account") && slices.Contains(siteOptions, name):
		return "; " + name + " belongs into the directive weixin of a site"
	case slices.Contains(here, optionAppID) && slices.Contains([]string{"key", "accounts", "allow", "ips"}, name):
		return "; " + name + " belongs into a caller: caller <name> { … }"
	case slices.Contains([]string{"account", "platform", "caller", "store"}, name) && !slices.Contains(here, "accounts"):
		return "; " + name + " is no part of this block: write it behind the } of this one"
	}
	return ""
}

// siteOptions are the options of the directive weixin.
var siteOptions = []string{"allow_ips", "hosts", "body_buffer", "body_limit", "timeout", "round_tripper", "forward_headers"}

func parseKey(d *caddyfile.Dispenser, key *string, example string) error {
	if err := parseValue(d, key, example); err != nil || gateway.HasPlaceholder(*key) {
		return err
	}
	if err := checkKey(*key); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func parseForwardHeadersOption(d *caddyfile.Dispenser, cfg *ForwardingConfig) error {
	if err := parseList(d, &cfg.ForwardHeaders, "X-Something"); err != nil {
		return err
	}
	if _, err := proxy.ParseForwardHeaders(cfg.ForwardHeaders); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func parseUpstreamOption(d *caddyfile.Dispenser, base *string) error {
	if err := parseValue(d, base, wechat.Official.Host); err != nil {
		return err
	}
	if gateway.HasPlaceholder(*base) {
		return nil // resolved when the configuration is loaded
	}
	u, err := upstream.ParseURL(*base)
	if err == nil {
		err = checkUpstreamPath(u)
	}
	if err != nil {
		return d.Errf("upstream %s %v", *base, err)
	}
	return nil
}

// parseQuantity parses a number with its unit. Between the two some write a space.
func parseQuantity(d *caddyfile.Dispenser, text *string, example string) error {
	option := d.Val()
	if args := *d; args.CountRemainingArgs() == 2 {
		parts := args.RemainingArgs()
		if strings.Trim(parts[0], "0123456789.") == "" {
			return d.Errf("%s %s %s has a space before the unit: write %s %s%s", option, parts[0], parts[1], option, parts[0], parts[1])
		}
	}
	return parseString(d, text, example)
}

func parseSize(d *caddyfile.Dispenser, size *int64, example string) error {
	option := d.Val()
	var text string
	if *size != 0 {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if err := parseQuantity(d, &text, example); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<62 {
		return d.Errf("%s %s is no size: write it like %s", option, text, example)
	}
	*size = int64(n)
	return nil
}

func parseTimeout(d *caddyfile.Dispenser, timeout *caddy.Duration) error {
	var text string
	if *timeout != 0 {
		return d.Err("timeout is given twice: leave one out")
	}
	if err := parseQuantity(d, &text, "30s"); err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(text)
	if err != nil || dur <= 0 {
		return d.Errf("timeout %s is no duration above 0: write it like 30s", text)
	}
	*timeout = caddy.Duration(dur)
	return nil
}
