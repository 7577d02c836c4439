package platform

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

var errNoAppID = errors.New("it names no appid")

// Authorized takes the news that an appid has authorised the platform, or has
// changed what it allows. The error is as that of Ticket.
func (p *Platform) Authorized(ctx context.Context, appID string, at time.Time) error {
	return p.learn(ctx, appID, at, p.config.Manager.Reinstate)
}

// Unauthorized takes the news that an appid has withdrawn. News older than its last
// authorisation change nothing. The error is as that of Ticket.
func (p *Platform) Unauthorized(ctx context.Context, appID string, at time.Time) error {
	return p.learn(ctx, appID, at, p.config.Manager.Withdraw)
}

// learn takes news of an appid, in whatever order they come. The index follows
// what is known then; where it fails that is made good later.
func (p *Platform) learn(
	ctx context.Context, appID string, at time.Time, take func(context.Context, *credential.Credential, time.Time) error,
) error {
	if !canBeAppID(appID) {
		return errNoAppID
	}
	if at.IsZero() {
		at = p.config.Manager.Now()
	}
	c := p.accountOf(appID).Credential()
	before := p.config.Manager.Standing(c)
	if err := take(ctx, c, at); err != nil {
		return err
	}
	after := p.config.Manager.Standing(c)
	if !after.WithdrawnAt.IsZero() {
		if before.WithdrawnAt.IsZero() {
			p.log("an account has withdrawn its authorisation", appID)
		}
		_ = p.index.remove(ctx, appID)
		return nil
	}
	if !before.WithdrawnAt.IsZero() || !before.Known {
		p.log("an account has authorised the platform", appID)
	}
	p.unknown.forget(appID)
	_ = p.index.add(ctx, appID)
	return nil
}

// Authorization is what api_query_auth says of an appid.
type Authorization struct {
	AppID        string
	AccessToken  string
	ExpiresIn    time.Duration
	RefreshToken string
}

// String returns the appid alone.
func (a Authorization) String() string { return a.AppID }

// GoString returns the appid alone.
func (a Authorization) GoString() string { return a.AppID }

// Save saves an authorisation. Where it returns an error the store has not got it;
// the refresh token can be read again from WeChat.
func (p *Platform) Save(ctx context.Context, a Authorization) error {
	if !canBeAppID(a.AppID) {
		return errNoAppID
	}
	grant := credential.Grant{Kept: a.RefreshToken}
	if a.AccessToken != "" && a.ExpiresIn > 0 {
		grant.Value, grant.ExpiresIn = a.AccessToken, a.ExpiresIn
	}
	c := p.accountOf(a.AppID).Credential()
	p.unknown.forget(a.AppID)
	if err := p.config.Manager.Put(ctx, c, grant, time.Time{}); err != nil {
		// WeChat tells the refresh token from now on, whatever it said before.
		p.config.Manager.EndBackoff(c)
		return err
	}
	p.index.note(a.AppID)
	return nil
}

// refreshKey derives the key of virtual refresh tokens.
func refreshKey(cred wechat.Credentials) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(cred.Secret), []byte(cred.ID), "caddy-weixin virtual refresh token", sha256.Size)
}

// VirtualRefreshToken returns what applications get in place of an authorizer's
// refresh token. It is always the same, and worth nothing.
func (p *Platform) VirtualRefreshToken(appID string) string {
	mac := hmac.New(sha256.New, p.refreshKey)
	mac.Write([]byte(appID))
	return "refreshtoken@@@" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
