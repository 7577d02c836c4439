package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// TokenEndpoint is a way to get an account's token. The proxy asks the endpoint
// as it says, and answers applications that ask the proxy in the same way.
type TokenEndpoint struct {
	// Name is what the configuration and log lines call it.
	Name string

	// Method is the HTTP method, and Path where the endpoint is, in lower case.
	Method, Path string

	// ID and Secret are the parameters that take the account's identity and its
	// secret.
	ID, Secret string

	// Authorizer is the parameter with the AppID of the account whose token is asked
	// for with a platform's; "" where the account asks itself.
	Authorizer string

	// TokenMember is the member of an answer that has the token; "" is access_token.
	// RefreshMember has the token that gets the next one, or is "".
	TokenMember, RefreshMember string

	// SecretMissing is the errmsg for an application that sends no secret.
	SecretMissing string

	// GrantType is the parameter grant_type, or "" where there is none.
	GrantType string

	// Force is the parameter that asks for a new token even though the current
	// one has not expired, or "" where there is none.
	Force string

	// ErrcodeOnSuccess is whether a success has errcode 0 and errmsg ok.
	ErrcodeOnSuccess bool

	// Policy tells how the endpoint wants to be used.
	Policy Policy
}

// Fetch asks the endpoint at base for a token. With force it asks for a new one,
// where the endpoint has a parameter for that. An answer with an errcode is
// returned as an *Error. No error contains the secret.
func (e *TokenEndpoint) Fetch(ctx context.Context, rt http.RoundTripper, base *url.URL, cred Credentials, force bool) (Grant, error) {
	u := base.JoinPath(e.Path)
	var body []byte
	if e.Method == http.MethodPost {
		var err error
		if body, err = json.Marshal(e.parameters(cred, force)); err != nil {
			return Grant{}, err
		}
	} else {
		query := make(url.Values)
		for name, value := range e.parameters(cred, false) {
			query.Set(name, fmt.Sprint(value))
		}
		u.RawQuery = query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, e.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return Grant{}, errors.New("the upstream is no URL")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return fetch(rt, req, cred)
}

// parameters returns what the endpoint is asked with.
func (e *TokenEndpoint) parameters(cred Credentials, force bool) map[string]any {
	p := map[string]any{e.ID: cred.ID, e.Secret: cred.Secret}
	if e.GrantType != "" {
		p["grant_type"] = e.GrantType
	}
	if e.Force != "" && e.Method == http.MethodPost {
		p[e.Force] = force
	}
	return p
}
