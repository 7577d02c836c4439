package weixin

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

// parseCaller parses the block of a caller. That its accounts exist is seen to
// when all of them are known.
func parseCaller(d *caddyfile.Dispenser, name string, at *option.Positions) (*CallerConfig, error) {
	cfg := new(CallerConfig)
	keyExample := "{env." + strings.ToUpper(name) + "_KEY}"
	block := option.Block{Of: "caller " + name, Positions: at, Options: []option.Option{
		option.Value(option.Key, &cfg.Key, keyExample).Checked(func() error {
			if option.HasPlaceholder(cfg.Key) {
				return nil // resolved when the configuration is loaded
			}
			return checkKey(cfg.Key)
		}),
		option.List("accounts", &cfg.Accounts, "shop"),
		option.List("allow", &cfg.Allow, "/cgi-bin/message/*").Checked(func() error { return gateway.CheckPathPatterns(cfg.Allow) }),
		option.List("ips", &cfg.IPs, "10.0.0.0/8").Checked(func() error {
			if _, err := gateway.ParseRanges(cfg.IPs); err != nil {
				return fmt.Errorf("ips: %w", err)
			}
			return nil
		}),
	}}
	if err := block.Parse(d); err != nil {
		return nil, err
	}
	if cfg.Key == "" {
		return nil, d.Errf("caller %s has no key: write key %s, for example", name, keyExample)
	}
	return cfg, nil
}
