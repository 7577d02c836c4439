package statuspage

import (
	"cmp"
	"fmt"
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

	// Data is what programs are told in place of all this.
	Data any
}

// Failure is that WeChat gave no token.
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

// row is an account on the page.
type row struct {
	*Account
	Text *text

	Button        bool
	Severity      string   // of the account
	StateSeverity string   // of its state alone
	Failing       *Failure // which no token has followed
	Past          *Failure // which is over

	SecondsLeft float64
	Lifetime    float64 // seconds

	rank int
}

func newRow(t *text, a *Account, now time.Time) row {
	r := row{Account: a, Text: t}
	if f := a.LastError; f != nil && a.isOver(f) {
		r.Past = f
	} else {
		r.Failing = f
	}
	r.StateSeverity = r.stateSeverity()
	r.Severity = r.severity()
	r.rank = r.rankOf()
	r.SecondsLeft = max(a.ExpiresAt.Sub(now), 0).Seconds()
	r.Lifetime = max(a.ExpiresAt.Sub(a.FetchedAt).Seconds(), r.SecondsLeft, 1)
	return r
}

// isOver reports whether WeChat has handed out a token since a failure.
func (a *Account) isOver(f *Failure) bool {
	return a.State != credential.BackOff && (f.At.Before(a.FetchedAt) || f.At.Before(a.HandedOutAt))
}

// stateSeverity returns the severity of the state alone.
func (r *row) stateSeverity() string {
	switch {
	case r.State == credential.Refused, r.State == credential.BackOff && !r.Usable:
		return severityBad
	case r.State == credential.BackOff:
		return severityWarn
	case r.State == credential.Renewing:
		return severityBusy
	case r.State == credential.Empty:
		return severityIdle
	}
	return severityOK
}

// severity returns that of the account. It does not change while a try is in
// progress that follows a failure.
func (r *row) severity() string {
	switch {
	case r.StateSeverity == severityBad, r.Failing != nil && !r.Usable:
		return severityBad
	case r.Failing != nil, len(r.Warnings) > 0:
		return severityWarn
	}
	return r.StateSeverity
}

// IsWarned reports whether there is a warning that the state's word does not
// tell of.
func (r *row) IsWarned() bool { return r.Severity == severityWarn && r.StateSeverity != severityWarn }

// rankOf returns an account's place on the page.
func (r *row) rankOf() int {
	switch {
	case r.State == credential.Refused:
		return 0
	case r.Severity == severityBad:
		return 1
	case r.Failing != nil:
		return 2
	case r.Severity == severityWarn:
		return 3
	default:
		return 4
	}
}

func (r *row) needsAttention() bool { return r.Severity == severityBad || r.Severity == severityWarn }

// Word is the state's.
func (r *row) Word() string { return r.Text.words[r.State] }

// Announced is what is read out when it changes.
func (r *row) Announced() string {
	if r.IsWarned() {
		return r.Word() + " (" + r.Text.Warning + ")"
	}
	return r.Word()
}

// Label is the kind where it is not the usual one, and the id.
func (r *row) Label() string {
	if r.Kind == "" || r.Kind == kindOfficial {
		return r.ID
	}
	kind, ok := r.Text.kinds[r.Kind]
	if !ok {
		kind = r.Kind
	}
	return kind + " · " + r.ID
}

// Clock is the time left, as the page's script counts it down.
func (r *row) Clock() string {
	s := int(r.SecondsLeft)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Gone is why there is a token that requests do not get.
func (r *row) Gone() string {
	switch {
	case r.SecondsLeft == 0:
		return r.Text.Expired
	case r.State == credential.Refused:
		return r.Text.Unused
	default:
		return r.Text.Rejected
	}
}

// Consequence is what a failure means for requests.
func (r *row) Consequence() string {
	switch {
	case r.Failing == nil || r.State == credential.Refused:
		return ""
	case r.Usable:
		return r.Text.StillUsable
	default:
		return r.Text.RequestsFail
	}
}

// IsTroubled reports whether there is something to be said about the state.
func (r *row) IsTroubled() bool { return r.State == credential.Refused || r.Failing != nil }

// Cures are what to do about the state, and about a failure.
func (r *row) Cures() []string {
	var cures []string
	if r.State == credential.Refused {
		cures = append(cures, r.Advice)
	}
	if r.Failing != nil && r.Failing.Advice != "" {
		cures = append(cures, r.Failing.Advice)
	}
	return cures
}

// Question is asked before a token is renewed.
func (r *row) Question() string {
	if r.Idempotent {
		return r.Text.questionIdempotent
	}
	return r.Text.questionKills
}

// SparkLabel says what the bars show.
func (r *row) SparkLabel() string {
	return fmt.Sprintf(r.Text.spark, count(sum(r.FetchHistory)), count(sum(r.ReplayHistory)))
}

// FetchBars stand on the base line.
func (r *row) FetchBars() string { return bars(r.FetchHistory, r.top(), -1) }

// ReplayBars hang from the base line.
func (r *row) ReplayBars() string { return bars(r.ReplayHistory, r.top(), 1) }

func (r *row) top() int { return slices.Max(slices.Concat([]int{0}, r.FetchHistory, r.ReplayHistory)) }

// barHeight is how high a bar is at most, barScale for what at least: a few
// events shall not look like many.
const (
	barHeight = 12
	barScale  = 3
	barBase   = 13
)

// bars returns an SVG path of bars that stand on a base line, or hang from it.
// The one for top has the full height.
func bars(counts []int, top, direction int) string {
	var b strings.Builder
	top = max(top, barScale)
	for i, n := range counts {
		if n > 0 {
			fmt.Fprintf(&b, "M%d %dv%d", 4*i+2, barBase, direction*max(barHeight*n/top, 2))
		}
	}
	return b.String()
}

func sum(counts []int) int {
	n := 0
	for _, count := range counts {
		n += count
	}
	return n
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
