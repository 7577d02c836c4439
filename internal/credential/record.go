package credential

import (
	"encoding/json"
	"errors"
	"time"
)

// record is all that the processes which serve a credential share about it. It
// is saved as one sealed value.
//
// Processes may write at the same time, lose the store and find it again, or
// have clocks that differ. So records are merged, not overwritten: merge is
// commutative, associative and idempotent, and whatever the order of events,
// all processes arrive at the same record, the one with the newest value.
//
// Processes of different releases share records: members are added, never given
// another meaning, and unknown ones are ignored.
type record struct {
	// Generation orders the credential's values: the higher one wins. It is the
	// time of the fetch in milliseconds since the epoch, or one more than the
	// generation it succeeds where that is higher, so that neither a clock
	// that is behind nor an empty store makes a new value look old.
	Generation  int64     `json:"generation,omitempty"`
	AccessToken string    `json:"access_token,omitempty"`
	FetchedAt   time.Time `json:"fetched_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`

	// CheckedAt is when the source last handed this value out, as far as others
	// have to know.
	CheckedAt time.Time `json:"checked_at,omitzero"`

	// HandedOutAgain counts how often in a row the source has handed out the
	// same value again after an API had rejected it.
	HandedOutAgain int `json:"confirmations,omitempty"`

	// RejectedInARow counts the rejected values before this one of which none
	// was ever seen to be accepted.
	RejectedInARow int `json:"strikes,omitempty"`

	// Attempt is what came of the last fetch.
	Attempt attempt `json:"attempt,omitzero"`

	// Standing is whether the values are accepted of late.
	Standing standing `json:"standing,omitzero"`

	// LastError is the last failure. It stays when it is over.
	LastError lastError `json:"last_error,omitzero"`

	// Kept is the secret to hand to the next fetch.
	Kept kept `json:"kept,omitzero"`

	// GrantedAt is when values were last said to be granted by those who may
	// withdraw them, and Withdrawal when these last did. The later one counts.
	GrantedAt  time.Time  `json:"granted_at,omitzero"`
	Withdrawal withdrawal `json:"withdrawal,omitzero"`

	// Replacements is the budget of fetches that rejected values cause: when it
	// would be full again.
	Replacements time.Time `json:"replacements,omitzero"`

	// RenewedAt is when somebody who is not an operator last had the value
	// renewed.
	RenewedAt time.Time `json:"renewed_at,omitzero"`

	// Forced holds when new values were forced in the last day.
	Forced []time.Time `json:"forced,omitempty"`

	// Deaths holds when values were found dead before their time, of late.
	Deaths []time.Time `json:"deaths,omitempty"`

	// Vain holds the fetches of late that were made on somebody's word and
	// brought nothing.
	Vain []vainFetch `json:"vain,omitempty"`
}

// attempt is the outcome of a fetch.
type attempt struct {
	Number     int64        `json:"number"`     // counts the credential's attempts
	Generation int64        `json:"generation"` // of the value there was when it ended
	Failures   int          `json:"failures,omitempty"`
	At         time.Time    `json:"at,omitzero"`
	Since      time.Time    `json:"since,omitzero"`   // when the first of the failures in a row was
	Day        string       `json:"day,omitempty"`    // of the source's, on which it was made
	OfDay      int          `json:"of_day,omitempty"` // how many there were on that day, with this one
	RetryAt    time.Time    `json:"retry_at,omitzero"`
	Errcode    int          `json:"errcode,omitempty"`
	Class      FailureClass `json:"class,omitempty"`
	Message    string       `json:"message,omitempty"`
}

// standing is whether the values are accepted: the newest word on it counts.
type standing struct {
	At            time.Time `json:"at,omitzero"`
	RejectedSince time.Time `json:"rejected_since,omitzero"` // zero where they are accepted
}

// lastError is a failure to get a value, or to get an answer.
type lastError struct {
	At      time.Time `json:"at,omitzero"`
	Errcode int       `json:"errcode,omitempty"` // 0 where there was no answer
	Message string    `json:"message,omitempty"`
}

// kept is the secret that goes into the next fetch.
type kept struct {
	Version int64  `json:"version,omitempty"` // the higher one wins
	Secret  string `json:"secret,omitempty"`
}

// nextGeneration returns the generation of a value that succeeds the record's.
func (r *record) nextGeneration(now time.Time) int64 {
	return max(r.Generation+1, now.UnixMilli())
}

// failure returns the last attempt if it failed and no newer value has come
// since, from wherever.
func (r *record) failure() *attempt {
	if r.Attempt.Failures == 0 || r.Attempt.Generation != r.Generation {
		return nil
	}
	return &r.Attempt
}

// endedBackoff returns a success that never was, so that all processes give up
// their back-off.
func (r *record) endedBackoff(now time.Time) attempt {
	last := r.Attempt
	return attempt{Number: last.Number + 1, Generation: r.Generation, At: now, Day: last.Day, OfDay: last.OfDay}
}

// another returns an attempt that follows a, with nothing but its number, its
// time, and its place in the day, on which so many others were made that were
// not counted yet.
func (a *attempt) another(at time.Time, p *Policy, uncounted int) attempt {
	next := attempt{Number: a.Number + 1, At: at, Day: p.dayOf(at), OfDay: 1 + uncounted}
	if a.Day == next.Day {
		next.OfDay += a.OfDay
	}
	return next
}

// keep returns what there is to keep after a grant.
func (k kept) keep(secret string, at time.Time) kept {
	if secret == "" || secret == k.Secret {
		return k
	}
	return kept{Version: max(k.Version+1, at.UnixMilli()), Secret: secret}
}

func (r *record) marshal() ([]byte, error) { return json.Marshal(r) }

func unmarshalRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, err
	}
	if (r.Generation > 0) != (r.AccessToken != "") {
		return record{}, errors.New("the stored record is inconsistent")
	}
	return r, nil
}
