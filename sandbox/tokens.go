package sandbox

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// token is an account's access_token.
type token struct {
	value   string
	issuer  *issuer
	expires time.Time // what expires_in promised
	ends    time.Time // when it really stops working
	errcode int       // what it is refused with from then on
}

// end lets the token die at a time, unless it dies before anyway.
func (t *token) end(at time.Time, errcode int) {
	if at.Before(t.ends) {
		t.ends, t.errcode = at, errcode
	}
}

func (t *token) refusal(now time.Time) error {
	if now.Before(t.ends) {
		return nil
	}
	return refuse(t.errcode)
}

// fingerprint tells tokens apart without giving them away.
func (t *token) fingerprint() string {
	sum := sha256.Sum256([]byte(t.value))
	return hex.EncodeToString(sum[:4])
}

// issuer hands out the tokens of one account by one method.
type issuer struct {
	account *account
	quotas  []*quota
	fetches int

	expiresIn time.Duration
	overlap   time.Duration // how long a token and its successor both work

	current *token
	tokens  *recent[*token] // dead ones too, to tell what has become of them

	// insists means that the current token is handed out even if it has been
	// revoked.
	insists bool
}

func newIssuer(a *account, expiresIn time.Duration, quotas ...*quota) *issuer {
	return &issuer{
		account:   a,
		quotas:    quotas,
		expiresIn: expiresIn,
		overlap:   min(maxOverlap, expiresIn/2),
		tokens:    newRecent[*token](maxTokens),
	}
}

// issue makes a new token the current one, and leaves the others alone.
func (i *issuer) issue(now time.Time) *token {
	expires := now.Add(i.expiresIn)
	i.current = &token{
		value:   newToken(tokenLength),
		issuer:  i,
		expires: expires,
		ends:    expires,
		errcode: wechat.AccessTokenExpired,
	}
	i.tokens.add(i.current.value, i.current)
	return i.current
}

// take counts a call of the endpoint.
func (i *issuer) take(now time.Time) error {
	for _, q := range i.quotas {
		if err := q.take(now); err != nil {
			return err
		}
	}
	return nil
}

// endAll lets all tokens die at a time.
func (i *issuer) endAll(at time.Time, errcode int) {
	for _, t := range i.tokens.entries {
		t.end(at, errcode)
	}
}

// nextClassic returns a new token; the one before works a little longer.
func (a *account) nextClassic(now time.Time) (*token, error) {
	i := a.classic
	if err := i.take(now); err != nil {
		return nil, err
	}
	if before := i.current; before != nil {
		before.end(now.Add(i.overlap), wechat.InvalidCredential)
	}
	return i.issue(now), nil
}

// nextStable returns the current token until its end is near, and leaves it
// working beside its successor then; forced, it returns a new one and all
// others die.
func (a *account) nextStable(now time.Time, force bool) (*token, error) {
	i := a.stable
	if err := i.take(now); err != nil {
		return nil, err
	}
	if force && now.Sub(a.lastForced) >= stablePolicy.ForceGap {
		if err := a.forces.take(now); err != nil {
			return nil, err
		}
		a.lastForced = now
		a.forced++
		i.endAll(now, wechat.InvalidCredential)
		return i.issue(now), nil
	}
	if t := i.current; t != nil && t.expires.Sub(now) > i.overlap && (i.insists || t.refusal(now) == nil) {
		return t, nil
	}
	return i.issue(now), nil
}

// claim is what a client proves itself with.
type claim struct {
	AppID     string `json:"appid"`
	Secret    string `json:"secret"`
	GrantType string `json:"grant_type"`
}

func (c *call) queryClaim() claim {
	return claim{AppID: c.param("appid"), Secret: c.param("secret"), GrantType: c.param("grant_type")}
}

// prove returns the account of a claim. WeChat has two errcodes for a wrong
// secret.
func (s *Server) prove(cl claim, grantType string, wrongSecret error) (*account, error) {
	a := s.byAppID[cl.AppID]
	switch {
	case cl.AppID == "":
		return nil, refuse(wechat.AppIDMissing)
	case cl.Secret == "":
		return nil, refuse(wechat.AppSecretMissing)
	case cl.GrantType != grantType:
		return nil, refuse(wechat.InvalidGrantType)
	case a == nil:
		return nil, refuse(wechat.InvalidAppID)
	case subtle.ConstantTimeCompare([]byte(cl.Secret), []byte(a.AppSecret)) == 0:
		return nil, wrongSecret
	}
	return a, nil
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
}

const clientCredential = "client_credential"

func (c *call) classicToken() (any, error) {
	wrongSecret := &wechat.Error{Code: wechat.InvalidCredential, Msg: "invalid credential"}
	return c.fetch(c.queryClaim(), wrongSecret, func(a *account) (*token, error) {
		return a.nextClassic(c.now)
	})
}

func (c *call) stableToken() (any, error) {
	var body struct {
		claim
		ForceRefresh bool `json:"force_refresh"`
	}
	// What is no JSON at all counts as a form, in which no appid is looked for.
	if c.isJSONObject() {
		if err := c.decode(&body); err != nil {
			return nil, err
		}
	}
	return c.fetch(body.claim, refuse(wechat.InvalidAppSecret), func(a *account) (*token, error) {
		return a.nextStable(c.now, body.ForceRefresh)
	})
}

// fetch does what both token endpoints have in common.
func (c *call) fetch(cl claim, wrongSecret error, next func(*account) (*token, error)) (any, error) {
	var t *token
	a, err := c.server.prove(cl, clientCredential, wrongSecret)
	if err == nil {
		err = a.failures.next(tokenEndpoint)
	}
	if err == nil {
		t, err = next(a)
	}
	if err != nil {
		if claimed := c.server.byAppID[cl.AppID]; claimed != nil {
			claimed.refused++
		}
		return nil, err
	}
	t.issuer.fetches++
	return tokenAnswer{AccessToken: t.value, ExpiresIn: int(t.expires.Sub(c.now) / time.Second)}, nil
}

// clearQuota takes a token, so that its appid can only be the token's.
func (c *call) clearQuota() (any, error) {
	var body struct {
		AppID string `json:"appid"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.AppID == "" {
		return nil, refuse(wechat.AppIDMissing)
	}
	if body.AppID != c.account.AppID {
		return nil, refuse(wechat.InvalidAppID)
	}
	if err := c.account.clearQuotas(c.now); err != nil {
		return nil, err
	}
	return success, nil
}

// clearQuotaV2 takes appid and appsecret instead: in the query, as a form or as
// JSON.
func (c *call) clearQuotaV2() (any, error) {
	var body struct {
		AppID     string `json:"appid"`
		AppSecret string `json:"appsecret"`
	}
	body.AppID, body.AppSecret = c.param("appid"), c.param("appsecret")
	if c.isJSONObject() {
		if err := c.decode(&body); err != nil {
			return nil, err
		}
	} else if form, err := url.ParseQuery(string(c.json)); err == nil && form.Has("appid") {
		body.AppID, body.AppSecret = form.Get("appid"), form.Get("appsecret")
	}
	a, err := c.server.prove(claim{AppID: body.AppID, Secret: body.AppSecret}, "", refuse(wechat.InvalidAppSecret))
	if err != nil {
		return nil, err
	}
	if err := a.failures.next(apiEndpoint); err != nil {
		return nil, err
	}
	if err := a.clearQuotas(c.now); err != nil {
		return nil, err
	}
	return success, nil
}

func (s *Server) findToken(value string) *token {
	for _, a := range s.accounts {
		for _, i := range []*issuer{a.stable, a.classic} {
			if t, ok := i.tokens.get(value); ok {
				return t
			}
		}
	}
	return nil
}

var tokenForm = regexp.MustCompile(`^[0-9]{1,3}_[A-Za-z0-9_-]{60,509}$`)

// Lengths of tokens, much as they are today.
const (
	tokenLength     = 140
	userTokenLength = 90
)

// newToken returns a token of WeChat's form.
func newToken(length int) string {
	const prefix = "92_"
	return prefix + randomText(length-len(prefix))
}

// randomText returns URL-safe text that nobody can guess.
func randomText(length int) string {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(length)+1)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)[:length]
}

// unknownTokenErrcode says what WeChat makes of a token it has not issued.
func unknownTokenErrcode(value string) int {
	switch {
	case value == "":
		return wechat.AccessTokenMissing
	case tokenForm.MatchString(value):
		return wechat.InvalidCredential
	}
	return wechat.InvalidAccessToken
}
