package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Parameters with an AppID, beside appid.
const (
	componentIDParam  = "component_appid"
	authorizerIDParam = "authorizer_appid"
)

// selectOfPlatform returns the platform, or the account that has authorised one,
// that a request means. named is what the directive names.
func (g *Gateway) selectOfPlatform(call *apiCall, c *claims, named subject, caller *Caller) (subject, error) {
	switch {
	case c.tokenRequest != nil:
		return g.subjectOfTokenRequest(call, c, named, caller)
	case c.secretRequest != nil:
		return g.subjectOfSecretRequest(call, c, named, caller)
	case c.bound.account != nil && c.bound.platform == nil:
		return subject{}, otherToken()
	case c.bound != subject{}:
		if !named.serves(c.bound) {
			return subject{}, call.tokenRefused(errOtherAccount)
		}
		return g.found(call.Context(), c.bound, caller)
	case call.needsNoAccount():
		return g.anyPlatform(call, named, caller)
	case named.appID != "":
		if call.route.Of == wechat.OfComponent {
			return subject{}, answer.BadRequest("account " + named.name() + " is served here, and this API takes the platform's token: call it where " +
				named.configured() + " is served")
		}
		return g.found(call.Context(), named, caller)
	}
	return g.subjectWithoutToken(call, c.id, named, caller)
}

// subjectWithoutToken returns whom a request means that has no token of the
// proxy's: the account whose AppID it has, or else whoever's token the path takes.
func (g *Gateway) subjectWithoutToken(call *apiCall, id string, named subject, caller *Caller) (subject, error) {
	own := g.platformOf(call, id, named)
	if call.route.TokenParam == "" && id != "" && g.Registry.platformWithID(id) == nil {
		s, err := g.lookUp(call.Context(), id, g.candidates(call, named), caller)
		if err == nil || call.route.Of == wechat.OfAuthorizer || !errors.Is(err, platform.ErrNotAuthorized) {
			return s, asAnswer(call.Context(), err, s)
		}
	}
	switch {
	case own == nil && call.route.Of != wechat.OfAuthorizer:
		return subject{}, answer.BadRequest("several platforms are served here: name one with its component_appid in the query, or with a token fetched here for it")
	case call.route.Of != wechat.OfAuthorizer:
		return own.own(), nil
	case own != nil && wechat.MayShowTokens(call.URL.Path):
		if appID := call.bodyText(authorizerIDParam); wechat.IsAppID(appID) {
			return g.found(call.Context(), own.of(appID), caller)
		}
	}
	return subject{}, answer.BadRequest("this API takes the token of an account that has authorised the platform, and the request does not tell which is meant: " +
		"name it with its appid in the query, or with a token fetched here for it")
}

// candidates are the platforms that an account may have authorised which a request
// means.
func (g *Gateway) candidates(call *apiCall, named subject) []*servedPlatform {
	if named.platform != nil {
		return []*servedPlatform{named.platform}
	}
	if id, ok := wechat.QueryParam(call.URL.RawQuery, componentIDParam); ok {
		if p := g.Registry.platformWithID(id); p != nil {
			return []*servedPlatform{p}
		}
	}
	return g.Registry.platforms
}

// platformOf returns the platform that a request means, or nil where that is not
// clear.
func (g *Gateway) platformOf(call *apiCall, id string, named subject) *servedPlatform {
	if served := g.candidates(call, named); len(served) == 1 {
		return served[0]
	}
	if p := g.Registry.platformWithID(id); p != nil {
		return p
	}
	if !wechat.MayShowTokens(call.URL.Path) {
		return nil
	}
	return g.Registry.platformWithID(call.bodyText(componentIDParam))
}

// anyPlatform returns a platform for a request that takes none of its credentials,
// only its upstream.
func (g *Gateway) anyPlatform(call *apiCall, named subject, caller *Caller) (subject, error) {
	if p := g.platformOf(call, "", named); p != nil {
		return p.own(), nil
	}
	first := g.Registry.platforms[0]
	for _, p := range g.Registry.platforms {
		if p.component.Upstream.String() != first.component.Upstream.String() {
			return subject{}, answer.BadRequest("several platforms are served here, with several upstreams: write the platform's name in the directive, as in weixin <platform>")
		}
	}
	for _, p := range g.Registry.platforms {
		if caller == nil || caller.mayUseSomeOf(p) {
			return p.own(), nil
		}
	}
	return first.own(), nil
}

// lookUp returns the account with an AppID that has authorised one of some
// platforms. The error is that which says most. The subject is the one it is
// about.
func (g *Gateway) lookUp(ctx context.Context, appID string, platforms []*servedPlatform, caller *Caller) (subject, error) {
	var about subject
	var failure error
	for _, p := range platforms {
		s := p.of(appID)
		err := s.find(ctx, caller)
		if err == nil {
			return s, nil
		}
		if failure == nil || weight(err) > weight(failure) {
			about, failure = s, err
		}
	}
	return about, failure
}

// weight tells which of two errors says more.
func weight(err error) int {
	_, mayNot := errors.AsType[*answer.Error](err)
	switch {
	case mayNot:
		return 0
	case errors.Is(err, platform.ErrNotAuthorized):
		return 1
	default:
		return 2
	}
}

// found returns the subject with its account.
func (g *Gateway) found(ctx context.Context, s subject, caller *Caller) (subject, error) {
	err := s.find(ctx, caller)
	return s, asAnswer(ctx, err, s)
}

// find looks for the account, if the caller may use it: nobody else's requests have
// WeChat be asked. The error is as that of platform.Platform's Authorizer, or an
// *answer.Error.
func (s *subject) find(ctx context.Context, caller *Caller) (err error) {
	if err := caller.checkAccount(*s); err != nil || s.account != nil {
		return err
	}
	if !wechat.IsAppID(s.appID) {
		return platform.ErrNotAuthorized
	}
	s.account, err = s.platform.Authorizer(ctx, s.appID)
	return err
}

// unknownPause is for how long nothing more is asked about unknown AppIDs.
const unknownPause = time.Minute

// asAnswer returns the answer where an account was looked for in vain.
func asAnswer(ctx context.Context, err error, s subject) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*answer.Error](err); ok {
		return err
	}
	of := s.platform.own().configured()
	switch {
	case errors.Is(err, platform.ErrNotAuthorized):
		return &answer.Error{
			Status: http.StatusForbidden, Errcode: wechat.Unauthorized, Cause: err,
			Message: s.shown() + " may not be served by " + of + ": " + err.Error() + ": have its administrator authorise it, and call api_query_auth with the code",
		}
	case errors.Is(err, platform.ErrTooManyUnknown):
		return &answer.Error{
			Status: http.StatusServiceUnavailable, Errcode: wechat.SystemBusy, RetryAfter: unknownPause, Cause: err,
			Message: "WeChat was asked about too many appids that " + of + " does not know: ask again in a minute",
		}
	case isTokenFailure(err):
		return answer.TokenFailure(err, s.platform.component, s.platform.component.Now())
	case ctx.Err() != nil:
		return answer.ClientGone()
	}
	message := "it could not be found out whether " + s.shown() + " has authorised " + of
	if wxErr, ok := errors.AsType[*wechat.Error](err); ok {
		return &answer.Error{
			Status: http.StatusBadGateway, Errcode: answer.OwnErrcode(wxErr.Code), Cause: err,
			Message: message + ": " + wxErr.Error() + ". " + account.FailureAdvice(wechat.Platform, wxErr.Code, wxErr.Msg, wechat.English),
		}
	}
	return &answer.Error{
		Status: http.StatusServiceUnavailable, Errcode: wechat.SystemBusy, Message: message + ": see the log", Cause: err,
	}
}

// isTokenFailure reports whether an error is why there is no token.
func isTokenFailure(err error) bool {
	_, ok := errors.AsType[*account.TokenError](err)
	return ok || errors.Is(err, account.ErrStillRejected)
}
