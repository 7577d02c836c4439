package wechat

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// TicketType is a type of tickets, with which pages and cards are signed, and
// where they are to be had.
type TicketType struct {
	// Name is what the status and metrics call it.
	Name string

	// Path is that of the API which hands it out.
	Path string

	// Query is the value of the API's parameter `type`, or "" where it has none.
	Query string
}

// Names of types of tickets.
const (
	JSAPITicket = "jsapi"        // for wx.config
	CardTicket  = "wx_card"      // for cards
	SDKTicket   = "2"            // for apps that let users log in by scanning
	AgentTicket = "agent_config" // for wx.agentConfig
)

// TicketTypes are those of a kind of accounts.
type TicketTypes []TicketType

// ticketParam is the query parameter that tells types of tickets apart.
const ticketParam = "type"

// Named returns the type of a name.
func (ts TicketTypes) Named(name string) (TicketType, bool) {
	i := slices.IndexFunc(ts, func(t TicketType) bool { return t.Name == name })
	if i < 0 {
		return TicketType{}, false
	}
	return ts[i], true
}

// Of returns the type that a request asks for, if it asks for one. The path is
// one that CheckPath has accepted.
func (ts TicketTypes) Of(req *http.Request) (TicketType, bool) {
	path := strings.TrimSuffix(req.URL.Path, "/")
	for _, t := range ts {
		// A server that takes a path in another spelling does the same.
		if !strings.EqualFold(path, t.Path) {
			continue
		}
		switch req.Method {
		case http.MethodGet, http.MethodHead, http.MethodPost:
			return ts.ofQuery(t.Path, req.URL.RawQuery)
		}
		return TicketType{}, false
	}
	return TicketType{}, false
}

// ofQuery returns the type that a query asks for at a path. Where the parameter
// stands several times it is WeChat's to decide which counts.
func (ts TicketTypes) ofQuery(path, rawQuery string) (TicketType, bool) {
	value, n := "", 0
	for v := range QueryParams(rawQuery, ticketParam) {
		value = v
		n++
	}
	for _, t := range ts {
		if t.Path == path && t.Query == value && (n == 1 || n == 0 && t.Query == "") {
			return t, true
		}
	}
	return TicketType{}, false
}

// URLQuery returns what is asked for a ticket of the type beside the token, or "".
func (t TicketType) URLQuery() string {
	if t.Query == "" {
		return ""
	}
	return ticketParam + "=" + url.QueryEscape(t.Query)
}
