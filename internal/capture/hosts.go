// Package capture takes the connections of applications whose SDK has WeChat's
// host names written into it, and leads them to the sites that stand for those
// hosts here.
package capture

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Hosts are the hosts that are captured: WeChat's, and those of upstreams.
type Hosts struct {
	ports map[string][]Port // by the canonical host
}

// Port is a port of a captured host, and the scheme that is spoken there.
type Port struct {
	Scheme string
	Number string
}

// NewHosts returns WeChat's hosts and those of the upstreams.
func NewHosts(upstreams []*url.URL) *Hosts {
	h := &Hosts{ports: make(map[string][]Port)}
	for _, host := range wechat.HostNames {
		h.add(host)
	}
	for _, u := range upstreams {
		host := CanonicalHost(u.Hostname())
		h.add(host)
		if u.Port() != "" {
			h.ports[host] = append(h.ports[host], Port{Scheme: u.Scheme, Number: u.Port()})
		}
	}
	return h
}

func (h *Hosts) add(host string) {
	if h.ports[host] == nil {
		h.ports[host] = []Port{{"https", "443"}, {"http", "80"}}
	}
}

// Has reports whether the host is captured.
func (h *Hosts) Has(host string) bool { return h.ports[host] != nil }

// HasPort reports whether the host is captured on a port when that scheme is
// spoken there.
func (h *Hosts) HasPort(host string, port Port) bool { return slices.Contains(h.ports[host], port) }

// IsWeChat reports whether the host is one of WeChat's own.
func IsWeChat(host string) bool { return slices.Contains(wechat.HostNames, host) }

// SplitAuthority returns the canonical host of an authority, such as
// api.weixin.qq.com:443, and its port, which is empty where there is none.
func SplitAuthority(authority string) (host, port string) {
	host = authority
	if h, p, err := net.SplitHostPort(authority); err == nil {
		host, port = h, p
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return CanonicalHost(host), port
}

// JoinAuthority returns the authority of a canonical host and a port, which may
// be empty.
func JoinAuthority(host, port string) string {
	if port != "" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// maxHostLength is a little more than DNS has room for.
const maxHostLength = 255

// CanonicalHost returns the one spelling in which hosts are compared: without
// the dot of the root, in lower case, names in ASCII, addresses as netip writes
// them.
func CanonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().String()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if len(host) > maxHostLength {
		return host // it is none, and would take long to find out
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return host
}
