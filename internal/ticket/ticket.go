// Package ticket knows the tickets with which pages and cards are signed: where a
// kind of accounts gets which, how one is asked for, and what an application is
// answered that asks for one.
//
// A ticket's own expires_in is not the truth: it is the same from the first day
// to the last minute of a ticket's life, and no error ever tells that one has
// died. So a ticket is kept by asking for it again and again, and whoever is
// handed one is told a time after which to ask again, too.
package ticket

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Type is a type of tickets, and where they are to be had.
type Type struct {
	// Name is what the status and metrics call it.
	Name string

	// Path is that of the API which hands it out.
	Path string

	// Query is the value of the API's parameter `type`, or "" where it has none.
	Query string
}

// Types are those of a kind of accounts.
type Types []Type

// Official are the tickets of official accounts and mini programs.
var Official = Types{
	{JSAPI, "/cgi-bin/ticket/getticket", "jsapi"},
	{Card, "/cgi-bin/ticket/getticket", "wx_card"},
	{SDK, "/cgi-bin/ticket/getticket", "2"},
}

// Names of types.
const (
	JSAPI = "jsapi"   // for wx.config
	Card  = "wx_card" // for cards
	SDK   = "2"       // for apps that let users log in by scanning
)

// typeParameter is the query parameter that tells types apart.
const typeParameter = "type"

// Named returns the type of a name.
func (ts Types) Named(name string) (Type, bool) {
	i := slices.IndexFunc(ts, func(t Type) bool { return t.Name == name })
	if i < 0 {
		return Type{}, false
	}
	return ts[i], true
}

// Of returns the type that a request asks for, if it asks for one. The path is
// one that wechat.CheckPath has accepted.
func (ts Types) Of(req *http.Request) (Type, bool) {
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
		return Type{}, false
	}
	return Type{}, false
}

// ofQuery returns the type that a query asks for at a path. Where the parameter
// stands several times it is WeChat's to decide which counts.
func (ts Types) ofQuery(path, rawQuery string) (Type, bool) {
	value, n := "", 0
	for v := range wechat.QueryParams(rawQuery, typeParameter) {
		value = v
		n++
	}
	for _, t := range ts {
		if t.Path == path && t.Query == value && (n == 1 || n == 0 && t.Query == "") {
			return t, true
		}
	}
	return Type{}, false
}

// Policy is how tickets are kept. Within its life every call returns the same
// one, whose death nobody is told of, so it is asked for again as long as
// somebody uses it, and good for as long as WeChat has said so lately.
var Policy = &credential.Policy{
	Lead:       time.Minute,
	Recheck:    20 * time.Minute,
	Idle:       time.Hour,
	Life:       2 * time.Hour,
	Idempotent: true,
	Zone:       time.FixedZone("UTC+8", 8*60*60), // the days of WeChat's quotas
}
