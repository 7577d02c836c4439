package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

const (
	maxCodeLength = 128

	userTokenLifetime    = 2 * time.Hour
	refreshTokenLifetime = 30 * 24 * time.Hour
)

// userSession is a user who has allowed an account to know who they are.
type userSession struct {
	openID         string
	accessToken    string
	expires        time.Time
	refreshToken   string
	refreshExpires time.Time
}

func isCode(code string) bool { return code != "" && len(code) <= maxCodeLength }

// userOfCode returns the user whom a code names, so that one user can come with
// as many codes as a test wants.
func userOfCode(code string) string {
	user, _, _ := strings.Cut(code, ":")
	return user
}

// useCode says whether a code had not been used before.
func useCode(used *recent[struct{}], code string) bool {
	if _, ok := used.get(code); ok {
		return false
	}
	used.add(code, struct{}{})
	return true
}

// login checks AppID, AppSecret and a one-time code, which both kinds of login
// take.
func (c *call) login(codeParam string) (*account, string, error) {
	a, err := c.server.prove(c.queryClaim(), "authorization_code", refuse(invalidAppSecret))
	if err != nil {
		return nil, "", err
	}
	code := c.param(codeParam)
	if isCode(code) {
		if err := c.ordered(&a.counters); err != nil {
			return nil, "", err
		}
	}
	code, err = a.useLoginCode(code)
	return a, code, err
}

// useLoginCode uses a one-time code up.
func (a *account) useLoginCode(code string) (string, error) {
	switch {
	case code == "":
		return "", refuse(codeMissing)
	case !isCode(code):
		return "", refuse(invalidCode)
	case !useCode(a.loginCodes, code):
		return "", refuse(codeUsed)
	}
	return code, nil
}

func snsRoutes() []route {
	const claims = "appid={appid}&secret={secret}&grant_type=authorization_code&"
	user := opt("access_token", "openid")
	return all(noToken,
		get("/sns/jscode2session", "a mini program's login", (*call).jscode2session, claims+"js_code=alice",
			opt("appid", "secret", "grant_type", "js_code")...),
		get("/sns/oauth2/access_token", "a web page's login", (*call).userAccessToken, claims+"code=alice",
			opt("appid", "secret", "grant_type", "code")...),
		get("/sns/oauth2/refresh_token", "renews a user's token", (*call).userRefreshToken,
			"appid={appid}&grant_type=refresh_token&refresh_token={user_refresh_token}",
			opt("appid", "grant_type", "refresh_token")...),
		get("/sns/userinfo", "who a user is", (*call).snsUserInfo, "access_token={user_token}&openid={user_openid}", user...),
		get("/sns/auth", "checks a user's token", (*call).snsAuth, "access_token={user_token}&openid={user_openid}", user...),
	)
}

func (c *call) jscode2session() (any, error) {
	a, code, err := c.login("js_code")
	if err != nil {
		return nil, err
	}
	return struct {
		SessionKey string `json:"session_key"`
		OpenID     string `json:"openid"`
	}{sessionKey(a, code), a.openID(userOfCode(code))}, nil
}

// sessionKey returns 16 bytes that depend on the code, as base64.
func sessionKey(a *account, code string) string {
	mac := hmac.New(sha256.New, []byte(a.AppSecret))
	mac.Write([]byte(code))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)[:16])
}

type userTokenAnswer struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	OpenID       string `json:"openid"`
	Scope        string `json:"scope"`
}

func (u *userSession) answer(now time.Time) userTokenAnswer {
	return userTokenAnswer{
		AccessToken:  u.accessToken,
		ExpiresIn:    int(u.expires.Sub(now) / time.Second),
		RefreshToken: u.refreshToken,
		OpenID:       u.openID,
		Scope:        "snsapi_userinfo",
	}
}

func (c *call) userAccessToken() (any, error) {
	a, code, err := c.login("code")
	if err != nil {
		return nil, err
	}
	return a.newUserSession(code, c.now).answer(c.now), nil
}

func (a *account) newUserSession(code string, now time.Time) *userSession {
	u := &userSession{
		openID:         a.openID(userOfCode(code)),
		accessToken:    newToken(userTokenLength),
		expires:        now.Add(userTokenLifetime),
		refreshToken:   newToken(userTokenLength),
		refreshExpires: now.Add(refreshTokenLifetime),
	}
	a.userTokens.add(u.accessToken, u)
	a.refreshers.add(u.refreshToken, u)
	return u
}

func (c *call) userRefreshToken() (any, error) {
	cl := c.queryClaim()
	a := c.server.byAppID[cl.AppID]
	switch {
	case cl.AppID == "":
		return nil, refuse(appIDMissing)
	case a == nil:
		return nil, refuse(invalidAppID)
	case cl.GrantType != "refresh_token":
		return nil, refuse(invalidGrantType)
	}
	return c.renew(a)
}

// renew lengthens the life of a user's token that still lives, and replaces one
// that does not.
func (c *call) renew(a *account) (any, error) {
	u, ok := a.refreshers.get(c.param("refresh_token"))
	if !ok {
		return nil, refuse(invalidRefreshToken)
	}
	if !c.now.Before(u.refreshExpires) {
		return nil, refuse(refreshTokenExpired)
	}
	if !c.now.Before(u.expires) {
		// What knows the expired token goes on calling it expired.
		renewed := *u
		renewed.accessToken = newToken(userTokenLength)
		u = &renewed
		a.userTokens.add(u.accessToken, u)
		a.refreshers.entries[u.refreshToken] = u
	}
	u.expires = c.now.Add(userTokenLifetime)
	return u.answer(c.now), nil
}

// user checks a user's own token, and that it is the openid's.
func (c *call) user() (*userSession, error) {
	value, openID := c.param("access_token"), c.param("openid")
	for _, a := range c.server.accounts {
		u, ok := a.userTokens.get(value)
		if !ok {
			continue
		}
		if !c.now.Before(u.expires) {
			return nil, refuse(accessTokenExpired)
		}
		if openID != u.openID {
			return nil, refuse(invalidOpenID)
		}
		return u, c.ordered(&a.counters)
	}
	return nil, c.refuseToken(value)
}

func (c *call) snsUserInfo() (any, error) {
	u, err := c.user()
	if err != nil {
		return nil, err
	}
	return struct {
		OpenID     string   `json:"openid"`
		Nickname   string   `json:"nickname"`
		Sex        int      `json:"sex"`
		Province   string   `json:"province"`
		City       string   `json:"city"`
		Country    string   `json:"country"`
		HeadImgURL string   `json:"headimgurl"`
		Privilege  []string `json:"privilege"`
	}{OpenID: u.openID, Nickname: "微信用户", Privilege: []string{}}, nil
}

func (c *call) snsAuth() (any, error) {
	if _, err := c.user(); err != nil {
		return nil, err
	}
	return okStatus, nil
}
