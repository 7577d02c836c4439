package statuspage

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

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
