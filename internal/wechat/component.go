package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxComponentAnswer bounds an answer: the longest is a full page of the list.
	maxComponentAnswer = 1 << 20

	// MaxAuthorizersPerPage is how many authorizers WeChat lists at once.
	MaxAuthorizersPerPage = 500

	// VerifyTicketLife is how long a component_verify_ticket is good.
	VerifyTicketLife = 12 * time.Hour
)

// ComponentAPI is what a third-party platform asks WeChat for on its own behalf.
// An answer with an errcode is returned as an *Error. No error contains any
// secret that was sent.
type ComponentAPI struct {
	Base         *url.URL
	RoundTripper http.RoundTripper
	Component    Credentials // the platform's appid and secret
}

// Token asks for a component_access_token with a component_verify_ticket. The one
// before dies.
func (c *ComponentAPI) Token(ctx context.Context, ticket string) (Grant, error) {
	var answer struct {
		Token     string      `json:"component_access_token"`
		ExpiresIn json.Number `json:"expires_in"`
	}
	err := c.call(ctx, &componentCall{
		name:    "api_component_token",
		body:    map[string]any{"component_appid": c.Component.ID, "component_appsecret": c.Component.Secret, "component_verify_ticket": ticket},
		secrets: []string{c.Component.Secret, ticket},
		answer:  &answer,
	})
	if err != nil {
		return Grant{}, err
	}
	return grantOf(answer.Token, answer.ExpiresIn)
}

// StartPush asks WeChat to push a component_verify_ticket, as it does every ten
// minutes unless it has stopped.
func (c *ComponentAPI) StartPush(ctx context.Context) error {
	return c.call(ctx, &componentCall{
		name: "api_start_push_ticket",
		// Here alone the secret is called so.
		body:    map[string]any{"component_appid": c.Component.ID, "component_secret": c.Component.Secret},
		secrets: []string{c.Component.Secret},
		answer:  &struct{}{},
	})
}

// AuthorizerGrant is what api_authorizer_token hands out.
type AuthorizerGrant struct {
	Grant
	RefreshToken string
}

// String returns how long the token lives, and no secret.
func (g AuthorizerGrant) String() string { return "authorizer token for " + g.ExpiresIn.String() }

// GoString returns the same.
func (g AuthorizerGrant) GoString() string { return g.String() }

// AuthorizerToken asks for the token of an account that has authorised the
// platform. The refresh token that comes with it is to be used from then on.
func (c *ComponentAPI) AuthorizerToken(ctx context.Context, token, appID, refreshToken string) (AuthorizerGrant, error) {
	var answer struct {
		Token        string      `json:"authorizer_access_token"`
		ExpiresIn    json.Number `json:"expires_in"`
		RefreshToken string      `json:"authorizer_refresh_token"`
	}
	err := c.call(ctx, &componentCall{
		name:  "api_authorizer_token",
		token: token,
		body: map[string]any{
			"component_appid": c.Component.ID, "authorizer_appid": appID, "authorizer_refresh_token": refreshToken,
		},
		secrets: []string{refreshToken},
		answer:  &answer,
	})
	if err != nil {
		return AuthorizerGrant{}, err
	}
	g, err := grantOf(answer.Token, answer.ExpiresIn)
	if err == nil && answer.RefreshToken != "" && !IsToken(answer.RefreshToken) {
		err = errors.New("the token endpoint's answer holds no usable authorizer_refresh_token")
	}
	if err != nil {
		return AuthorizerGrant{}, err
	}
	return AuthorizerGrant{g, answer.RefreshToken}, nil
}

// Authorizer asks whether an account has authorised the platform, and returns its
// refresh token. That is "" as long as nobody has asked api_query_auth about the
// authorisation.
func (c *ComponentAPI) Authorizer(ctx context.Context, token, appID string) (refreshToken string, err error) {
	var answer struct {
		Authorization struct {
			RefreshToken string `json:"authorizer_refresh_token"`
		} `json:"authorization_info"`
	}
	err = c.call(ctx, &componentCall{
		name:   "api_get_authorizer_info",
		token:  token,
		body:   map[string]any{"component_appid": c.Component.ID, "authorizer_appid": appID},
		answer: &answer,
	})
	if err != nil {
		return "", err
	}
	refreshToken = answer.Authorization.RefreshToken
	if refreshToken != "" && !IsToken(refreshToken) {
		return "", errors.New("the answer holds no usable authorizer_refresh_token")
	}
	return refreshToken, nil
}

// ListedAuthorizer is an account as api_get_authorizer_list tells of it.
type ListedAuthorizer struct {
	AppID        string
	RefreshToken string // may be ""
	AuthorizedAt time.Time
}

// String returns the appid alone.
func (a ListedAuthorizer) String() string { return a.AppID }

// GoString returns the appid alone.
func (a ListedAuthorizer) GoString() string { return a.AppID }

// Authorizers lists accounts that have authorised the platform: count of them,
// MaxAuthorizersPerPage at most, after as many as offset says. total is how many
// there are in all.
func (c *ComponentAPI) Authorizers(ctx context.Context, token string, offset, count int) (page []ListedAuthorizer, total int, err error) {
	var answer struct {
		Total *int `json:"total_count"`
		List  []struct {
			AppID        string `json:"authorizer_appid"`
			RefreshToken string `json:"refresh_token"`
			AuthTime     int64  `json:"auth_time"`
		} `json:"list"`
	}
	err = c.call(ctx, &componentCall{
		name:   "api_get_authorizer_list",
		token:  token,
		body:   map[string]any{"component_appid": c.Component.ID, "offset": offset, "count": count},
		answer: &answer,
	})
	if err != nil {
		return nil, 0, err
	}
	if answer.Total == nil {
		return nil, 0, errors.New("the answer holds no total_count")
	}
	page = make([]ListedAuthorizer, 0, len(answer.List))
	for _, a := range answer.List {
		listed := ListedAuthorizer{AppID: a.AppID}
		if IsToken(a.RefreshToken) {
			listed.RefreshToken = a.RefreshToken
		}
		if a.AuthTime > 0 {
			listed.AuthorizedAt = time.Unix(a.AuthTime, 0)
		}
		page = append(page, listed)
	}
	return page, *answer.Total, nil
}

// componentCall is one call.
type componentCall struct {
	name    string // the last part of its path
	token   string // the component_access_token, or "" where the call takes none
	body    map[string]any
	secrets []string // in the body
	answer  any      // is filled
}

// redact returns a text without what was sent.
func (c *componentCall) redact(text string) string {
	for _, secret := range append(c.secrets, c.token) {
		text = Redact(text, secret)
	}
	return text
}

// call makes a call.
//
// The token goes into component_access_token, though access_token would do as
// well: no account's token is taken there, so a token of the wrong kind is
// refused and never answers for somebody else.
func (c *ComponentAPI) call(ctx context.Context, call *componentCall) error {
	body, err := json.Marshal(call.body)
	if err != nil {
		return err
	}
	u := c.Base.JoinPath("/cgi-bin/component", call.name)
	if call.token != "" {
		u.RawQuery = componentToken + "=" + url.QueryEscape(call.token)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("the upstream is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := Send(c.RoundTripper, req, maxComponentAnswer+1)
	if err != nil {
		return RedactError(err, call.redact)
	}
	return call.judge(res.Status, res.Body)
}

// judge reads an answer. Whatever else is odd about one, an errcode says what is
// wrong.
func (c *componentCall) judge(status int, answer []byte) error {
	if errcode, result := ScanErrcode(answer); result == ScanFound && errcode != OK {
		return &Error{Code: errcode, Msg: c.redact(ErrmsgOf(answer))}
	}
	if status != http.StatusOK {
		return fmt.Errorf("WeChat answered with HTTP status %d", status)
	}
	if len(answer) > maxComponentAnswer {
		return fmt.Errorf("WeChat's answer is longer than %d bytes", maxComponentAnswer)
	}
	// A decoder's error may repeat what it has read.
	if json.Unmarshal(bytes.TrimPrefix(answer, []byte("\ufeff")), c.answer) != nil {
		return errors.New("WeChat's answer is no JSON object of the documented form")
	}
	return nil
}
