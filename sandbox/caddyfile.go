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
//		account    <appid> <secret>
//		expires_in <duration>
//		lenient
//	}
//
// There may be any number of accounts, or no block at all.
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
		case "expires_in":
			err = h.unmarshalExpiresIn(d)
		case "lenient":
			err = h.unmarshalLenient(d)
		default:
			err = d.Errf("weixin_sandbox has no option %q: write account <appid> <secret>, expires_in <duration> or lenient", option)
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
	h.Accounts = append(h.Accounts, Account{AppID: args[0], AppSecret: args[1]})
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
