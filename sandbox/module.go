package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
)

func init() {
	caddy.RegisterModule(new(Handler))
	registerDirective()
}

// Handler serves a WeChat API that needs no account and no network: both token
// endpoints with WeChat's rules and quotas, the API paths that are tried first,
// and errcode 40066 for the rest. Below /sandbox/ it has endpoints for test
// scripts, which let tokens expire, revoke them, and tell what was called.
//
// Handlers with the same configuration are one sandbox, and it keeps its tokens
// when the configuration is reloaded.
type Handler struct {
	// The accounts that the sandbox knows. Default, where nothing else is
	// configured either: one account with AppID wx0000000000000001 and AppSecret
	// 0123456789abcdef0123456789abcdef.
	Accounts []Account `json:"accounts,omitempty"`

	// The WeCom corporations that the sandbox knows. Default: none.
	Corps []Corp `json:"corps,omitempty"`

	// The third-party platforms that the sandbox knows. Default: none.
	Components []Component `json:"components,omitempty"`

	// How long a token lives, two seconds at least. Where that is less than ten
	// minutes, a token and its successor both work for half of it instead of
	// WeChat's five minutes. Default: 2h.
	ExpiresIn caddy.Duration `json:"expires_in,omitempty"`

	// Whether a path that the sandbox does not know is answered with errcode 0, if
	// the token is right. WeChat answers 40066. Default: false.
	Lenient bool `json:"lenient,omitempty"`

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

// poolKey is all that tells one sandbox from another: the hash of its
// configuration, since the pool's own errors show its keys.
type poolKey [sha256.Size]byte

// Provision resolves placeholders and finds or makes the sandbox.
func (h *Handler) Provision(caddy.Context) error {
	config, err := h.resolve()
	if err != nil {
		return err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	key := poolKey(sha256.Sum256(text))
	server, _, err := servers.LoadOrNew(key, func() (caddy.Destructor, error) { return newPooled(config) })
	if err != nil {
		return err
	}
	h.server, h.pooledAs = server.(pooled).Server, &key
	return nil
}

// resolve returns the configuration without its placeholders. They stay in the
// exported fields, which Caddy may log.
func (h *Handler) resolve() (Config, error) {
	config := Config{ExpiresIn: time.Duration(h.ExpiresIn), Lenient: h.Lenient}
	r := resolver{repl: caddy.NewReplacer()}
	for i, a := range h.Accounts {
		r.within("account %d", i+1)
		config.Accounts = append(config.Accounts, Account{
			AppID: r.text("appid", a.AppID), AppSecret: r.text("secret", a.AppSecret), APISecurity: r.security(a.APISecurity),
		})
	}
	for i, co := range h.Corps {
		r.within("corp %d", i+1)
		resolved := Corp{CorpID: r.text("corpid", co.CorpID)}
		for j, a := range co.Agents {
			r.within("corp %d, agent %d", i+1, j+1)
			resolved.Agents = append(resolved.Agents, Agent{
				AgentID: r.text("agentid", a.AgentID), Secret: r.text("secret", a.Secret),
			})
		}
		config.Corps = append(config.Corps, resolved)
	}
	for i, co := range h.Components {
		r.within("component %d", i+1)
		resolved := Component{
			AppID: r.text("appid", co.AppID), Secret: r.text("secret", co.Secret), PushToken: r.text("push_token", co.PushToken),
			PushAESKey: r.text("push_aes_key", co.PushAESKey), Authorizers: co.Authorizers,
		}
		if co.Callback != "" {
			resolved.Callback = r.text("callback", co.Callback)
		}
		config.Components = append(config.Components, resolved)
	}
	return config, r.err
}

func (r *resolver) security(s *APISecurity) *APISecurity {
	if s == nil {
		return nil
	}
	resolved := new(APISecurity)
	if s.PublicKey != "" {
		resolved.PublicKey = r.text("public_key", s.PublicKey)
	}
	for _, k := range s.Keys {
		resolved.Keys = append(resolved.Keys, SecurityKey{SN: r.text("sn", k.SN), Key: r.text("key", k.Key)})
	}
	return resolved
}

// resolver resolves placeholders until the first that cannot be.
type resolver struct {
	repl  *caddy.Replacer
	where string
	err   error
}

func (r *resolver) within(format string, args ...any) { r.where = fmt.Sprintf(format, args...) }

func (r *resolver) text(option, value string) string {
	resolved, err := r.repl.ReplaceOrErr(value, true, true)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %s: %w", r.where, option, err)
	}
	return resolved
}

// pooled is a Server as the pool wants it: it pushes until nobody has it any
// more.
type pooled struct {
	*Server
	stop context.CancelFunc
}

func newPooled(config Config) (caddy.Destructor, error) {
	server, err := New(config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	if len(server.components) > 0 {
		go server.Run(ctx)
	}
	return pooled{server, stop}, nil
}

func (p pooled) Destruct() error {
	p.stop()
	return nil
}

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

// Interface guards
var (
	_ http.Handler                = (*Server)(nil)
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
