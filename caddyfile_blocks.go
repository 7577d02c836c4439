package weixin

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// parseAccount parses an account of the global option.
func (app *App) parseAccount(d *caddyfile.Dispenser, appIDs map[string]string) error {
	name, err := parseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Accounts[name]; ok {
		return d.Errf("account %s is given twice: give each a name of its own", name)
	}
	if _, ok := app.Platforms[name]; ok {
		return d.Errf("account %s has the name of a platform: give it a name of its own", name)
	}
	if err := checkAccountName(name); err != nil {
		return d.Err(err.Error())
	}
	cfg := new(AccountConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		app.positions.remember(d, "account "+name, option)
		var err error
		switch option {
		case "appid":
			err = parseValue(d, &cfg.AppID, "{env.WEIXIN_APPID}")
			if other, ok := appIDs[cfg.AppID]; err == nil && ok {
				return d.Errf("appid %s is that of %s already: give every account an appid of its own", cfg.AppID, other)
			}
			appIDs[cfg.AppID] = "account " + name
		case optionKind:
			err = parseKind(d, &cfg.Kind)
		case optionCorpID:
			err = parseValue(d, &cfg.CorpID, "{env.CORPID}")
		case optionAgentID:
			err = parseValue(d, (*string)(&cfg.AgentID), "1000002")
		case "secret":
			err = parseValue(d, &cfg.AppSecret, "{env.WEIXIN_SECRET}")
		case "token":
			if err = parseString(d, &cfg.Token, "stable"); err == nil {
				if methodErr := checkTokenMethod(wechat.Official, cfg.Token); methodErr != nil {
					err = d.Err(methodErr.Error())
				}
			}
		case "upstream":
			err = parseUpstreamOption(d, &cfg.Upstream)
		case "resolver":
			err = parseResolverOption(d, &cfg.Resolver)
		case "issue":
			err = parseIssue(d, &cfg.Issue)
		case optionAPISecurity:
			err = app.parseAPISecurity(d, name, &cfg.APISecurity)
		case "tickets":
			err = parseTickets(d, &cfg.Tickets)
		case "mirror":
			app.positions.remember(d, "account "+name, mirrorOption(len(cfg.Mirrors)))
			err = parseMirror(d, cfg)
		default:
			return unknownOption(d, "account "+name, "appid", "secret", "token", "upstream", "issue", "resolver", optionAPISecurity, "tickets", "mirror", "kind", "corpid", "agentid")
		}
		if err != nil {
			return err
		}
	}
	if cfg.Kind == wechat.WeCom.Name && cfg.AppID == "" && cfg.CorpID == "" {
		return d.Errf("account %s has no corpid: write corpid {env.CORPID}, for example", name)
	}
	if cfg.Kind != wechat.WeCom.Name && cfg.AppID == "" && cfg.CorpID == "" {
		return d.Errf("account %s has no appid: write appid {env.WEIXIN_APPID}, for example", name)
	}
	if cfg.AppSecret == "" {
		return d.Errf("account %s has no secret: write secret {env.WEIXIN_SECRET}, for example", name)
	}
	if err := app.checkParsedAccount(name, cfg); err != nil {
		return err
	}
	if app.Accounts == nil {
		app.Accounts = make(map[string]*AccountConfig)
	}
	app.Accounts[name] = cfg
	return nil
}

// parseCaller parses a caller. That its accounts exist is seen to when all of
// them are known.
func (app *App) parseCaller(d *caddyfile.Dispenser) error {
	name, err := parseName(d)
	if err != nil {
		return err
	}
	if _, ok := app.Callers[name]; ok {
		return d.Errf("caller %s is given twice: give each a name of its own", name)
	}
	cfg := new(CallerConfig)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var err error
		switch option {
		case "key":
			err = parseKey(d, &cfg.Key, "{env."+strings.ToUpper(name)+"_KEY}")
		case "accounts":
			err = parseList(d, &cfg.Accounts, "shop")
		case "allow":
			if err = parseList(d, &cfg.Allow, "/cgi-bin/message/*"); err == nil {
				if patternErr := gateway.CheckPathPatterns(cfg.Allow); patternErr != nil {
					err = d.Err(patternErr.Error())
				}
			}
		case "ips":
			if err = parseList(d, &cfg.IPs, "10.0.0.0/8"); err == nil {
				if _, rangeErr := gateway.ParseRanges(cfg.IPs); rangeErr != nil {
					err = d.Errf("ips: %v", rangeErr)
				}
			}
		default:
			return unknownOption(d, "caller "+name, "key", "accounts", "allow", "ips")
		}
		if err != nil {
			return err
		}
		app.positions.remember(d, "caller "+name, option)
	}
	if cfg.Key == "" {
		return d.Errf("caller %s has no key: write key {env.%s_KEY}, for example", name, strings.ToUpper(name))
	}
	if app.Callers == nil {
		app.Callers = make(map[string]*CallerConfig)
	}
	app.Callers[name] = cfg
	return nil
}
