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

// refusal returns what a call with the token gets, nil while it lives.
func (t *token) refusal(c *call) error {
	if t.alive(c.now) {
		return nil
	}
	return c.refuse(t.errcode)
}

func (t *token) alive(now time.Time) bool { return now.Before(t.ends) }

// fingerprint tells tokens apart without giving them away.
func (t *token) fingerprint() string {
	sum := sha256.Sum256([]byte(t.value))
	return hex.EncodeToString(sum[:4])
}

// issuer hands out the tokens of one owner by one method.
type issuer struct {
	server  *Server
	owner   owner
	length  int    // of a token
	prefix  string // of a token
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

func newIssuer(s *Server, o owner, quotas ...*quota) *issuer {
	expiresIn := s.config.ExpiresIn
	return &issuer{
		server:    s,
		owner:     o,
		length:    tokenLength,
		prefix:    tokenPrefix,
		quotas:    quotas,
		expiresIn: expiresIn,
		overlap:   min(maxOverlap, expiresIn/2),
		tokens: &recent[*token]{
			limit:   maxTokens,
			entries: make(map[string]*token),
			forget:  func(value string) { delete(s.tokens, value) },
		},
	}
}

// issue makes a new token the current one, and leaves the others alone.
func (i *issuer) issue(now time.Time) *token {
	expires := now.Add(i.expiresIn)
	i.current = &token{
		value:   i.prefix + randomText(i.length-len(i.prefix)),
		issuer:  i,
		expires: expires,
		ends:    expires,
		errcode: accessTokenExpired,
	}
	i.tokens.add(i.current.value, i.current)
	i.server.tokens[i.current.value] = i.current
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
		before.end(now.Add(i.overlap), invalidCredential)
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
	if force && now.Sub(a.lastForced) >= forceGap {
		if err := a.forces.take(now); err != nil {
			return nil, err
		}
		a.lastForced = now
		a.forced++
		i.endAll(now, invalidCredential)
		return i.issue(now), nil
	}
	if t := i.current; t != nil && t.expires.Sub(now) > i.overlap && (i.insists || t.alive(now)) {
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
		return nil, refuse(appIDMissing)
	case cl.Secret == "":
		return nil, refuse(appSecretMissing)
	case cl.GrantType != grantType:
		return nil, refuse(invalidGrantType)
	case a == nil && s.components[cl.AppID] != nil:
		return nil, refuse(wrongMethod)
	case a == nil:
		return nil, refuse(invalidAppID)
	case subtle.ConstantTimeCompare([]byte(cl.Secret), []byte(a.AppSecret)) == 0:
		return nil, wrongSecret
	}
	return a, nil
}

// orderedAtToken is ordered for a token endpoint.
func (c *call) orderedAtToken(counted *counters) error {
	due := counted.failures.next(tokenEndpoint)
	if due == nil {
		return nil
	}
	if due.msg == "" {
		return c.refuse(due.code)
	}
	return due
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
}

func tokenRoutes() []route {
	const claims = "grant_type=client_credential&appid={appid}&secret={secret}"
	return all(noToken,
		get("/cgi-bin/token", "a new classic token", (*call).classicToken, claims, opt("grant_type", "appid", "secret")...),
		post("/cgi-bin/stable_token", "the stable token", (*call).stableToken,
			`{"grant_type":"client_credential","appid":"{appid}","secret":"{secret}"}`,
			opt("grant_type", "appid", "secret", "force_refresh")...).reading(rawBody),
		post("/cgi-bin/clear_quota/v2", "ends what the quotas have counted", (*call).clearQuotaV2,
			`{"appid":"{appid}","appsecret":"{secret}"}`, opt("appid", "appsecret")...).reading(rawBody),
	)
}

const clientCredential = "client_credential"

func (c *call) classicToken() (any, error) {
	wrongSecret := &apiError{code: invalidCredential, msg: "invalid credential"}
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
	return c.fetch(body.claim, refuse(invalidAppSecret), func(a *account) (*token, error) {
		return a.nextStable(c.now, body.ForceRefresh)
	})
}

// fetch does what both token endpoints have in common.
func (c *call) fetch(cl claim, wrongSecret error, next func(*account) (*token, error)) (any, error) {
	var t *token
	a, err := c.server.prove(cl, clientCredential, wrongSecret)
	if err == nil {
		err = c.orderedAtToken(&a.counters)
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
	a, err := c.server.prove(claim{AppID: body.AppID, Secret: body.AppSecret}, "", refuse(invalidAppSecret))
	if err != nil {
		return nil, err
	}
	if err := c.ordered(&a.counters); err != nil {
		return nil, err
	}
	if err := a.clearQuotas(c.now); err != nil {
		return nil, err
	}
	return okStatus, nil
}

var tokenForm = regexp.MustCompile(`^[0-9]{1,3}_[A-Za-z0-9_-]{60,509}$`)

// Lengths of tokens, much as they are today.
const (
	tokenLength     = 140
	userTokenLength = 90
)

const tokenPrefix = "92_"

// newToken returns a token of WeChat's form.
func newToken(length int) string {
	return tokenPrefix + randomText(length-len(tokenPrefix))
}

// randomText returns URL-safe text that nobody can guess.
func randomText(length int) string {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(length)+1)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)[:length]
}
