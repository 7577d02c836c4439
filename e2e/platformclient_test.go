package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	componentTokenPath   = "/cgi-bin/component/api_component_token"
	authorizerTokenPath  = "/cgi-bin/component/api_authorizer_token"
	queryAuthPath        = "/cgi-bin/component/api_query_auth"
	authorizerInfoPath   = "/cgi-bin/component/api_get_authorizer_info"
	authorizerListPath   = "/cgi-bin/component/api_get_authorizer_list"
	preAuthCodePath      = "/cgi-bin/component/api_create_preauthcode"
	startPushPath        = "/cgi-bin/component/api_start_push_ticket"
	componentSessionPath = "/sns/component/jscode2session"
)

// platformClient is an application's SDK of a platform. It holds nothing but what
// the proxy gives it.
type platformClient struct {
	t      *testing.T
	url    string // the proxy's
	secret string
	token  string // of the component
}

func newPlatformClient(p *caddy, secret string) *platformClient {
	p.t.Helper()
	c := &platformClient{t: p.t, url: p.url, secret: secret}
	c.fetchToken()
	return c
}

// fetchToken fetches a component token, as every SDK does, with a ticket that the
// proxy does not look at.
func (c *platformClient) fetchToken() {
	c.t.Helper()
	a := post(c.t, c.url+componentTokenPath, fmt.Sprintf(`{"component_appid":%q,"component_appsecret":%q,"component_verify_ticket":"none"}`, componentID, c.secret))
	var grant struct {
		Token     string `json:"component_access_token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &grant); err != nil || !strings.HasPrefix(grant.Token, "cwx") || grant.ExpiresIn != 7200 {
		c.t.Fatalf("got %s", a)
	}
	c.token = grant.Token
}

// component calls an API with the component's token.
func (c *platformClient) component(path, body string) answer {
	c.t.Helper()
	return post(c.t, c.url+path+"?component_access_token="+c.token, body)
}

// authorization is what api_query_auth answers, and api_authorizer_token.
type authorization struct {
	AppID        string `json:"authorizer_appid"`
	AccessToken  string `json:"authorizer_access_token"`
	RefreshToken string `json:"authorizer_refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
}

// queryAuth redeems an authorization_code.
func (c *platformClient) queryAuth(code string) (authorization, answer) {
	c.t.Helper()
	a := c.component(queryAuthPath, fmt.Sprintf(`{"component_appid":%q,"authorization_code":%q}`, componentID, code))
	var is struct {
		Info authorization `json:"authorization_info"`
	}
	if err := json.Unmarshal([]byte(a.body), &is); err != nil || !strings.HasPrefix(is.Info.AccessToken, "cwx") || is.Info.RefreshToken == "" {
		c.t.Fatalf("got %s", a)
	}
	return is.Info, a
}

// renew fetches an authorizer's next token.
func (c *platformClient) renew(appID, refreshToken string) (authorization, answer) {
	c.t.Helper()
	a := c.component(authorizerTokenPath, fmt.Sprintf(`{"component_appid":%q,"authorizer_appid":%q,"authorizer_refresh_token":%q}`, componentID, appID, refreshToken))
	var is authorization
	_ = json.Unmarshal([]byte(a.body), &is)
	return is, a
}

// authorizer calls an API with an authorizer's token.
func (c *platformClient) authorizer(token string) answer {
	c.t.Helper()
	return get(c.t, c.url+"/cgi-bin/user/get?access_token="+token)
}
