package weixin

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// parseAccount parses the block of an account. Where its options stand is
// remembered.
func parseAccount(d *caddyfile.Dispenser, name string, at *option.Positions, owners appIDOwners) (*AccountConfig, error) {
	cfg := new(AccountConfig)
	owner := "account " + name
	block := option.Block{Of: owner, Positions: at, Options: []option.Option{
		option.Value(option.AppID, &cfg.AppID, "{env.WEIXIN_APPID}").Checked(func() error { return owners.add(cfg.AppID, "account", name) }),
		option.Value(option.Secret, &cfg.AppSecret, "{env.WEIXIN_SECRET}"),
		option.String("token", &cfg.Token, "stable").Checked(func() error { return checkTokenMethod(wechat.Official, cfg.Token) }),
		upstreamOption(&cfg.Upstream),
		issueOption(&cfg.Issue),
		resolverOption(&cfg.Resolver),
		{Name: optionAPISecurity, Parse: func(d *caddyfile.Dispenser) error { return parseAPISecurity(d, name, &cfg.APISecurity, at) }},
		option.String("tickets", &cfg.Tickets, ticketsPass).Checked(func() error { return checkTickets(cfg.Tickets) }),
		{Name: "mirror", Parse: func(d *caddyfile.Dispenser) error {
			at.Remember(d, owner, mirrorOption(len(cfg.Mirrors)))
			return parseMirror(d, &cfg.Mirrors)
		}},
		kindOption(&cfg.Kind),
		option.Value(option.CorpID, &cfg.CorpID, "{env.CORPID}"),
		option.Value(option.AgentID, (*string)(&cfg.AgentID), "1000002"),
	}}
	if err := block.Parse(d); err != nil {
		return nil, err
	}
	if err := cfg.checkComplete(); err != nil {
		return nil, d.Errf("account %s %v", name, err)
	}
	if err := cfg.checkParsed(name, option.Values{Positions: *at}); err != nil {
		return nil, fmt.Errorf("account %s: %w", name, err)
	}
	return cfg, nil
}

// checkComplete refuses an account that lacks what identifies it, or its secret.
func (c *AccountConfig) checkComplete() error {
	switch isWeCom := c.Kind == wechat.WeCom.Name; {
	case isWeCom && c.AppID == "" && c.CorpID == "":
		return errors.New("has no corpid: write corpid {env.CORPID}, for example")
	case c.AppID == "" && c.CorpID == "":
		return errors.New("has no appid: write appid {env.WEIXIN_APPID}, for example")
	case c.AppSecret == "":
		return errors.New("has no secret: write secret {env.WEIXIN_SECRET}, for example")
	}
	return nil
}

// checkParsed refuses an account that has what cannot be right.
func (c *AccountConfig) checkParsed(name string, values option.Values) error {
	owner := "account " + name
	if err := c.checkKind(values, owner); err != nil {
		return err
	}
	if c.APISecurity != nil {
		if err := c.APISecurity.check(); err != nil {
			return values.Wrong(apiSecurityOf(name), endOfBlock, err)
		}
	}
	if c.Kind == wechat.WeCom.Name {
		if err := option.CheckCorpID(c.CorpID); err != nil {
			return values.Wrong(owner, option.CorpID, err)
		}
		return nil
	}
	if err := cmp.Or(option.CheckNotSwapped(c.AppID, c.AppSecret), option.CheckAppID(c.AppID)); err != nil {
		return values.Wrong(owner, option.AppID, err)
	}
	return nil
}

// appIDOwners are whose the AppIDs of a Caddyfile are, such as "account shop".
type appIDOwners map[string]string

// add refuses an AppID that another account or platform has.
func (o appIDOwners) add(appID, kind, name string) error {
	if other, ok := o[appID]; ok {
		return fmt.Errorf("appid %s is that of %s already: give every %s an appid of its own", appID, other, kind)
	}
	o[appID] = kind + " " + name
	return nil
}
