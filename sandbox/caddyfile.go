package sandbox

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func registerDirective() {
	httpcaddyfile.RegisterHandlerDirective("weixin_sandbox", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("weixin_sandbox", httpcaddyfile.Before, "respond")
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	weixin_sandbox [<matcher>] {
//		account    <appid> <secret> {
//			api_security {
//				key        <sn> <base64>
//				public_key <file or PEM>
//			}
//		}
//		corp       <corpid> {
//			agent <agentid> <secret>
//		}
//		component  <appid> <secret> {
//			push_token   <token>
//			push_aes_key <key>
//			callback     <url>
//			authorizer   <appids...>
//		}
//		expires_in <duration>
//		lenient
//	}
//
// There may be any number of accounts, corps, agents and components, or no block
// at all.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("weixin_sandbox takes no argument %q: accounts stand in its block, as account <appid> <secret>", d.Val())
	}
	for d.NextBlock(0) {
		var err error
		switch option := d.Val(); option {
		case "account":
			err = h.unmarshalAccount(d)
		case "corp":
			err = h.unmarshalCorp(d)
		case "component":
			err = h.unmarshalComponent(d)
		case "expires_in":
			err = h.unmarshalExpiresIn(d)
		case "lenient":
			err = h.unmarshalLenient(d)
		default:
			err = d.Errf("weixin_sandbox has no option %q: write account, corp, component, expires_in or lenient", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalAccount(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("an account is its appid and its secret: write account <appid> <secret>")
	}
	for _, a := range h.Accounts {
		if a.AppID == args[0] {
			return d.Errf("account %s stands there twice: write every appid once", args[0])
		}
	}
	a := Account{AppID: args[0], AppSecret: args[1]}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "api_security" || d.NextArg() {
			return d.Errf("account has no option %q: write api_security { key <sn> <base64>, public_key <file or PEM> }, or no block", d.Val())
		}
		if a.APISecurity != nil {
			return d.Err("api_security stands there twice: write it once")
		}
		a.APISecurity = new(APISecurity)
		if err := a.APISecurity.unmarshal(d); err != nil {
			return err
		}
	}
	h.Accounts = append(h.Accounts, a)
	return nil
}

func (s *APISecurity) unmarshal(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		args := d.RemainingArgs()
		switch {
		case name == "key" && len(args) == 2:
			s.Keys = append(s.Keys, SecurityKey{SN: args[0], Key: args[1]})
		case name == "public_key" && len(args) == 1 && s.PublicKey == "":
			s.PublicKey = args[0]
		default:
			return d.Errf("api_security has no such option %q: write key <sn> <base64>, and once public_key <file or PEM>", name)
		}
	}
	if len(s.Keys) == 0 && s.PublicKey == "" {
		return d.Err("api_security needs key <sn> <base64> and public_key <file or PEM> in its block")
	}
	return nil
}

func (h *Handler) unmarshalCorp(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("a corp is its corpid, and its agents stand in a block: write corp <corpid> { agent <agentid> <secret> }")
	}
	co := Corp{CorpID: args[0]}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "agent" {
			return d.Errf("corp has no option %q: write agent <agentid> <secret>", d.Val())
		}
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Err("an agent is its agentid and its secret: write agent <agentid> <secret>")
		}
		co.Agents = append(co.Agents, Agent{AgentID: args[0], Secret: args[1]})
	}
	if len(co.Agents) == 0 {
		return d.Errf("corp %s has no agent: write agent <agentid> <secret> in its block", co.CorpID)
	}
	for _, other := range h.Corps {
		if other.CorpID == co.CorpID {
			return d.Errf("corp %s stands there twice: write all its agents in one block", co.CorpID)
		}
	}
	h.Corps = append(h.Corps, co)
	return nil
}

func (h *Handler) unmarshalComponent(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("a component is its appid and its secret, and a block: write component <appid> <secret> { push_token <token> … }")
	}
	for _, other := range h.Components {
		if other.AppID == args[0] {
			return d.Errf("component %s stands there twice: write every appid once", args[0])
		}
	}
	co := Component{AppID: args[0], Secret: args[1]}
	options := map[string]*string{"push_token": &co.PushToken, "push_aes_key": &co.PushAESKey, "callback": &co.Callback}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		args := d.RemainingArgs()
		if name == "authorizer" {
			if len(args) == 0 {
				return d.Err("authorizer is the appids of accounts: write authorizer wx0000000000000002 for example")
			}
			co.Authorizers = append(co.Authorizers, args...)
			continue
		}
		option := options[name]
		switch {
		case option == nil:
			return d.Errf("component has no option %q: write push_token, push_aes_key, callback or authorizer", name)
		case len(args) != 1:
			return d.Errf("%s is one value: write %s <value>", name, name)
		case *option != "":
			return d.Errf("%s stands there twice: write it once", name)
		}
		*option = args[0]
	}
	if co.PushToken == "" || co.PushAESKey == "" {
		return d.Errf("component %s needs push_token <token> and push_aes_key <key> in its block", co.AppID)
	}
	h.Components = append(h.Components, co)
	return nil
}

func (h *Handler) unmarshalExpiresIn(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("expires_in is one duration: write for instance expires_in 30s")
	}
	if h.ExpiresIn != 0 {
		return d.Err("expires_in stands there twice: write it once")
	}
	expiresIn, err := caddy.ParseDuration(args[0])
	if err != nil || expiresIn < minExpiresIn {
		return d.Errf("expires_in %s is no duration of at least %s: write for instance expires_in 30s", args[0], minExpiresIn)
	}
	h.ExpiresIn = caddy.Duration(expiresIn)
	return nil
}

func (h *Handler) unmarshalLenient(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("lenient takes no argument %q: write lenient alone, or leave it out", d.Val())
	}
	h.Lenient = true
	return nil
}

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	err := h.UnmarshalCaddyfile(helper.Dispenser)
	return h, err
}
