package weixin

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// platformOptions are the options of a platform.
var platformOptions = []string{
	optionAppID, optionSecret, optionPushToken, optionPushAESKey, "upstream", "issue", "resolver", optionInMemory,
}

// accountOptions says what to do about an option of an account in a platform's
// block.
var accountOptions = map[string]string{
	optionKind:        "which is of no other kind: leave it out",
	optionCorpID:      "which is none of WeCom's: write appid {env.COMPONENT_APPID}, for example",
	optionAgentID:     "which is none of WeCom's: leave it out",
	"token":           "whose token is fetched in one way alone: leave it out, or for the token that pushes are signed with write push_token",
	"tickets":         "whose accounts' tickets are WeChat's: leave it out",
	"mirror":          "whose tokens are written nowhere: leave it out, and have applications use the proxy",
	optionAPISecurity: "whose calls go out as they are: leave it out",
}

// parsePlatform parses a platform of the global option.
func (app *App) parsePlatform(d *caddyfile.Dispenser, appIDs map[string]string) error {
	name, err := parseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Platforms[name]; ok {
		return d.Errf("platform %s is given twice: give each a name of its own", name)
	}
	if err := app.checkPlatformName(name); err != nil {
		return d.Errf("platform %s: %v", name, err)
	}
	cfg := new(PlatformConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if err := parsePlatformOption(d, name, cfg); err != nil {
			return err
		}
		if option == optionAppID {
			if other, ok := appIDs[cfg.AppID]; ok {
				return d.Errf("appid %s is that of %s already: give every platform an appid of its own", cfg.AppID, other)
			}
			appIDs[cfg.AppID] = "platform " + name
		}
		app.positions.remember(d, "platform "+name, option)
	}
	for _, required := range []struct{ option, value, example string }{
		{optionAppID, cfg.AppID, "{env.COMPONENT_APPID}"},
		{optionSecret, cfg.AppSecret, "{env.COMPONENT_SECRET}"},
		{optionPushToken, cfg.PushToken, "{env.COMPONENT_TOKEN}"},
		{optionPushAESKey, cfg.PushAESKey, "{env.COMPONENT_AES_KEY}"},
	} {
		if required.value == "" {
			return d.Errf("platform %s has no %s: write %[2]s %s, for example", name, required.option, required.example)
		}
	}
	if err := cmp.Or(checkNotSwapped(cfg.AppID, cfg.AppSecret), checkAppID(cfg.AppID)); err != nil {
		return d.Errf("platform %s: %v%s", name, err, app.positions.of("platform "+name, optionAppID))
	}
	if err := checkParsedPushSecrets(cfg); err != nil {
		return d.Errf("platform %s: %v%s", name, err, app.positions.of("platform "+name, optionPushAESKey))
	}
	if app.Platforms == nil {
		app.Platforms = make(map[string]*PlatformConfig)
	}
	app.Platforms[name] = cfg
	return nil
}

func parsePlatformOption(d *caddyfile.Dispenser, name string, cfg *PlatformConfig) error {
	switch option := d.Val(); option {
	case optionAppID:
		return parseValue(d, &cfg.AppID, "{env.COMPONENT_APPID}")
	case optionSecret:
		return parseValue(d, &cfg.AppSecret, "{env.COMPONENT_SECRET}")
	case optionPushToken:
		return parseValue(d, &cfg.PushToken, "{env.COMPONENT_TOKEN}")
	case optionPushAESKey:
		return parseValue(d, &cfg.PushAESKey, "{env.COMPONENT_AES_KEY}")
	case "upstream":
		return parseUpstreamOption(d, &cfg.Upstream)
	case "resolver":
		return parseResolverOption(d, &cfg.Resolver)
	case "issue":
		return parseIssue(d, &cfg.Issue)
	case optionInMemory:
		return parseInMemory(d, &cfg.AuthorizersInMemory)
	default:
		if cure, ok := accountOptions[option]; ok {
			return d.Errf("%s is no option of a platform, %s", option, cure)
		}
		return unknownOption(d, "platform "+name, platformOptions...)
	}
}

func parseIssue(d *caddyfile.Dispenser, issue *string) error {
	if err := parseString(d, issue, account.IssueVirtual); err != nil {
		return err
	}
	if err := checkIssue(*issue); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// parseInMemory sets the number of authorizers in memory.
func parseInMemory(d *caddyfile.Dispenser, n *int) error {
	option, text := d.Val(), ""
	if *n != 0 {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if err := parseString(d, &text, strconv.Itoa(defaultInMemory)); err != nil {
		return err
	}
	var err error
	if *n, err = strconv.Atoi(text); err != nil || *n < 1 || *n > maxInMemory {
		return d.Errf("%s %s is no number from 1 to %d: write %s %d, for example", option, text, maxInMemory, option, defaultInMemory)
	}
	return nil
}

// checkParsedPushSecrets refuses what is seen to be wrong as it stands there.
func checkParsedPushSecrets(cfg *PlatformConfig) error {
	if gateway.HasPlaceholder(cfg.PushToken + cfg.PushAESKey) {
		return nil // seen to when the configuration is loaded
	}
	if err := checkPushSecrets(cfg.PushToken, cfg.PushAESKey); err != nil {
		return err
	}
	if _, err := push.ParseKey(cfg.PushAESKey); err != nil {
		return fmt.Errorf("%s: %w", optionPushAESKey, err)
	}
	return nil
}
