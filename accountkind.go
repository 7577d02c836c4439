package weixin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
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

// kindOption is that of an account.
func kindOption(name *string) option.Option {
	return option.String(option.Kind, name, wechat.WeCom.Name).Checked(func() error { return checkKindName(*name) })
}

// corpCredentialsOf returns what an application of a corporation proves itself
// with.
func corpCredentialsOf(values option.Values, owner, corpID, secret string) (wechat.Credentials, error) {
	corpID, err := values.Resolve(owner, option.CorpID, corpID)
	if err != nil {
		return wechat.Credentials{}, err
	}
	secret, err = values.Resolve(owner, option.Secret, secret)
	if err != nil {
		return wechat.Credentials{}, err
	}
	if err := option.CheckCorpID(corpID); err != nil {
		return wechat.Credentials{}, values.Wrong(owner, option.CorpID, err)
	}
	return wechat.Credentials{ID: corpID, Secret: secret}, nil
}

// agentIDOf returns an account's AgentId with its placeholders replaced, or "".
func agentIDOf(values option.Values, owner string, configured AgentID) (string, error) {
	if configured == "" {
		return "", nil
	}
	id, err := values.Resolve(owner, option.AgentID, string(configured))
	if err == nil {
		if wrong := option.CheckAgentID(id); wrong != nil {
			err = values.Wrong(owner, option.AgentID, wrong)
		}
	}
	return id, err
}
