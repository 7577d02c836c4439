package sandbox

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
)

func init() {
	caddy.RegisterModule(new(Handler))
	httpcaddyfile.RegisterHandlerDirective("weixin_sandbox", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("weixin_sandbox", httpcaddyfile.Before, "respond")
}

// Handler serves a WeChat API that needs no account and no network: both token
// endpoints with WeChat's rules and quotas, the API paths that are tried first,
// and an answer of success for the rest. Below /sandbox/ it has endpoints for
// test scripts, which let tokens expire, revoke them, and count calls.
//
// Handlers with the same accounts and the same lifetime are one sandbox, and it
// keeps its tokens when the configuration is reloaded.
type Handler struct {
	// The accounts that the sandbox knows. Default: one account with AppID
	// wx0000000000000001 and AppSecret 0123456789abcdef0123456789abcdef.
	Accounts []Account `json:"accounts,omitempty"`

	// How long a token lives, two seconds at least. Where that is less than ten
	// minutes, a token and its successor both work for half of it instead of
	// WeChat's five minutes. Default: 2h.
	ExpiresIn caddy.Duration `json:"expires_in,omitempty"`

	server   *Server
	pooledAs *poolKey // nil while the handler holds no server of the pool
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_sandbox",
		New: func() caddy.Module { return new(Handler) },
	}
}

// servers are those in use, so that a reload changes nothing: WeChat does not
// forget its tokens either.
var servers = caddy.NewUsagePool()

// poolKey is all that tells one sandbox from another. The accounts are hashed,
// since the pool's own errors show its keys.
type poolKey struct {
	accounts  [sha256.Size]byte
	expiresIn time.Duration
}

// Provision resolves placeholders and finds or makes the sandbox.
func (h *Handler) Provision(caddy.Context) error {
	config, err := h.resolve()
	if err != nil {
		return err
	}
	accounts, err := json.Marshal(config.Accounts)
	if err != nil {
		return err
	}
	key := poolKey{sha256.Sum256(accounts), config.ExpiresIn}
	server, _, err := servers.LoadOrNew(key, func() (caddy.Destructor, error) {
		server, err := New(config)
		return pooled{server}, err
	})
	if err != nil {
		return err
	}
	h.server, h.pooledAs = server.(pooled).Server, &key
	return nil
}

// resolve returns the configuration without its placeholders. They stay in the
// exported fields, which Caddy may log.
func (h *Handler) resolve() (Config, error) {
	config := Config{ExpiresIn: time.Duration(h.ExpiresIn)}
	repl := caddy.NewReplacer()
	for i, a := range h.Accounts {
		appID, err := repl.ReplaceOrErr(a.AppID, true, true)
		if err != nil {
			return Config{}, fmt.Errorf("account %d: appid: %w", i+1, err)
		}
		secret, err := repl.ReplaceOrErr(a.AppSecret, true, true)
		if err != nil {
			return Config{}, fmt.Errorf("account %d: secret: %w", i+1, err)
		}
		config.Accounts = append(config.Accounts, Account{AppID: appID, AppSecret: secret})
	}
	return config, nil
}

// pooled is a Server as the pool wants it: there is nothing to be closed.
type pooled struct{ *Server }

func (pooled) Destruct() error { return nil }

// Cleanup gives the sandbox back. Requests may still be under way, so the
// handler keeps it.
func (h *Handler) Cleanup() error {
	if h.pooledAs == nil {
		return nil
	}
	key := *h.pooledAs
	h.pooledAs = nil
	_, err := servers.Delete(key)
	return err
}

// ServeHTTP answers every request: there is nothing behind WeChat.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, r, h.server.ServeHTTP)
	return nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	weixin_sandbox [<matcher>] {
//		account    <appid> <secret>
//		expires_in <duration>
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
		default:
			err = d.Errf("weixin_sandbox has no option %q: write account <appid> <secret> or expires_in <duration>", option)
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

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	err := h.UnmarshalCaddyfile(helper.Dispenser)
	return h, err
}

// Interface guards
var (
	_ http.Handler                = (*Server)(nil)
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
