package weixin

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// record is all that the processes which serve an account share about it. It is
// saved as one sealed value.
//
// Processes may write at the same time, lose the store and find it again, or
// have clocks that differ. So records are merged, not overwritten: merge is
// commutative, associative and idempotent, and whatever the order of events,
// all processes arrive at the same record, the one with the newest token.
type record struct {
	// Generation orders the account's tokens: the higher one wins. It is the
	// time of the fetch in milliseconds since the epoch, or one more than the
	// generation it succeeds where that is higher, so that neither a clock
	// that is behind nor an empty store makes a new token look old.
	Generation  int64     `json:"generation,omitempty"`
	AccessToken string    `json:"access_token,omitempty"`
	FetchedAt   time.Time `json:"fetched_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`

	// CheckedAt is when the token endpoint last handed this token out.
	CheckedAt time.Time `json:"checked_at,omitzero"`

	// Confirmations counts how often in a row the endpoint has handed out the
	// same token again after an API had rejected it.
	Confirmations int `json:"confirmations,omitempty"`

	// Strikes counts the rejected tokens before this one of which none was
	// ever seen to be accepted.
	Strikes int `json:"strikes,omitempty"`

	// Attempt is what came of the last fetch.
	Attempt attempt `json:"attempt,omitzero"`

	// Forced holds when new tokens were forced in the last day.
	Forced []time.Time `json:"forced,omitempty"`

	// Deaths holds when tokens were found dead before their time, of late.
	Deaths []time.Time `json:"deaths,omitempty"`
}

// attempt is the outcome of a fetch.
type attempt struct {
	Number     int64     `json:"number"`     // counts the account's attempts
	Generation int64     `json:"generation"` // of the token there was when it ended
	Failures   int       `json:"failures,omitempty"`
	At         time.Time `json:"at,omitzero"`
	Day        string    `json:"day,omitempty"`     // of WeChat's, on which it was made
	OfDay      int       `json:"of_day,omitempty"`  // how many there were on that day, with this one
	RetryAt    time.Time `json:"retry_at,omitzero"` // zero after a success
	Errcode    int       `json:"errcode,omitempty"`
	Message    string    `json:"message,omitempty"`
}

// nextGeneration returns the generation of a token that succeeds the record's.
func (r *record) nextGeneration(now time.Time) int64 {
	return max(r.Generation+1, now.UnixMilli())
}

// failure returns the last attempt if it failed and no newer token has come
// since, from wherever.
func (r *record) failure() *attempt {
	if r.Attempt.Failures == 0 || r.Attempt.Generation != r.Generation {
		return nil
	}
	return &r.Attempt
}

// forcedSince returns how many tokens were forced after t, and the last of them.
func (r *record) forcedSince(t time.Time) (n int, last time.Time) {
	for _, at := range r.Forced {
		if at.After(t) {
			n++
			last = at
		}
	}
	return n, last
}

// merge returns what two records tell together.
func merge(a, b record) record {
	m := a
	if compareTokens(&a, &b) < 0 {
		m = b
	}
	if compareAttempts(&a.Attempt, &b.Attempt) < 0 {
		m.Attempt = b.Attempt
	} else {
		m.Attempt = a.Attempt
	}
	m.Forced = mergeTimes(a.Forced, b.Forced, maxForcedKept)
	m.Deaths = mergeTimes(a.Deaths, b.Deaths, maxDeathsKept)
	return m
}

const (
	// maxForcedKept is more than any source allows to be forced in a day.
	maxForcedKept = 64

	// maxDeathsKept is enough to see a thief, and to see that it goes on.
	maxDeathsKept = 16
)

// mergeTimes returns the newest of two lists of times, at most so many.
func mergeTimes(a, b []time.Time, most int) []time.Time {
	merged := slices.Concat(a, b)
	slices.SortFunc(merged, time.Time.Compare)
	merged = slices.CompactFunc(merged, time.Time.Equal)
	if len(merged) == 0 {
		return nil
	}
	return slices.Clone(merged[max(0, len(merged)-most):])
}

// compareTokens orders records by their token. What is compared after the
// generation only has to make any two different records unequal.
func compareTokens(a, b *record) int {
	return cmp.Or(
		cmp.Compare(a.Generation, b.Generation),
		a.CheckedAt.Compare(b.CheckedAt),
		cmp.Compare(a.AccessToken, b.AccessToken),
		a.ExpiresAt.Compare(b.ExpiresAt),
		a.FetchedAt.Compare(b.FetchedAt),
		cmp.Compare(a.Strikes, b.Strikes),
		cmp.Compare(a.Confirmations, b.Confirmations),
	)
}

func compareAttempts(a, b *attempt) int {
	return cmp.Or(
		cmp.Compare(a.Number, b.Number),
		cmp.Compare(a.Generation, b.Generation),
		cmp.Compare(a.Failures, b.Failures),
		a.RetryAt.Compare(b.RetryAt),
		a.At.Compare(b.At),
		cmp.Compare(a.OfDay, b.OfDay),
		cmp.Compare(a.Day, b.Day),
		cmp.Compare(a.Errcode, b.Errcode),
		cmp.Compare(a.Message, b.Message),
	)
}

// equal says whether two records are the same.
func (r *record) equal(o *record) bool {
	return compareTokens(r, o) == 0 && compareAttempts(&r.Attempt, &o.Attempt) == 0 &&
		slices.EqualFunc(r.Forced, o.Forced, time.Time.Equal) && slices.EqualFunc(r.Deaths, o.Deaths, time.Time.Equal)
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
