package weixin

import (
	"fmt"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
)

var accessForms = option.Forms{
	"allow_ips": `["10.0.0.0/8"]`,
	"hosts":     `["wx.example.com"]`,
}

// allowIPsOption names the addresses that may use a site.
func allowIPsOption(ranges *[]string) option.Option {
	return option.List("allow_ips", ranges, "10.0.0.0/8").Checked(func() error {
		if _, err := gateway.ParseRanges(*ranges); err != nil {
			return fmt.Errorf("allow_ips: %w", err)
		}
		return nil
	})
}

// hostsOption names what a site may be called by.
func hostsOption(names *[]string) option.Option {
	return option.List("hosts", names, "wx.example.com").Checked(func() error {
		_, err := gateway.ParseHosts(*names)
		return err
	})
}
