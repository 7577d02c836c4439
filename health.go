package weixin

import (
	"encoding/json"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/clientbody"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

// HealthCheck answers load balancers: with status 200 while every account has a
// usable token or needs none yet, and with 503 otherwise. A third-party platform is
// such an account, and those that have authorised it are none. `?account=<name>`
// asks for one account, and gets 404 where there is none of that name. It asks WeChat
// nothing, and needs no caller's key.
//
// Clients in `allow_ips` get `{"healthy":…,"unhealthy":[…]}` as well, with the
// names of the accounts that are not; others get the status alone.
type HealthCheck struct {
	// The addresses that are told which accounts are unhealthy, as IPs or CIDR
	// ranges; `private_ranges` stands for all loopback and private ranges. Where
	// the server has `trusted_proxies`, the client's address is what they
	// report. Default: private_ranges
	AllowIPs []string `json:"allow_ips,omitempty"`

	served *served
	access gateway.Access
}

var healthForms = option.Forms{"allow_ips": accessForms["allow_ips"]}

// UnmarshalJSON decodes the check's options.
func (h *HealthCheck) UnmarshalJSON(data []byte) error {
	type plain HealthCheck
	return option.Decode(data, (*plain)(h), healthForms)
}

// CaddyModule returns the Caddy module information.
func (HealthCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.weixin_health",
		New: func() caddy.Module { return new(HealthCheck) },
	}
}

// Provision sets up the check.
func (h *HealthCheck) Provision(ctx caddy.Context) error {
	h.access.AllowIPs = h.AllowIPs
	if err := h.access.Prepare(); err != nil {
		return err
	}
	app, err := loadApp(ctx)
	if err != nil {
		return err
	}
	if len(app.served.names()) == 0 {
		return errNoAccount
	}
	h.served = &app.served
	return nil
}

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	weixin_health [<matcher>] {
//		allow_ips <ranges...>
//	}
func (h *HealthCheck) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := option.CheckTokens(d); err != nil {
		return err
	}
	d.Next() // the directive's name
	if d.NextArg() {
		return d.Errf("weixin_health takes no argument but a matcher, which begins with / or @, and here is %s; "+
			"ask for one account with ?account=<name>", d.Val())
	}
	block := option.Block{Of: "weixin_health", Options: []option.Option{allowIPsOption(&h.AllowIPs)}}
	return block.Parse(d)
}

// ServeHTTP answers every request itself.
func (h *HealthCheck) ServeHTTP(w http.ResponseWriter, req *http.Request, _ caddyhttp.Handler) error {
	clientbody.Serve(w, req, h.serve)
	return nil
}

func (h *HealthCheck) serve(w http.ResponseWriter, req *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	names, ok := h.asked(req)
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	report := h.served.health(names)
	if !h.access.Contains(gateway.ClientAddr(req)) {
		w.WriteHeader(report.status())
		return
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(report.status())
	// The client may be gone, which is no concern of the proxy's.
	_ = json.NewEncoder(w).Encode(report)
}

// asked returns the names of the accounts that a request asks for, and reports
// whether they exist. An outsider hears of an account whose name it knows; load
// balancers are not always inside.
func (h *HealthCheck) asked(req *http.Request) ([]string, bool) {
	query := req.URL.Query()
	if !query.Has("account") {
		return h.served.names(), true
	}
	for _, name := range query["account"] {
		if h.served.named(name) == nil {
			return nil, false
		}
	}
	return query["account"], true
}

// Interface guards
var (
	_ caddy.Provisioner           = (*HealthCheck)(nil)
	_ caddyfile.Unmarshaler       = (*HealthCheck)(nil)
	_ caddyhttp.MiddlewareHandler = (*HealthCheck)(nil)
)
