package weixin

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// accountOptions says what to do about an option of an account in a platform's
// block.
var accountOptions = map[string]string{
	option.Kind:       "which is of no other kind: leave it out",
	option.CorpID:     "which is none of WeCom's: write appid {env.COMPONENT_APPID}, for example",
	option.AgentID:    "which is none of WeCom's: leave it out",
	"token":           "whose token is fetched in one way alone: leave it out, or for the token that pushes are signed with write push_token",
	"tickets":         "whose accounts' tickets are WeChat's: leave it out",
	"mirror":          "whose tokens are written nowhere: leave it out, and have applications use the proxy",
	optionAPISecurity: "whose calls go out as they are: leave it out",
}

// parsePlatform parses the block of a platform. Where its options stand is
// remembered.
func parsePlatform(d *caddyfile.Dispenser, name string, at *option.Positions, owners appIDOwners) (*PlatformConfig, error) {
	cfg := new(PlatformConfig)
	owner := "platform " + name
	block := option.Block{Of: owner, Positions: at, Unknown: refuseAccountOption, Options: []option.Option{
		option.Value(option.AppID, &cfg.AppID, "{env.COMPONENT_APPID}").Checked(func() error { return owners.add(cfg.AppID, "platform", name) }),
		option.Value(option.Secret, &cfg.AppSecret, "{env.COMPONENT_SECRET}"),
		option.Value(option.PushToken, &cfg.PushToken, "{env.COMPONENT_TOKEN}"),
		option.Value(option.PushAESKey, &cfg.PushAESKey, "{env.COMPONENT_AES_KEY}"),
		upstreamOption(&cfg.Upstream),
		issueOption(&cfg.Issue),
		resolverOption(&cfg.Resolver),
		{Name: optionInMemory, Parse: func(d *caddyfile.Dispenser) error { return parseInMemory(d, &cfg.AuthorizersInMemory) }},
	}}
	if err := block.Parse(d); err != nil {
		return nil, err
	}
	for _, required := range []struct{ option, value, example string }{
		{option.AppID, cfg.AppID, "{env.COMPONENT_APPID}"},
		{option.Secret, cfg.AppSecret, "{env.COMPONENT_SECRET}"},
		{option.PushToken, cfg.PushToken, "{env.COMPONENT_TOKEN}"},
		{option.PushAESKey, cfg.PushAESKey, "{env.COMPONENT_AES_KEY}"},
	} {
		if required.value == "" {
			return nil, d.Errf("platform %s has no %s: write %[2]s %s, for example", name, required.option, required.example)
		}
	}
	if err := cmp.Or(option.CheckNotSwapped(cfg.AppID, cfg.AppSecret), option.CheckAppID(cfg.AppID)); err != nil {
		return nil, d.Errf("platform %s: %v%s", name, err, at.Of(owner, option.AppID))
	}
	if err := checkParsedPushSecrets(cfg); err != nil {
		return nil, d.Errf("platform %s: %v%s", name, err, at.Of(owner, option.PushAESKey))
	}
	return cfg, nil
}

// refuseAccountOption refuses an option that accounts alone have.
func refuseAccountOption(d *caddyfile.Dispenser) error {
	if cure, ok := accountOptions[d.Val()]; ok {
		return d.Errf("%s is no option of a platform, %s", d.Val(), cure)
	}
	return nil
}

// parseInMemory sets the number of authorizers in memory.
func parseInMemory(d *caddyfile.Dispenser, n *int) error {
	name, text := d.Val(), ""
	if *n != 0 {
		return d.Errf("%s is given twice: leave one out", name)
	}
	if err := option.ParseString(d, &text, strconv.Itoa(defaultInMemory)); err != nil {
		return err
	}
	var err error
	if *n, err = strconv.Atoi(text); err != nil || *n < 1 || *n > maxInMemory {
		return d.Errf("%s %s is no number from 1 to %d: write %s %d, for example", name, text, maxInMemory, name, defaultInMemory)
	}
	return nil
}

// checkParsedPushSecrets refuses what is seen to be wrong as it stands there.
func checkParsedPushSecrets(cfg *PlatformConfig) error {
	if option.HasPlaceholder(cfg.PushToken + cfg.PushAESKey) {
		return nil // seen to when the configuration is loaded
	}
	if err := checkPushSecrets(cfg.PushToken, cfg.PushAESKey); err != nil {
		return err
	}
	if _, err := push.ParseKey(cfg.PushAESKey); err != nil {
		return fmt.Errorf("%s: %w", option.PushAESKey, err)
	}
	return nil
}
