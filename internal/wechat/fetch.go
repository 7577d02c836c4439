package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Credentials are what an account proves itself with at a token endpoint.
type Credentials struct {
	AppID     string
	AppSecret string `json:"-"`
}

// String returns the AppID alone, so that no log line shows the AppSecret.
func (c Credentials) String() string { return c.AppID }

// GoString returns the AppID alone as well.
func (c Credentials) GoString() string { return c.AppID }

// Grant is a token that a token endpoint has handed out.
type Grant struct {
	AccessToken string
	ExpiresIn   time.Duration // from the moment the answer came
}

// Source is a way to get an account's token: a token endpoint and its rules.
type Source interface {
	// Method is the name of the source in the configuration and in log lines.
	Method() string

	// Fetch asks the endpoint at base for a token. With force it asks for a
	// new one even though the current one has not expired, where the source's
	// Policy allows that. An answer with an errcode is returned as an *Error.
	// No error contains the AppSecret.
	Fetch(ctx context.Context, rt http.RoundTripper, base *url.URL, cred Credentials, force bool) (Grant, error)

	// Policy tells how the endpoint wants to be used.
	Policy() Policy
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
}

// NewSource returns the source of the given name: "stable", which is also the
// default, or "classic".
func NewSource(method string) (Source, error) {
	switch method {
	case "", "stable":
		return Stable{}, nil
	case "classic":
		return Classic{}, nil
	}
	return nil, fmt.Errorf("unknown token method %q: write stable or classic", method)
}

// Stable is /cgi-bin/stable_token: everybody who asks gets the same token until
// its last five minutes, and tokens of the classic endpoint are another matter.
type Stable struct{}

// Method returns "stable".
func (Stable) Method() string { return "stable" }

// Policy returns the rules of the endpoint's documentation: asked every five
// minutes, in its last five minutes a token is succeeded by the next, and a
// new one may be forced twenty times a day and thirty seconds apart.
func (Stable) Policy() Policy {
	return Policy{
		Lead:          4 * time.Minute,
		Recheck:       5 * time.Minute,
		Idempotent:    true,
		ForcesPerDay:  20,
		ForceGap:      30 * time.Second,
		FetchesPerDay: 500_000,
	}
}

// Fetch implements Source.
func (Stable) Fetch(ctx context.Context, rt http.RoundTripper, base *url.URL, cred Credentials, force bool) (Grant, error) {
	body, err := json.Marshal(map[string]any{
		"grant_type":    "client_credential",
		"appid":         cred.AppID,
		"secret":        cred.AppSecret,
		"force_refresh": force,
	})
	if err != nil {
		return Grant{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("/cgi-bin/stable_token").String(), bytes.NewReader(body))
	if err != nil {
		return Grant{}, errors.New("the upstream is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	return fetch(rt, req, cred)
}

// Classic is /cgi-bin/token: every call returns a new token, and the one before
// dies five minutes later.
type Classic struct{}

// Method returns "classic".
func (Classic) Method() string { return "classic" }

// Policy returns the rules of the endpoint's documentation: 2,000 calls a day.
func (Classic) Policy() Policy {
	return Policy{
		Lead:          10 * time.Minute,
		FetchesPerDay: 2_000,
	}
}

// Fetch implements Source.
func (Classic) Fetch(ctx context.Context, rt http.RoundTripper, base *url.URL, cred Credentials, _ bool) (Grant, error) {
	u := base.JoinPath("/cgi-bin/token")
	u.RawQuery = url.Values{
		"grant_type": {"client_credential"},
		"appid":      {cred.AppID},
		"secret":     {cred.AppSecret},
	}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Grant{}, errors.New("the upstream is no URL")
	}
	return fetch(rt, req, cred)
}

// UserAgent is what token endpoints are asked as.
const UserAgent = "caddy-weixin"

const (
	maxTokenAnswer = 64 << 10
	maxTokenLength = 4 << 10
)

// fetch uses the RoundTripper itself: an http.Client would follow redirects and
// put the URL, and with it the AppSecret, into its errors.
func fetch(rt http.RoundTripper, req *http.Request, cred Credentials) (Grant, error) {
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", UserAgent)
	res, err := rt.RoundTrip(req)
	if err != nil {
		return Grant{}, redacted(err, cred.AppSecret)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTokenAnswer))
	if err != nil {
		return Grant{}, redacted(err, cred.AppSecret)
	}
	var refusal struct {
		Errcode int    `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
	// Whatever else is odd about the answer, an errcode says what is wrong.
	if _ = json.Unmarshal(body, &refusal); refusal.Errcode != OK {
		return Grant{}, &Error{Code: refusal.Errcode, Msg: Redact(refusal.Errmsg, cred.AppSecret)}
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	decodeErr := json.Unmarshal(body, &answer)
	if res.StatusCode != http.StatusOK {
		return Grant{}, fmt.Errorf("the token endpoint answered with HTTP status %d", res.StatusCode)
	}
	if decodeErr != nil {
		return Grant{}, errors.New("the token endpoint's answer is no JSON object of the documented form")
	}
	if !isToken(answer.AccessToken) {
		return Grant{}, errors.New("the token endpoint's answer holds no usable access_token")
	}
	seconds, err := answer.ExpiresIn.Float64()
	if err != nil || seconds < 1 || seconds > 365*24*3600 {
		return Grant{}, errors.New("the token endpoint's answer holds no usable expires_in")
	}
	return Grant{
		AccessToken: answer.AccessToken,
		ExpiresIn:   time.Duration(seconds * float64(time.Second)),
	}, nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= maxTokenLength
}

// redacted keeps an error's chain where its text shows no secret.
func redacted(err error, secret string) error {
	if text := err.Error(); Redact(text, secret) != text {
		return errors.New(Redact(text, secret))
	}
	return err
}
