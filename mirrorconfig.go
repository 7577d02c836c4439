package weixin

import (
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/mirror"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// MirrorConfig is a place in Redis where an SDK looks for the account's token and
// tickets itself. They are written there under the SDK's own keys, for
// applications that call WeChat directly. What is written is real: whoever reads
// that Redis can use it.
type MirrorConfig struct {
	// The SDK: `wxjava`, `silenceper`, `wechatpy` or `powerwechat`. Required.
	Preset string `json:"preset,omitempty"`

	// The URL of Redis, as `store redis` takes it. Placeholders such as
	// `{env.REDIS_URL}` are resolved when the configuration is loaded. Required.
	URL string `json:"url,omitempty"`

	// What the SDK's keys begin with. Default: the SDK's own, of wxjava `wx`
	Prefix string `json:"prefix,omitempty"`
}

var mirrorForms = option.Forms{
	"preset": `"wxjava"`,
	"url":    `"{env.REDIS_URL}"`,
	"prefix": `"wx"`,
}

// UnmarshalJSON decodes a mirror's options.
func (c *MirrorConfig) UnmarshalJSON(data []byte) error {
	type plain MirrorConfig
	if err := option.Decode(data, (*plain)(c), mirrorForms); err != nil {
		return option.Errorf("mirrors: %v", err)
	}
	return nil
}

// mirrorOption is what the n-th mirror of an account is called in positions.
func mirrorOption(n int) string { return "mirror " + strconv.Itoa(n) }

// parseMirror parses a mirror. Syntax:
//
//	mirror <preset> <redis url> {
//		prefix <prefix>
//	}
func parseMirror(d *caddyfile.Dispenser, configs *[]*MirrorConfig) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("mirror takes the SDK and the URL of its Redis: write mirror wxjava {env.REDIS_URL}, for example")
	}
	c := &MirrorConfig{Preset: args[0], URL: args[1]}
	if _, err := mirror.ParsePreset(c.Preset); err != nil {
		return d.Err(err.Error())
	}
	if err := option.CheckValue(d, "url", c.URL); err != nil {
		return err
	}
	if !option.HasPlaceholder(c.URL) {
		if err := store.CheckRedisURL(c.URL); err != nil {
			return d.Err(err.Error())
		}
	}
	block := option.Block{Of: "mirror", Options: []option.Option{option.Value("prefix", &c.Prefix, "wx")}}
	if err := block.Parse(d); err != nil {
		return err
	}
	if slices.ContainsFunc(*configs, func(other *MirrorConfig) bool { return *other == *c }) {
		return d.Errf("mirror %s is given twice for the same Redis and prefix: leave one out", c.Preset)
	}
	*configs = append(*configs, c)
	return nil
}
