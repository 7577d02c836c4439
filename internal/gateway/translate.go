package gateway

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// saveTimeout bounds the time it takes to save an authorisation. A client that
// leaves does not end it.
const saveTimeout = 10 * time.Second

// translation makes of an answer about accounts that have authorised a platform
// what applications may see: it has no real refresh token, and no real token unless
// these are issued.
type translation struct {
	registry *Registry
	platform *servedPlatform
	caller   *Caller
	saves    bool // what the answer has is new, and the platform's
}

// translator returns what translates the request's answer, or nil where that needs
// none.
func (g *Gateway) translator(call *apiCall, c *claims, s subject, caller *Caller) func(context.Context, []byte) ([]byte, error) {
	if s.platform == nil || !wechat.MayShowTokens(call.URL.Path) {
		return nil
	}
	t := &translation{registry: g.Registry, platform: s.platform, caller: caller}
	// Whose platform's another token is, is not known: what it gets is saved if the
	// request says that it is for this one.
	t.saves = wechat.ShowsNewTokens(call.URL.Path) && s.appID == "" &&
		(!c.besidePlatform || call.bodyText(componentIDParam) == s.platform.component.Credentials.ID)
	return t.translate
}

func (t *translation) translate(ctx context.Context, body []byte) ([]byte, error) {
	translated, err := wechat.ReplaceTokens(body, func(shown wechat.ShownTokens) wechat.ShownTokens { return t.replace(ctx, shown) })
	if err != nil {
		return nil, answer.Unavailable(http.StatusBadGateway, "WeChat's answer may show tokens, and cannot be read: "+err.Error())
	}
	return translated, nil
}

// replace saves what an answer shows, and returns what is shown in its place.
func (t *translation) replace(ctx context.Context, shown wechat.ShownTokens) wechat.ShownTokens {
	s := t.platform.of(shown.AppID)
	if t.saves && shown.RefreshToken != "" {
		t.save(ctx, shown)
	}
	if t.platform.component.Issue == account.IssueReal {
		t.platform.issued.note(shown.AccessToken, shown.AppID)
	} else {
		shown.AccessToken = t.registry.virtualToken(s, t.caller)
	}
	shown.RefreshToken = t.platform.VirtualRefreshToken(shown.AppID)
	return shown
}

// save saves an authorisation. The code for it is used up, so the answer goes out
// even where that fails.
func (t *translation) save(ctx context.Context, shown wechat.ShownTokens) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err := t.platform.Save(ctx, platform.Authorization{
		AppID: shown.AppID, AccessToken: shown.AccessToken, ExpiresIn: shown.ExpiresIn, RefreshToken: shown.RefreshToken,
	})
	if err == nil {
		return
	}
	t.registry.logger.Error("an account's authorisation could not be saved: its refresh token is read from WeChat again when it is needed; look after the store",
		zap.String("platform", t.platform.component.Name), zap.String("appid", shown.AppID), zap.Error(err))
}
