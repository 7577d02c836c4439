package jssdk

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Hosts are the hosts whose pages are signed. The zero Hosts are none.
type Hosts struct{ patterns [][]string }

// ParseHosts reads names of hosts. A label that is * stands for any one label,
// as in Caddy's own matchers. Names that are not ASCII are compared in the form
// that browsers send. A port is left out, since hosts are compared without.
func ParseHosts(patterns []string) (Hosts, error) {
	var h Hosts
	if len(patterns) == 0 {
		return h, errors.New("hosts is missing: write the hosts of the pages that are to be signed, hosts shop.example.com, for example")
	}
	for _, pattern := range patterns {
		labels, err := parsePattern(pattern)
		if err != nil {
			return Hosts{}, err
		}
		h.patterns = append(h.patterns, labels)
	}
	return h, nil
}

func parsePattern(pattern string) ([]string, error) {
	name := pattern
	if host, port, err := net.SplitHostPort(pattern); err == nil && isNumber(port) {
		name = host
	} else if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		name = name[1 : len(name)-1]
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.Zone() == "" {
		return []string{canonicalHost(name)}, nil
	}
	labels := strings.Split(name, ".")
	named := false
	for i, label := range labels {
		if label == "*" {
			continue
		}
		named = true
		ascii, ok := canonicalName(label)
		if !ok || strings.Contains(ascii, ".") {
			return nil, fmt.Errorf("%q is no host: write the name alone, shop.example.com or *.example.com, for example", pattern)
		}
		labels[i] = ascii
	}
	if !named {
		return nil, fmt.Errorf("%q would have everybody's pages signed: write the name of a host, or *.example.com", pattern)
	}
	return labels, nil
}

// Contain reports whether a host, without its port, is one of them.
func (h Hosts) Contain(host string) bool {
	host = canonicalHost(host)
	if host == "" {
		return false
	}
	labels := []string{host}
	if _, err := netip.ParseAddr(host); err != nil {
		labels = strings.Split(host, ".")
	}
	for _, pattern := range h.patterns {
		if matches(pattern, labels) {
			return true
		}
	}
	return false
}

func matches(pattern, labels []string) bool {
	if len(pattern) != len(labels) {
		return false
	}
	for i, label := range labels {
		if label == "" || pattern[i] != "*" && pattern[i] != label {
			return false
		}
	}
	return true
}

// ContainPage reports whether an address is one of a page, on one of the hosts.
// What follows the host may be anything that a browser lets stand there.
func (h Hosts) ContainPage(page string) bool {
	scheme, rest, ok := strings.Cut(page, "://")
	if !ok {
		return false
	}
	// Browsers take a backslash for a slash.
	if end := strings.IndexAny(rest, `/\?`); end >= 0 {
		rest = rest[:end]
	}
	return h.ContainOrigin(scheme + "://" + rest)
}

// ContainOrigin reports whether an Origin header is of one of the hosts.
func (h Hosts) ContainOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	alone := u.User == nil && u.Opaque == "" && u.Path == "" && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
	return alone && h.Contain(u.Hostname())
}

// canonicalHost returns a host as it is compared, or "" where it is none.
func canonicalHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String()
	}
	name, ok := canonicalName(host)
	if !ok {
		return ""
	}
	return name
}

// canonicalName returns a name in lower case and ASCII, and reports whether it
// can be one.
func canonicalName(name string) (string, bool) {
	if !isASCII(name) {
		ascii, err := idna.Lookup.ToASCII(name)
		return ascii, err == nil
	}
	for _, c := range []byte(name) {
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return "", false
		}
	}
	return strings.ToLower(name), name != ""
}

func isNumber(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
