package weixin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// AgentID is a WeCom application's AgentId. In JSON it may be a number or a
// string with one, or with a placeholder.
type AgentID string

// UnmarshalJSON decodes a number or a string.
func (id *AgentID) UnmarshalJSON(data []byte) error {
	var number json.Number
	if json.Unmarshal(data, (*string)(id)) == nil {
		return nil
	}
	err := json.Unmarshal(data, &number)
	*id = AgentID(number)
	return err
}

// checkAccountName refuses names that could not be written before a caller's key.
func checkAccountName(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("%q is no name of an account, since applications may write it before a colon and their key: write it without a colon", name)
	}
	return nil
}

// checkKind refuses a kind that there is not, and options that are not of the
// account's kind. Its errors say where the option stands.
func (app *App) checkKind(owner string, cfg *AccountConfig) error {
	refuse := func(option, message string) error {
		return errors.New(message + app.positions.of(owner, option))
	}
	if err := checkKindName(cfg.Kind); err != nil {
		return refuse(optionKind, err.Error())
	}
	switch kind := wechat.KindNamed(cfg.Kind); {
	case kind == wechat.WeCom && cfg.AppID != "":
		return refuse(optionAppID, "appid is no option of kind wecom: write corpid {env.CORPID}, for example")
	case kind == wechat.WeCom && cfg.Token != "":
		return refuse("token", "token is no option of kind wecom, which has gettoken alone: leave it out")
	case kind == wechat.WeCom && cfg.APISecurity != nil:
		return refuse(optionAPISecurity, "api_security is no option of kind wecom, whose API has none: leave it out here, and write it in the account of the mini program whose calls it is for")
	case kind == wechat.Official && cfg.CorpID != "":
		return refuse(optionCorpID, "corpid is no option of kind official: write appid, or for an application of a WeCom corporation kind wecom beside it")
	case kind == wechat.Official && cfg.AgentID != "":
		return refuse(optionAgentID, "agentid is no option of kind official: leave it out, or for an application of a WeCom corporation write kind wecom beside it")
	}
	return nil
}

// checkKindName refuses kinds that accounts are not of.
func checkKindName(name string) error {
	switch kind := wechat.KindNamed(name); {
	case name == wechat.Platform.Name:
		return errors.New("a third-party platform is no account: write platform <name> { … } in place of account <name> { kind platform … }")
	case kind == nil:
		return fmt.Errorf("unknown kind %s: write official or wecom", name)
	}
	return nil
}

func parseKind(d *caddyfile.Dispenser, name *string) error {
	if err := parseString(d, name, wechat.WeCom.Name); err != nil {
		return err
	}
	if err := checkKindName(*name); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// corpCredentialsOf returns what an application of a corporation proves itself
// with.
func (app *App) corpCredentialsOf(owner string, cfg *AccountConfig) (wechat.Credentials, error) {
	corpID, err := app.resolve(owner, optionCorpID, cfg.CorpID)
	if err != nil {
		return wechat.Credentials{}, err
	}
	secret, err := app.resolve(owner, optionSecret, cfg.AppSecret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	if err := checkCorpID(corpID); err != nil {
		return wechat.Credentials{}, fmt.Errorf("%w%s", err, app.positions.of(owner, optionCorpID))
	}
	return wechat.Credentials{ID: corpID, Secret: secret}, nil
}

// agentIDOf returns the account's AgentId, or "".
func (app *App) agentIDOf(owner string, cfg *AccountConfig) (string, error) {
	if cfg.AgentID == "" {
		return "", nil
	}
	id, err := app.resolve(owner, optionAgentID, string(cfg.AgentID))
	if err == nil {
		if wrong := checkAgentID(id); wrong != nil {
			err = fmt.Errorf("%w%s", wrong, app.positions.of(owner, optionAgentID))
		}
	}
	return id, err
}

// wecomSecretLength is how many characters an application's Secret has, as far as
// any was seen.
const wecomSecretLength = 43

// checkCorpID refuses what is another of the things that WeCom's console shows.
func checkCorpID(corpID string) error {
	if len(corpID) == wecomSecretLength && !strings.Contains(corpID, "{") {
		return errors.New("corpid has the form of an application's Secret: write the corporation's ID, which begins with ww")
	}
	if isDigits(corpID) {
		return errors.New("corpid is a number, as an AgentId is: write the corporation's ID, which begins with ww")
	}
	return nil
}

// checkAgentID refuses what is no number.
func checkAgentID(id string) error {
	if !isDigits(id) {
		return errors.New("agentid is no number: write the application's AgentId, like 1000002")
	}
	return nil
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// checkParsedAccount refuses an account of a Caddyfile that lacks something, or
// has what cannot be right.
func (app *App) checkParsedAccount(name string, cfg *AccountConfig) error {
	owner := "account " + name
	if err := app.checkKind(owner, cfg); err != nil {
		return fmt.Errorf("account %s: %w", name, err)
	}
	if cfg.APISecurity != nil {
		if err := cfg.APISecurity.check(); err != nil {
			return fmt.Errorf("account %s: %w%s", name, err, app.positions.of(apiSecurityOf(name), endOfBlock))
		}
	}
	if cfg.Kind == wechat.WeCom.Name {
		if err := checkCorpID(cfg.CorpID); err != nil {
			return fmt.Errorf("account %s: %w%s", name, err, app.positions.of(owner, optionCorpID))
		}
		return nil
	}
	if err := cmp.Or(checkNotSwapped(cfg.AppID, cfg.AppSecret), checkAppID(cfg.AppID)); err != nil {
		return fmt.Errorf("account %s: %w%s", name, err, app.positions.of(owner, optionAppID))
	}
	return nil
}
