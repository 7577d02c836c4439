package statuspage

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// Account is how an account fares, as the proxy tells it.
type Account struct {
	Name   string
	Kind   string
	ID     string // the appid, or what the kind has in its place
	Method string // of fetching a token

	State   credential.State
	Usable  bool // requests get the token
	Healthy bool // and WeChat accepts it, or nobody has needed one yet

	// Since is when a state began that is none to be in, and Advice what to do
	// about it.
	Since  time.Time
	Advice string

	Fingerprint string // of the token; "" where there is none
	FetchedAt   time.Time
	ExpiresAt   time.Time
	HandedOutAt time.Time // when WeChat last handed it out
	RetryAt     time.Time // when a back-off ends

	// Idempotent reports whether WeChat hands out the same token while that is
	// good.
	Idempotent bool

	// What this process has done, and when: in the last hour, in slots of two
	// minutes, the newest last.
	Fetches, Replays            int64
	FetchHistory, ReplayHistory []int

	Quotas    credential.Quotas
	Warnings  []string // what to do about what will be a failure if nobody does
	LastError *Failure

	Tickets []Ticket // that are kept

	// Platform is what a third-party platform has beside; nil where it is none.
	Platform *Platform

	// Data is what programs are told in place of all this.
	Data any
}

// Ticket is how a ticket fares.
type Ticket struct {
	Type        string
	Fingerprint string    // "" where there is none
	ConfirmedAt time.Time // when WeChat last handed it out
	LastError   *Failure
}

// Platform is what there is to tell of a third-party platform.
type Platform struct {
	TicketAt        time.Time // of its newest verify ticket; zero where there is none
	Known, InMemory int       // authorizers; Known is negative where the store does not tell
}

// Failure is that WeChat gave no token, or no ticket.
type Failure struct {
	Errcode int // WeChat's, or 0 where there was no answer with one
	Message string
	At      time.Time
	Advice  string
}

// Unreachable reports whether there was no answer with an errcode.
func (f *Failure) Unreachable() bool { return f.Errcode == 0 }

// kindOfficial is the kind that is not mentioned, as most accounts are of it.
const kindOfficial = "official"

// Severities of an account's state: the page's classes and icons.
const (
	severityOK   = "ok"
	severityBusy = "busy"
	severityWarn = "warn"
	severityBad  = "bad"
	severityIdle = "idle"
)

// view is what the page shows.
type view struct {
	Now  time.Time
	Text *text
	Rows []row // what needs attention first, and then by name

	Severity  string
	Headline  string
	Named     []string // accounts that need attention, as many as fit into the headline
	Unnamed   int      // and how many more there are
	Trouble   string
	HasFilter bool
	Token     string // of the buttons; "" where there are none

	accounts  []Account // by name
	attention []string  // the accounts that need some
}

// Numbers of accounts: what fits into the headline, and from how many on one has
// to look for one.
const (
	headlineNames = 5
	filterFrom    = 8
)

// newView returns what is shown of accounts, which come by name.
func newView(t *text, accounts []Account, trouble string, now time.Time) *view {
	v := &view{Now: now.UTC(), Text: t, Severity: severityOK, Trouble: trouble, accounts: accounts, HasFilter: len(accounts) >= filterFrom}
	if trouble != "" {
		v.Severity = severityWarn
	}
	for i := range accounts {
		v.Rows = append(v.Rows, newRow(t, &accounts[i], v.Now))
	}
	slices.SortStableFunc(v.Rows, func(a, b row) int { return cmp.Compare(a.rank, b.rank) })
	for i := range v.Rows {
		if !v.Rows[i].needsAttention() {
			break
		}
		v.attention = append(v.attention, v.Rows[i].Name)
		if v.Rows[i].Severity == severityBad {
			v.Severity = severityBad
		} else if v.Severity == severityOK {
			v.Severity = severityWarn
		}
	}
	n := min(len(v.attention), headlineNames)
	v.Named, v.Unnamed = v.attention[:n], len(v.attention)-n
	v.Headline = t.headline(len(v.attention), len(accounts), trouble != "")
	return v
}

// withButtons returns the view with buttons that prove themselves with a token.
func (v *view) withButtons(token string) *view {
	v.Token = token
	for i := range v.Rows {
		v.Rows[i].Button = token != ""
	}
	return v
}

// Title is the page's.
func (v *view) Title() string {
	return strings.TrimRight(v.Headline, ":：") + " – " + v.Text.Title
}

// Icon is the page's.
func (v *view) Icon() template.URL { return icon(v.Severity) }

// Style is the page's.
func (*view) Style() template.CSS { return template.CSS(pageStyle) } //nolint:gosec // it is a constant

// Script is the page's.
func (*view) Script() template.JS { return template.JS(pageScript) } //nolint:gosec // it is a constant

// States are those that the filter has.
func (*view) States() []credential.State {
	return []credential.State{credential.Refused, credential.BackOff, credential.Renewing, credential.OK, credential.Empty}
}

// status returns what programs are answered with: 503 where no account works.
func (v *view) status() int {
	if len(v.accounts) == 0 || slices.ContainsFunc(v.accounts, func(a Account) bool { return a.Healthy }) {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// data is what programs are told.
type data struct {
	Now       time.Time `json:"now"`
	Attention []string  `json:"attention"` // the names of the accounts that need some: all, where the proxy itself does
	Accounts  []any     `json:"accounts"`  // by name
}

func (v *view) data() data {
	d := data{Now: v.Now, Attention: append([]string{}, v.attention...), Accounts: []any{}}
	if v.Trouble != "" {
		d.Attention = d.Attention[:0]
	}
	for i := range v.accounts {
		d.Accounts = append(d.Accounts, v.accounts[i].Data)
		if v.Trouble != "" {
			d.Attention = append(d.Attention, v.accounts[i].Name)
		}
	}
	return d
}

// icon returns the page's icon, a disc in the colour of the state.
func icon(severity string) template.URL {
	colour := "2c8f62"
	switch severity {
	case severityWarn:
		colour = "d98a00"
	case severityBad:
		colour = "d0342c"
	}
	return template.URL("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6' fill='%23" + //nolint:gosec // it is one of three
		colour + "'/%3E%3C/svg%3E")
}
