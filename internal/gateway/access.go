package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Access is who may use an account through the proxy.
type Access struct {
	// The addresses that may call, as IPs or CIDR ranges; `private_ranges`
	// stands for all loopback and private ranges. Where the server has
	// `trusted_proxies`, the client's address is what they report.
	// Default: private_ranges; with callers, anywhere.
	AllowIPs []string `json:"allow_ips,omitempty"`

	// Without callers, the names under which the proxy is served over plain
	// HTTP. IP addresses other than 0.0.0.0 and [::], names without a dot, and
	// names that end in .localhost, .local, .internal or .home.arpa need not be
	// listed. Any web site can give its own name the proxy's address, and would
	// call the proxy with its visitor's browser if it were served under all
	// names.
	Hosts []string `json:"hosts,omitempty"`

	ranges   []netip.Prefix
	ownHosts []string // Hosts, as they are compared
}

// privateRanges are the addresses that `private_ranges` stands for, the same as
// in Caddy's own matchers.
var privateRanges = []string{
	"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1",
}

// Prepare parses what the configuration says.
func (a *Access) Prepare() error {
	allowed := a.AllowIPs
	if len(allowed) == 0 {
		allowed = []string{"private_ranges"}
	}
	ranges, err := ParseRanges(allowed)
	if err != nil {
		return fmt.Errorf("allow_ips: %v", err)
	}
	a.ranges = ranges
	a.ownHosts, err = ParseHosts(a.Hosts)
	return err
}

// ParseRanges parses IPs, CIDR ranges and `private_ranges`.
func ParseRanges(expressions []string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, expr := range expressions {
		expanded := []string{expr}
		if expr == "private_ranges" {
			expanded = privateRanges
		}
		for _, e := range expanded {
			prefix, err := caddyhttp.CIDRExpressionToPrefix(e)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an IP nor a range: write it like 10.1.2.3, 10.0.0.0/8 or private_ranges", expr)
			}
			ranges = append(ranges, prefix)
		}
	}
	return ranges, nil
}

// AllowsAddress reports whether the client's address may call. A caller's key
// replaces the rule about addresses, unless there is one, or no key is needed.
func (a *Access) AllowsAddress(r *Registry, client netip.Addr, needsKey bool) bool {
	return needsKey && r.HasCallers() && len(a.AllowIPs) == 0 || a.Contains(client)
}

// Contains reports whether a client's address is in AllowIPs, which Prepare has
// parsed.
func (a *Access) Contains(client netip.Addr) bool { return containsAddr(a.ranges, client) }

// containsAddr reports whether an address is in one of the ranges.
func containsAddr(ranges []netip.Prefix, addr netip.Addr) bool {
	return addr.IsValid() && slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(addr) })
}

// ClientAddr returns the client's address, or the zero Addr where it is not
// known.
func ClientAddr(req *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(req.Context(), caddyhttp.ClientIPVarKey).(string)
	if ip == "" && (req.RemoteAddr == "@" || req.RemoteAddr == "") {
		ip = "127.0.0.1" // a unix socket
	}
	ip, _, _ = strings.Cut(ip, "%") // an IPv6 zone
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}
