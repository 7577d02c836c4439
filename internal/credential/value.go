package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Value is a secret as requests use it. It never changes, and prints as its
// fingerprint in whatever way it is printed.
type Value struct {
	secret      string
	escaped     string // for a query
	fingerprint string
	generation  int64
	runner      *Runner
	fetchedAt   time.Time
	expiresAt   time.Time
}

// newValue returns the record's value, or nil if it has none.
func newValue(r *record, runner *Runner) *Value {
	if r.AccessToken == "" {
		return nil
	}
	return &Value{
		secret:      r.AccessToken,
		escaped:     url.QueryEscape(r.AccessToken),
		fingerprint: fingerprint(r.AccessToken),
		generation:  r.Generation,
		runner:      runner,
		fetchedAt:   r.FetchedAt,
		expiresAt:   r.ExpiresAt,
	}
}

// fingerprint returns the first eight hex digits of a secret's SHA-256, by which
// it can be recognised in log lines without being shown.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:4])
}

// Secret returns the secret itself. It is for requests, and for nothing that is
// printed.
func (v *Value) Secret() string { return v.secret }

// Escaped returns the secret as it is written in a query.
func (v *Value) Escaped() string { return v.escaped }

// Fingerprint returns by what the value can be recognised.
func (v *Value) Fingerprint() string { return v.fingerprint }

// Generation orders a credential's values: the newer has the higher one. A value
// that was handed out again after a rejection has another than before.
func (v *Value) Generation() int64 { return v.generation }

// FetchedAt returns when the value was first handed out.
func (v *Value) FetchedAt() time.Time { return v.fetchedAt }

// ExpiresAt returns when the value's life ends.
func (v *Value) ExpiresAt() time.Time { return v.expiresAt }

// Accept notes that an API has accepted the value. It is cheap where that is
// known already.
func (v *Value) Accept() {
	if r := v.runner; r != nil && r.accepted.Load() != v.generation {
		r.accept(v)
	}
}

// String returns the fingerprint.
func (v Value) String() string { return v.fingerprint }

// GoString returns the fingerprint.
func (v Value) GoString() string { return v.fingerprint }

// Format prints the fingerprint, whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, v.fingerprint) }

// MarshalText returns the fingerprint, and so does JSON.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.fingerprint), nil }

// isLive reports whether the value has not expired.
func (v *Value) isLive(now time.Time) bool { return v != nil && now.Before(v.expiresAt) }
