package statuspage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// policy allows the page its own style and script, by their digests, requests to
// where it came from, and its icon; and nothing else.
var policy = "default-src 'none'; style-src " + digest(pageStyle) + "; script-src " + digest(pageScript) +
	"; connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// setHeader sets what every answer says to browsers.
func setHeader(h http.Header, lang string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Language", lang)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Language")
}

// Refusal is that a request is refused, or is not.
type Refusal struct {
	Reason Reason

	// Host is the name by which the request came, where that is the reason.
	Host string
}

// Reason is why a request is refused.
type Reason uint8

// The proxy's reasons, and those of the page.
const (
	Admitted           Reason = iota
	RefusedAddress            // the client's address is not in allow_ips
	RefusedHost               // any web site could have the name
	RefusedUnspecified        // the name is 0.0.0.0, or another spelling of it
	RefusedKey                // there is no key, or none of a caller's
	RefusedIPs                // the client's address is not in the caller's ips
	RefusedAllow              // the page's path is not in the caller's allow
	refusedWebPage
	refusedMethod
	refusedForgery
	refusedBody
	refusedUnknown
	refusedInternal
)

func (refusal Refusal) status() int {
	switch refusal.Reason {
	case RefusedKey:
		return http.StatusUnauthorized
	case refusedMethod:
		return http.StatusMethodNotAllowed
	case refusedBody:
		return http.StatusBadRequest
	case refusedUnknown:
		return http.StatusNotFound
	case refusedInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusForbidden
	}
}

// admit applies the rules of the proxy and of the page.
func (r *request) admit() Refusal {
	viewer, refusal := r.page.Proxy.Admit(r.Request)
	// An address that may not call is told no more than that.
	if refusal.Reason != RefusedAddress && !mayShowToWebPage(r.Request) {
		return Refusal{Reason: refusedWebPage}
	}
	if refusal.Reason != Admitted {
		return refusal
	}
	r.viewer = viewer
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return Refusal{}
	case http.MethodPost:
		if !r.page.ReadOnly {
			return Refusal{}
		}
	}
	return Refusal{Reason: refusedMethod}
}

// buttonHeader is the header in which the page's buttons send their token.
// A page of another origin cannot send it without being asked about first, which
// is refused.
const buttonHeader = "X-Weixin-Status"

// token returns what the buttons on a viewer's page prove themselves with, or ""
// where there are none.
func (p *Page) token(v Viewer) string {
	if p.ReadOnly {
		return ""
	}
	mac := hmac.New(sha256.New, p.Key)
	mac.Write([]byte(v.Caller))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// fromButton reports whether a POST comes from the button of a page that the
// viewer has been shown.
func (r *request) fromButton() bool {
	if !isFromOwnPage(r.Request) {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/json" &&
		hmac.Equal([]byte(r.Header.Get(buttonHeader)), []byte(r.page.token(r.viewer)))
}

// mayShowToWebPage reports whether a request is none of another web site's, or
// no more than a link on one. Browsers say so where they use HTTPS or localhost;
// elsewhere there is an Origin, for requests whose answer a page could read, and
// for those that change something.
func mayShowToWebPage(req *http.Request) bool {
	isLink := (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		req.Header.Get("Sec-Fetch-Mode") == "navigate" && req.Header.Get("Sec-Fetch-Dest") == "document"
	sites := req.Header["Sec-Fetch-Site"]
	for _, site := range sites {
		if site != "none" && site != "same-origin" && !isLink {
			return false
		}
	}
	if len(sites) > 0 {
		return true
	}
	return len(req.Header["Origin"]) == 0 || isOwnOrigin(req)
}

// isFromOwnPage reports whether a page that was loaded from here made the
// request.
func isFromOwnPage(req *http.Request) bool {
	site := req.Header.Get("Sec-Fetch-Site")
	return site == "same-origin" || site == "" && isOwnOrigin(req)
}

// isOwnOrigin reports whether the Origin is where the request was sent to.
func isOwnOrigin(req *http.Request) bool {
	origins := req.Header["Origin"]
	if len(origins) != 1 {
		return false
	}
	u, err := url.Parse(origins[0])
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, req.Host)
}
