package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/idna"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A web page that somebody has open can send requests to whatever its browser
// reaches: the developer's own machine, and the network of the office. It must
// not reach WeChat through the proxy. Two things give a page away: header fields
// that only browsers send, and the name it has called the proxy by.

// madeByWebPage reports whether a page in a browser made the request. Scripts of
// servers may send the field Sec-Fetch-Mode alone, as Node's fetch does. An
// address typed into a browser is no page's; the browser says so where it uses
// HTTPS or localhost.
func madeByWebPage(h http.Header) bool {
	if len(h["Origin"]) > 0 {
		return true
	}
	sites := h["Sec-Fetch-Site"]
	if len(sites) > 0 {
		return slices.ContainsFunc(sites, func(site string) bool { return site != "none" })
	}
	for name := range h {
		if isBrowserField(name) {
			return true
		}
	}
	return false
}

// isBrowserField reports whether only browsers send a field.
func isBrowserField(name string) bool {
	switch name {
	case "Upgrade-Insecure-Requests", "Sec-Fetch-Dest", "Sec-Fetch-User":
		return true
	}
	return strings.HasPrefix(name, "Sec-Ch-Ua")
}

// HostVerdict is what the name by which a request came says of it.
type HostVerdict uint8

// The verdicts.
const (
	HostOurs        HostVerdict = iota
	HostForeign                 // any web site could have the name
	HostUnspecified             // 0.0.0.0 or [::], which lead web pages to this machine
)

// JudgeHost judges the Host of a request. Where there is HTTPS, the server has a
// certificate for its name; where there are callers, a page has no key.
func (a *Access) JudgeHost(r *Registry, req *http.Request, sent string) HostVerdict {
	if req.TLS != nil || r.HasCallers() {
		return HostOurs
	}
	host, isAddress := parseHost(sent)
	switch {
	case isAddress:
		return judgeAddress(host)
	case host == "", isLocalName(host), slices.Contains(wechat.HostNames, host),
		slices.Contains(a.ownHosts, host), r.hasUpstream(host):
		return HostOurs // browsers always send a Host
	}
	return HostForeign
}

// parseHost returns the name in a Host, in small letters and without port and
// trailing dot, and whether it has the form of an IP address.
func parseHost(sent string) (host string, isAddress bool) {
	host = strings.ToLower(sent)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && isDigits(host[i+1:]) &&
		(!strings.Contains(host[:i], ":") || strings.HasSuffix(host[:i], "]")) {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if strings.HasPrefix(host, "[") {
		inner := strings.TrimSuffix(host[1:], "]")
		if len(inner) == len(host)-2 && strings.Contains(inner, ":") {
			return inner, true
		}
		return host, false
	}
	return host, strings.Contains(host, ":") || isNumeric(host)
}

// ShownHost returns the name in a Host as messages have it. Clients may send
// long ones.
func ShownHost(sent string) string {
	const most = 253 // characters that a name has
	host, _ := parseHost(sent)
	if len(host) > most {
		host = host[:most] + "…"
	}
	return host
}

// originalHost returns the Host that the client has sent with a request that
// reverse_proxy has prepared, which may have another one now.
func originalHost(req *http.Request) string {
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if host, ok := repl.GetString("http.request.hostport"); ok {
			return host
		}
	}
	return req.Host
}

// isNumeric reports whether clients take a name for an IPv4 address: its last
// label is a number.
func isNumeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && isDigits(last)
}

// isDigits reports whether a text has nothing but digits.
func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// judgeAddress judges an IP address in any spelling that clients understand.
func judgeAddress(host string) HostVerdict {
	host, _, _ = strings.Cut(host, "%") // an IPv6 zone
	addr, err := netip.ParseAddr(host)
	if err != nil {
		var ok bool
		if addr, ok = parseNumbers(host); !ok {
			return HostForeign
		}
	}
	addr = addr.Unmap()
	if addr.IsUnspecified() || thisNetwork.Contains(addr) {
		return HostUnspecified
	}
	return HostOurs
}

// thisNetwork are the addresses that mean "this machine" where they mean
// anything.
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// parseNumbers parses an IPv4 address as inet_aton does: of one to four numbers,
// each decimal, octal or hexadecimal, of which the last fills what is left.
func parseNumbers(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var address uint64
	for i, part := range parts {
		n, ok := parseNumber(part)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if !ok || n >= 1<<bits {
			return netip.Addr{}, false
		}
		address = address<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address)}), true
}

func parseNumber(text string) (uint64, bool) {
	base := 10
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		base, text = 16, "0"+hex
	} else if strings.HasPrefix(text, "0") {
		base = 8
	}
	n, err := strconv.ParseUint(text, base, 33)
	return n, err == nil
}

// isLocalName reports whether nobody can register a name: it has no dot, or ends
// in one that is kept for networks of one's own.
func isLocalName(host string) bool {
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return false
	}
	if !strings.Contains(host, ".") {
		return true
	}
	for _, suffix := range [...]string{".localhost", ".local", ".internal", ".home.arpa"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// ParseHosts returns the names of the option hosts in the form of hostOf.
func ParseHosts(names []string) ([]string, error) {
	var hosts []string
	for _, name := range names {
		host, err := idna.ToASCII(strings.ToLower(strings.TrimSuffix(name, ".")))
		if err != nil || host == "" || strings.ContainsAny(host, ":/*@ []"+option.Separators) {
			return nil, fmt.Errorf("hosts %s is no name: write it without scheme, port and path, like wx.example.com", name)
		}
		if isNumeric(host) {
			return nil, fmt.Errorf("hosts %s is no name: IP addresses need not be listed, and 0.0.0.0 cannot be", name)
		}
		if slices.Contains(hosts, host) {
			return nil, fmt.Errorf("hosts has %s twice: write it once", name)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}
