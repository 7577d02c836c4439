package sandbox

import (
	"crypto/sha1" //nolint:gosec // it is what WeChat signs with
	"crypto/subtle"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed jssdk.html
var jssdkPage []byte

// controlPage is a page that uses wx.config as pages in WeChat do. It is static,
// so that any page may lead to it.
func controlPage(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; connect-src *; script-src 'unsafe-inline'; "+
		"style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(jssdkPage)
}

// signedPage is what a page gives to wx.config, and the page's address.
type signedPage struct {
	URL       string          `json:"url"`
	AppID     string          `json:"appId"`
	Timestamp json.RawMessage `json:"timestamp"`
	NonceStr  string          `json:"nonceStr"`
	Signature string          `json:"signature"`
	Agent     json.RawMessage `json:"agent"`   // WeCom: the agentid, of wx.agentConfig
	AgentID   json.RawMessage `json:"agentid"` // the same, as weixin_jssdk answers it
}

// agentID returns the agent whose ticket has to have been used, "" for the
// corporation's or an official account's.
func (p *signedPage) agentID() string {
	for _, raw := range []json.RawMessage{p.Agent, p.AgentID} {
		if id := textOf(raw); id != "" && id != "null" {
			return id
		}
	}
	return ""
}

// verdict is whether WeChat would take it, and if not, what differs.
type verdict struct {
	OK      bool   `json:"ok"`
	Differs string `json:"differs,omitempty"`
	Why     string `json:"why,omitempty"`
}

func differs(what, format string, args ...any) verdict {
	return verdict{Differs: what, Why: fmt.Sprintf(format, args...)}
}

// controlVerify verifies what wx.config was given. The page above may ask, and
// scripts may; other pages may not.
func (s *Server) controlVerify(w http.ResponseWriter, r *http.Request) {
	if new(http.CrossOriginProtection).Check(r) != nil {
		controlError(w, http.StatusForbidden, errors.New("pages of other sites may not ask"))
		return
	}
	var page signedPage
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&page); err != nil {
		controlError(w, http.StatusBadRequest, fmt.Errorf(
			`write {"url":"…","appId":"…","timestamp":1,"nonceStr":"…","signature":"…"}, and for wx.agentConfig "agent":1000002: %w`, err))
		return
	}
	s.controlLocked(w, func() (any, *controlRefusal) { return s.verifyLocked(&page, time.Now()), nil })
}

// maxAge is how old a signature may be. WeChat names no limit; one of another
// day, or in other units than seconds, is a mistake.
const maxAge = 24 * time.Hour

func (s *Server) verifyLocked(page *signedPage, now time.Time) verdict {
	ticket, wrong := s.ticketOfLocked(page)
	if wrong != nil {
		return *wrong
	}
	timestamp := textOf(page.Timestamp)
	seconds, whole := whole(timestamp)
	u, err := url.Parse(page.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return differs("url", "%q is no address of a page: write it with http:// or https://", page.URL)
	case strings.Contains(page.URL, "#"):
		return differs("url", "what stands behind # is not signed: cut it off")
	case !whole:
		return differs("timestamp", "%q is no number of seconds", timestamp)
	case now.Sub(time.Unix(int64(seconds), 0)).Abs() > maxAge:
		return differs("timestamp", "%s is not about now, in seconds: %d would be", timestamp, now.Unix())
	case page.NonceStr == "":
		return differs("nonceStr", "it is empty")
	}
	return page.compare(ticket, timestamp, now)
}

// textOf returns a number or a text as it is in the string that is signed.
func textOf(raw json.RawMessage) string {
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		text = s
	}
	return text
}

// ticketOfLocked returns the ticket that has to have been used, or what is
// wrong.
func (s *Server) ticketOfLocked(page *signedPage) (*ticket, *verdict) {
	var tickets map[string]*ticket
	kind, agentID := "jsapi", page.agentID()
	a, co := s.byAppID[page.AppID], s.corps[page.AppID]
	switch {
	case a != nil && agentID == "":
		tickets = a.tickets
	case co != nil && agentID == "":
		tickets = co.tickets
	case co != nil && co.agent(agentID) != nil:
		tickets, kind = co.agent(agentID).tickets, "agent_config"
	case co != nil:
		wrong := differs("agent", "the corporation has no agent %s", agentID)
		return nil, &wrong
	default:
		wrong := differs("appId", "the sandbox has no account or corporation %q", page.AppID)
		return nil, &wrong
	}
	t := tickets[kind]
	if t == nil {
		wrong := differs("ticket", "nobody has fetched one")
		return nil, &wrong
	}
	return t, nil
}

func (p *signedPage) compare(t *ticket, timestamp string, now time.Time) verdict {
	signs := func(t *ticket, address string) bool {
		want := signature(t.value, p.NonceStr, timestamp, address)
		return subtle.ConstantTimeCompare([]byte(want), []byte(p.Signature)) == 1
	}
	withoutQuery, _, _ := strings.Cut(p.URL, "?")
	switch {
	case signs(t, p.URL) && now.Before(t.expires):
		return verdict{OK: true}
	case signs(t, p.URL), t.before != nil && signs(t.before, p.URL):
		return differs("ticket", "the signature was made with a ticket that is no longer good: whoever keeps it asks too seldom")
	case signs(t, withoutQuery):
		return differs("url", "the address was signed without its query")
	case signs(t, url.QueryEscape(p.URL)):
		return differs("url", "the address was signed escaped: it is signed as it is")
	case strings.EqualFold(signature(t.value, p.NonceStr, timestamp, p.URL), p.Signature):
		return differs("signature", "it has to be in lower case")
	}
	return differs("signature", "it is not that of the address, the timestamp and the nonceStr with the current ticket")
}

// signature is the signature of a page's address.
func signature(ticket, nonceStr, timestamp, address string) string {
	sum := sha1.Sum([]byte("jsapi_ticket=" + ticket + "&noncestr=" + nonceStr + "&timestamp=" + timestamp + "&url=" + address)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}
