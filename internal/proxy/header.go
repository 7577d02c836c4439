package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Requests take to WeChat only the header fields that it has a use for. All
// others tell about the client's network: its addresses, its cookies, the page
// it was on, the trace it belongs to.

// isForwarded reports whether WeChat gets a request's header field by itself.
func isForwarded(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition",
		"Accept", "Accept-Language", "User-Agent", "Range",
		"If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since":
		return true
	}
	return strings.HasPrefix(name, "Wechatmp-") // API security
}

// outgoingHeader returns the header with which WeChat gets a request: the fields
// it has a use for, and those named in more.
func outgoingHeader(in http.Header, more []string) http.Header {
	out := make(http.Header, min(len(in)+2, 8))
	for name, values := range in {
		if isForwarded(name) || slices.Contains(more, name) {
			out[name] = values
		}
	}
	dropConnectionFields(out, in["Connection"])
	out["Accept-Encoding"] = identityEncoding
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = nil // or else it would be Go's
	}
	return out
}

var identityEncoding = []string{"identity"}

// ParseForwardHeaders returns the option's names in the spelling in which
// requests have them.
func ParseForwardHeaders(names []string) ([]string, error) {
	var parsed []string
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) || strings.Contains(name, "*") {
			return nil, fmt.Errorf("forward_headers %q is no name of a header: write each one, like X-Something", name)
		}
		name = http.CanonicalHeaderKey(name)
		if err := checkForwardHeader(name); err != nil {
			return nil, err
		}
		if slices.Contains(parsed, name) {
			return nil, fmt.Errorf("forward_headers has %s twice: write it once", name)
		}
		parsed = append(parsed, name)
	}
	return parsed, nil
}

// checkForwardHeader refuses headers that cannot go to WeChat.
func checkForwardHeader(name string) error {
	switch {
	case name == "Authorization":
		return errors.New("forward_headers must not have Authorization: it is for the proxy, and may hold a caller's key: leave it out")
	case isConnectionField(name) || name == "Host" || name == "Content-Length" || name == "Accept-Encoding" || name == "Expect":
		return fmt.Errorf("forward_headers must not have %s: the proxy makes it anew for every connection: leave it out", name)
	}
	return nil
}

// isConnectionField reports whether a field concerns the way to the next server
// alone.
func isConnectionField(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// copyAnswerHeader adds to a header what is for the client in an answer's: neither
// the fields that concern the way from WeChat to the proxy alone, nor those with
// which WeChat speaks of its own host, whose place the proxy has.
func copyAnswerHeader(to, from http.Header) {
	dropConnectionFields(from, from["Connection"])
	for name, values := range from {
		if isConnectionField(name) || isHostField(name) {
			continue
		}
		if own, ok := to[name]; ok {
			values = slices.Concat(own, values)
		}
		to[name] = values
	}
}

// isHostField reports whether a field of an answer's binds a client to WeChat's
// host.
func isHostField(name string) bool {
	switch name {
	case "Alt-Svc", "Set-Cookie", "Set-Cookie2":
		return true
	}
	return false
}

// dropHostFields removes from an answer's header or trailer the fields that bind
// a client to WeChat's host.
func dropHostFields(h http.Header) {
	for name := range h {
		if isHostField(name) {
			delete(h, name)
		}
	}
}

// dropConnectionFields removes from a header what a Connection header names.
func dropConnectionFields(h http.Header, connection []string) {
	for _, field := range connection {
		for name := range strings.SplitSeq(field, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
}

// trailingBody is a body whose trailer is not all for the client.
type trailingBody struct {
	io.ReadCloser
	response *http.Response
}

// WithoutHostFields has dropHostFields apply to an answer's header and trailer.
// The trailer is there when the body has been read.
func WithoutHostFields(res *http.Response) {
	dropHostFields(res.Header)
	if res.ContentLength < 0 {
		dropHostFields(res.Trailer)
		res.Body = &trailingBody{res.Body, res}
	}
}

// Close closes the body, after which its trailer is looked at.
func (b *trailingBody) Close() error {
	err := b.ReadCloser.Close()
	dropHostFields(b.response.Trailer)
	return err
}
