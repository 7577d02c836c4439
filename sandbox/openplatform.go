package sandbox

import (
	"crypto/subtle"
	"time"
)

func componentRoutes() []route {
	const me = `{"component_appid":"{component}"`
	appID := need("component_appid", appIDMissing)
	authorizer := need("authorizer_appid", appIDMissing)
	routes := append(all(noToken,
		post("/cgi-bin/component/api_component_token", "the platform's token, from a pushed ticket", (*call).componentToken,
			me+`,"component_appsecret":"{component_secret}","component_verify_ticket":"{verify_ticket}"}`,
			appID, need("component_appsecret", appSecretMissing), need("component_verify_ticket", ticketInvalid)),
		post("/cgi-bin/component/api_start_push_ticket", "has tickets pushed again", (*call).startPush,
			me+`,"component_secret":"{component_secret}"}`, appID, need("component_secret", appSecretMissing)),
		post("/cgi-bin/component/clear_quota/v2", "ends what the quotas have counted", (*call).clearComponentQuota,
			me+`,"appid":"{authorizer}","appsecret":"{component_secret}"}`, appID, need("appsecret", appSecretMissing), param{name: "appid"}),
	), all(componentToken,
		post("/cgi-bin/component/api_create_preauthcode", "a code that an authorisation begins with", (*call).preAuthCode, me+"}", appID),
		post("/cgi-bin/component/api_query_auth", "an account's tokens, for the code of its authorisation", (*call).queryAuth,
			me+`,"authorization_code":"{authorization_code}"}`, appID, need("authorization_code", authCodeInvalid)),
		post("/cgi-bin/component/api_authorizer_token", "an account's next token, for its refresh token", (*call).authorizerToken,
			me+`,"authorizer_appid":"{authorizer}","authorizer_refresh_token":"{refresh_token}"}`,
			appID, authorizer, need("authorizer_refresh_token", refreshInvalid)),
		post("/cgi-bin/component/api_get_authorizer_info", "an account, and its refresh token", (*call).authorizerInfo,
			me+`,"authorizer_appid":"{authorizer}"}`, appID, authorizer),
		post("/cgi-bin/component/api_get_authorizer_list", "up to 500 accounts, and their refresh tokens", (*call).authorizerList,
			me+`,"offset":0,"count":500}`, appID, check("offset", invalidArgs, between(0, 1<<30)),
			check("count", invalidListCount, between(1, maxAuthorizersInAnswer))),
		get("/wxa/gettemplatelist", "the platform's templates of mini programs", (*call).noTemplates, ""),
		get("/wxa/gettemplatedraftlist", "the drafts of those", (*call).noDrafts, ""),
		get("/sns/component/jscode2session", "a mini program's login, for its platform", (*call).componentSession,
			"appid={authorizer}&component_appid={component}&js_code=alice&grant_type=authorization_code",
			opt("appid", "component_appid", "js_code", "grant_type")...).onlyComponentParam(),
		get("/sns/oauth2/component/access_token", "a web page's login, for its platform", (*call).componentLogin,
			"appid={authorizer}&component_appid={component}&code=alice&grant_type=authorization_code",
			opt("appid", "component_appid", "code", "grant_type")...).onlyComponentParam(),
		get("/sns/oauth2/component/refresh_token", "renews a user's token, for the account's platform", (*call).componentRenewal,
			"appid={authorizer}&component_appid={component}&grant_type=refresh_token&refresh_token={user_refresh_token}",
			opt("appid", "component_appid", "grant_type", "refresh_token")...).onlyComponentParam(),
	)...)
	// These two are the authorizer's, whatever they are called; older documents
	// have another name for each.
	for _, prefix := range []string{"", "api_"} {
		routes = append(routes, option(prefix+"get_authorizer_option", "one of the account's options", (*call).getOption),
			option(prefix+"set_authorizer_option", "sets one", (*call).accept))
	}
	return routes
}

func option(name, about string, handle handler) route {
	return post("/cgi-bin/component/"+name, about, handle, `{"authorizer_appid":"{authorizer}","option_name":"location_report","option_value":"1"}`,
		check("option_name", invalidArgs, oneOf("location_report", "voice_recognize", "customer_service")),
		param{name: "option_value"}).with(accountToken)
}

// proveComponent returns the platform whose secret came.
func (c *call) proveComponent(secret string) (*component, error) {
	co := c.server.components[c.text("component_appid")]
	if co == nil {
		return nil, refuse(invalidComponent)
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(co.Secret)) == 0 {
		return co, refuse(invalidAppSecret)
	}
	return co, c.orderedAtToken(&co.counters)
}

// componentToken returns a new token, and all others die.
func (c *call) componentToken() (any, error) {
	co, err := c.proveComponent(c.text("component_appsecret"))
	if err == nil {
		err = co.checkTicket(c.text("component_verify_ticket"), c.now)
	}
	if err == nil {
		err = co.issuer.take(c.now)
	}
	if err != nil {
		if co != nil {
			co.refused++
		}
		return nil, err
	}
	co.issuer.endAll(c.now, invalidCredential)
	co.issuer.fetches++
	return object{"component_access_token": co.issuer.issue(c.now).value, "expires_in": seconds(co.issuer.expiresIn)}, nil
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func (c *call) startPush() (any, error) {
	co, err := c.proveComponent(c.text("component_secret"))
	if err != nil {
		return nil, err
	}
	c.server.pushSoon(co)
	return okStatus, nil
}

func (c *call) clearComponentQuota() (any, error) {
	co, err := c.proveComponent(c.text("appsecret"))
	if err != nil {
		return nil, err
	}
	co.issuer.quotas[0].used = 0
	return okStatus, nil
}

// checkSelf refuses a body that is about another platform than the token.
func (c *call) checkSelf() error {
	if c.text("component_appid") != c.component.AppID {
		return refuse(invalidComponent)
	}
	return nil
}

func (c *call) preAuthCode() (any, error) {
	if err := c.checkSelf(); err != nil {
		return nil, err
	}
	return object{"pre_auth_code": "preauthcode@@@" + randomText(40), "expires_in": seconds(preAuthCodeLifetime)}, nil
}

// permissions are what an account allows.
func permissions() []object {
	var list []object
	for id := 1; id <= 13; id++ {
		list = append(list, object{"funcscope_category": object{"id": id}})
	}
	return list
}

func (c *call) queryAuth() (any, error) {
	if err := c.checkSelf(); err != nil {
		return nil, err
	}
	code, found := c.component.codes.get(c.text("authorization_code"))
	switch {
	case !found, code.used, code.authorizer.withdrawn:
		return nil, refuse(authCodeInvalid)
	case !c.now.Before(code.expires):
		return nil, refuse(authCodeExpired)
	}
	code.used = true
	z := code.authorizer
	z.newRefreshToken()
	z.known = true
	return object{"authorization_info": object{
		"authorizer_appid": z.account.AppID, "authorizer_access_token": z.next(c.now).value,
		"expires_in": seconds(z.issuer.expiresIn), "authorizer_refresh_token": z.refresh, "func_info": permissions(),
	}}, nil
}

// authorizer returns the authorisation of an account.
func (c *call) authorizer(appID string) (*authorization, error) {
	if z := c.component.authorizers[appID]; z != nil && !z.withdrawn {
		return z, nil
	}
	return nil, refuse(unauthorizedAt)
}

// authorizerOfBody returns the authorisation that the body names.
func (c *call) authorizerOfBody() (*authorization, error) {
	if err := c.checkSelf(); err != nil {
		return nil, err
	}
	return c.authorizer(c.text("authorizer_appid"))
}

func (c *call) authorizerToken() (any, error) {
	z, err := c.authorizerOfBody()
	if err != nil {
		return nil, err
	}
	err = c.orderedAtToken(&z.counters)
	if err == nil && c.text("authorizer_refresh_token") != z.refresh {
		err = refuse(refreshInvalid)
	}
	if err != nil {
		z.refused++
		return nil, err
	}
	return object{
		"authorizer_access_token": z.next(c.now).value, "expires_in": seconds(z.issuer.expiresIn),
		"authorizer_refresh_token": z.refresh,
	}, nil
}

// shownRefresh is the refresh token as lists show it.
func (z *authorization) shownRefresh() string {
	if z.known {
		return z.refresh
	}
	return ""
}

func (c *call) authorizerInfo() (any, error) {
	z, err := c.authorizerOfBody()
	if err != nil {
		return nil, err
	}
	return object{
		"authorizer_info": object{
			"nick_name": "商户 " + z.account.AppID, "head_img": "", "service_type_info": object{"id": 2},
			"verify_type_info": object{"id": 0}, "user_name": "gh_" + z.account.openID("")[1:13], "principal_name": "公司",
			"business_info": object{"open_store": 0, "open_scan": 0, "open_pay": 0, "open_card": 0, "open_shake": 0},
			"alias":         "", "qrcode_url": "",
		},
		"authorization_info": object{
			"authorizer_appid": z.account.AppID, "authorizer_refresh_token": z.shownRefresh(), "func_info": permissions(),
		},
	}, nil
}

func (c *call) authorizerList() (any, error) {
	if err := c.checkSelf(); err != nil {
		return nil, err
	}
	live := c.component.live()
	list := []object{}
	offset := min(c.number("offset"), len(live))
	for _, z := range live[offset:min(offset+c.number("count"), len(live))] {
		list = append(list, object{"authorizer_appid": z.account.AppID, "refresh_token": z.shownRefresh(), "auth_time": z.at.Unix()})
	}
	return object{"total_count": len(live), "list": list}, nil
}

func (c *call) getOption() (any, error) {
	return object{"authorizer_appid": c.account.AppID, "option_name": c.text("option_name"), "option_value": "1"}, nil
}

func (c *call) noTemplates() (any, error) { return ok(object{"template_list": []any{}}), nil }

func (c *call) noDrafts() (any, error) { return ok(object{"draft_list": []any{}}), nil }

// authorizerOfQuery returns the account that the query names.
func (c *call) authorizerOfQuery(grantType string) (*account, error) {
	switch {
	case c.param("appid") == "", c.param("component_appid") == "":
		return nil, refuse(appIDMissing)
	case c.param("component_appid") != c.component.AppID:
		return nil, refuse(invalidComponent)
	case c.param("grant_type") != grantType:
		return nil, refuse(invalidGrantType)
	}
	z, err := c.authorizer(c.param("appid"))
	if err != nil {
		return nil, err
	}
	return z.account, nil
}

// componentCode uses a login code up in the account's place.
func (c *call) componentCode(param string) (*account, string, error) {
	a, err := c.authorizerOfQuery("authorization_code")
	if err != nil {
		return nil, "", err
	}
	code, err := a.useLoginCode(c.param(param))
	return a, code, err
}

func (c *call) componentSession() (any, error) {
	a, code, err := c.componentCode("js_code")
	if err != nil {
		return nil, err
	}
	return object{"openid": a.openID(userOfCode(code)), "session_key": sessionKey(a, code)}, nil
}

func (c *call) componentLogin() (any, error) {
	a, code, err := c.componentCode("code")
	if err != nil {
		return nil, err
	}
	return a.newUserSession(code, c.now).answer(c.now), nil
}

func (c *call) componentRenewal() (any, error) {
	a, err := c.authorizerOfQuery("refresh_token")
	if err != nil {
		return nil, err
	}
	return c.renew(a)
}
