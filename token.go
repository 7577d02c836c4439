package weixin

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Token is an access_token as requests use it. It prints as its fingerprint.
type Token struct {
	accessToken string
	escaped     string // for a query
	fingerprint string
	generation  int64
	confirmed   int
	strikes     int
	state       *tokenState // whose token it is
	fetchedAt   time.Time
	checkedAt   time.Time
	expiresAt   time.Time

	// seenAt is when this process learned of the token. The other times may be
	// by another's clock.
	seenAt time.Time

	// dueAt is when the token is renewed if it is in use, warmAt when it is
	// renewed even if it is not.
	dueAt  time.Time
	warmAt time.Time

	// renewAt is when the next request that uses the token starts its renewal,
	// in nanoseconds since the epoch: dueAt, but later while a renewal is under
	// way or has to wait. It belongs to the state, and is locked with it.
	renewAt int64

	// accepted is whether WeChat has been seen to accept the token.
	accepted atomic.Bool

	// dead is whether WeChat has rejected the token and no other could be had.
	dead atomic.Bool
}

// newToken returns the record's token, or nil if it has none.
func newToken(r *record, policy wechat.Policy, state *tokenState, now time.Time) *Token {
	if r.AccessToken == "" {
		return nil
	}
	t := &Token{
		accessToken: r.AccessToken,
		escaped:     url.QueryEscape(r.AccessToken),
		fingerprint: fingerprint(r.AccessToken),
		generation:  r.Generation,
		confirmed:   r.Confirmations,
		strikes:     r.Strikes,
		state:       state,
		fetchedAt:   r.FetchedAt,
		checkedAt:   r.CheckedAt,
		expiresAt:   r.ExpiresAt,
		seenAt:      now,
	}
	t.warmAt = t.renewTime(policy)
	t.dueAt = t.warmAt
	if policy.Recheck > 0 {
		if recheck := t.checkedAt.Add(policy.Recheck - jitter(policy.Recheck/5)); recheck.Before(t.dueAt) {
			t.dueAt = recheck
		}
	}
	t.renewAt = t.dueAt.UnixNano()
	return t
}

// fingerprint returns the first eight hex digits of a token's SHA-256, by which
// it can be recognised in log lines without being shown.
func fingerprint(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return hex.EncodeToString(sum[:4])
}

// String returns the token's fingerprint.
func (t *Token) String() string { return t.fingerprint }

// GoString returns the token's fingerprint.
func (t *Token) GoString() string { return t.fingerprint }

// usable says whether the token may be put into a request.
func (t *Token) usable(now time.Time) bool {
	return now.Before(t.expiresAt) && !t.dead.Load()
}

// supersedes says whether the token may be tried where another was rejected:
// it is another, or has been handed out again since.
func (t *Token) supersedes(rejected *Token) bool {
	if rejected == nil {
		return true
	}
	return t.generation != rejected.generation && (t.accessToken != rejected.accessToken || t.confirmed > 0)
}

// accept notes that WeChat has accepted the token.
func (t *Token) accept() {
	if !t.accepted.Load() {
		t.accepted.Store(true)
	}
}

// renewTime is when the token is renewed even if nobody uses it: the policy's
// lead before its expiry, but within the last fifth of its life, whatever
// expires_in was. The jitter keeps processes and accounts apart.
func (t *Token) renewTime(policy wechat.Policy) time.Time {
	lead := t.lead(policy)
	at := t.expiresAt.Add(-lead + jitter(lead/5))
	if at.After(t.checkedAt) {
		return at
	}
	// The endpoint was asked in that time already and gave the same token.
	return t.checkedAt.Add(max(t.expiresAt.Sub(t.checkedAt)/4, time.Second))
}

// lead is how long before its expiry the token is renewed, without the jitter.
func (t *Token) lead(policy wechat.Policy) time.Duration {
	return min(policy.Lead, t.expiresAt.Sub(t.fetchedAt)/5)
}

// jitter returns a random duration below limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}
