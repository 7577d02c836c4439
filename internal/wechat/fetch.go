package wechat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Credentials are what an account proves itself with at a token endpoint.
type Credentials struct {
	ID     string // AppID or corpid
	Secret string `json:"-"`
}

// String returns the ID alone, so that no log line shows the secret.
func (c Credentials) String() string { return c.ID }

// GoString returns the ID alone as well.
func (c Credentials) GoString() string { return c.ID }

// Grant is a token that a token endpoint has handed out.
type Grant struct {
	AccessToken string
	ExpiresIn   time.Duration // from the moment the answer came
}

// Policy tells how a token endpoint wants to be used.
type Policy struct {
	// Lead is how long before its expiry a token is renewed.
	Lead time.Duration

	// Recheck is how often the endpoint is asked for the current token while
	// the account is in use; 0 is never.
	Recheck time.Duration

	// Idempotent says that asking twice returns the same token, so that two
	// processes which ask at the same time do each other no harm.
	Idempotent bool

	// ForcesPerDay is how often a day a new token may be forced, with at least
	// ForceGap in between; 0 is never.
	ForcesPerDay int
	ForceGap     time.Duration

	// FetchesPerDay is the endpoint's daily quota.
	FetchesPerDay int

	// Extension, if not 0, says that a token lives from when it was first handed
	// out, whatever the endpoint says when it hands it out again. At its end, the
	// same token again is good for so much longer.
	Extension time.Duration

	// Rejected is how long to wait, growing, before the endpoint is asked again
	// that hands out a rejected token again.
	Rejected Waits

	// ConfigurationBackoff are the waits after Configuration failures in a row.
	// Zero waits are the default.
	ConfigurationBackoff Waits

	// FailureClass, if not "", names what shares a budget of failed fetches in a
	// process: FailuresPerHour.
	FailureClass    string
	FailuresPerHour int
}

// Waits are waits that double from the least to the most.
type Waits struct{ Least, Most time.Duration }

const (
	maxTokenAnswer = 64 << 10
	maxTokenLength = 4 << 10
)

// fetch asks a token endpoint. No error contains the secret.
func fetch(rt http.RoundTripper, req *http.Request, cred Credentials) (Grant, error) {
	res, err := Send(rt, req, maxTokenAnswer)
	if err != nil {
		return Grant{}, RedactError(err, func(text string) string { return Redact(text, cred.Secret) })
	}
	// Whatever else is odd about the answer, an errcode says what is wrong.
	if errcode, result := ScanErrcode(res.Body); result == ScanFound && errcode != OK {
		return Grant{}, &Error{Code: errcode, Msg: Redact(unquoted(ErrmsgOf(res.Body)), cred.Secret)}
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	decodeErr := json.Unmarshal(bytes.TrimPrefix(res.Body, []byte("\ufeff")), &answer)
	if res.Status != http.StatusOK {
		return Grant{}, fmt.Errorf("the token endpoint answered with HTTP status %d", res.Status)
	}
	if decodeErr != nil {
		return Grant{}, errors.New("the token endpoint's answer is no JSON object of the documented form")
	}
	return grantOf(answer.AccessToken, answer.ExpiresIn)
}

// unquoted returns what the inside of a JSON string stands for, or that itself if
// it is none.
func unquoted(inside string) string {
	var text string
	if json.Unmarshal([]byte(`"`+inside+`"`), &text) != nil {
		return inside
	}
	return text
}

// grantOf checks what a token endpoint has handed out.
func grantOf(token string, expiresIn json.Number) (Grant, error) {
	if !IsToken(token) {
		return Grant{}, errors.New("the token endpoint's answer holds no usable access_token")
	}
	seconds, err := expiresIn.Float64()
	if err != nil || seconds < 1 || seconds > 365*24*3600 {
		return Grant{}, errors.New("the token endpoint's answer holds no usable expires_in")
	}
	return Grant{
		AccessToken: token,
		ExpiresIn:   time.Duration(seconds * float64(time.Second)),
	}, nil
}

// IsToken reports whether something can be a token or a ticket: it has to stand in
// a query and in a header.
func IsToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= maxTokenLength
}
