package upstream

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// ParseURL returns the URL that paths are appended to.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
		return nil, errors.New("is no URL: write it with scheme and host, such as " + wechat.Official.Host)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has no port between 1 and 65535: write it like " + wechat.Official.Host + ", or like http://127.0.0.1:9080")
		}
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("has more than scheme, host and path: write it like " + wechat.Official.Host)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// IsCleartext reports whether credentials would cross a network unencrypted on
// the way to an upstream.
func IsCleartext(u *url.URL) bool {
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err != nil || !addr.IsLoopback()
}
