package wechat

import (
	"net/http"
	"time"
)

// Official is the kind of official accounts, mini programs, mini games, shops
// and multi-terminal applications: all that has an AppID and an AppSecret at
// api.weixin.qq.com.
var Official = (&Kind{
	Name: "official",
	Host: "https://api.weixin.qq.com",
	MoreHosts: []string{
		"api2.weixin.qq.com", "sh.api.weixin.qq.com", "sz.api.weixin.qq.com", "hk.api.weixin.qq.com",
		"file.api.weixin.qq.com", // for media, once
	},
	ID:             "appid",
	TokenEndpoints: []*TokenEndpoint{Stable, Classic},
	SecretParams:   []string{"secret", "appsecret"},
	TokenParam:     "access_token",
	TokenErrors:    []int{InvalidCredential, InvalidAccessToken, AccessTokenExpired},
	Undecided:      []int{SystemBusy, BackendFailed, TooFrequent, AccessTokenMissing},
	// Every SDK asks for another token for this errcode, and for no other.
	// EasyWeChat does so only where it finds WeChat's own words beside it.
	TokenExpired:  Error{AccessTokenExpired, "access_token expired"},
	TokenForged:   Error{AccessTokenExpired, "access_token expired"},
	SecretRefused: Error{InvalidAppSecret, "invalid appsecret"},
	ForeignTokens: []string{"cloudbase_access_token"},
	CheckPath:     "/cgi-bin/get_api_domain_ip",
	Routes:        officialRoutes,
	Tickets: TicketTypes{
		{JSAPITicket, "/cgi-bin/ticket/getticket", "jsapi"},
		{CardTicket, "/cgi-bin/ticket/getticket", "wx_card"},
		{SDKTicket, "/cgi-bin/ticket/getticket", "2"},
	},
	Families: []string{
		"/bizwifi/", "/card/", "/channels/", "/cityservice/", "/componenttcb/", "/customservice/", "/cv/", "/datacube/", "/device/",
		"/donut/", "/hardware/", "/intp/", "/merchant/", "/nontax/", "/product/", "/promoter/", "/publisher/", "/redpacketcover/",
		"/scan/", "/semantic/", "/shakearound/", "/shop/", "/sns/", "/tcb/", "/union/", "/user-order/", "/wedata/", "/wxa/", "/wxaapi/",
		"/wxadrama/", "/xpay/", "/cgi-bin/component/", "/cgi-bin/token", "/cgi-bin/stable_token", "/cgi-bin/clear_quota/v2",
		"/cgi-bin/ticket/getticket",
	},
	Failures: officialFailures,
	Advice:   officialAdvice,
	RejectedAdvice: [2]string{
		"WeChat's APIs reject the account's tokens, new ones too: compare appid and upstream with the account, look for a notice in WeChat's console, and find out whether another system fetches tokens with this AppSecret.",
		"微信接口拒绝该账号的 token，新获取的也被拒绝：请核对 appid 与 upstream，查看微信公众平台的通知，并检查是否有其他系统在用该 AppSecret 获取 token。",
	},
	CompetingAdvice: [2]string{
		"Another system fetches tokens with this account's AppSecret, and each fetch kills the one before: write token stable, whose tokens are not killed by it, or have that system use this proxy.",
		"有其他系统在用该账号的 AppSecret 获取 token，每次获取都会使之前的 token 失效：请改用 token stable（不受其影响），或让该系统也使用本代理。",
	},
}).Indexed()

// Stable is /cgi-bin/stable_token: everybody who asks gets the same token until
// its last five minutes, and tokens of the classic endpoint are another matter.
// The documentation wants it asked every five minutes. In its last five minutes
// a token is succeeded by the next. A new one may be forced twenty times a day,
// thirty seconds apart.
var Stable = &TokenEndpoint{
	Name:          "stable",
	Method:        http.MethodPost,
	Path:          "/cgi-bin/stable_token",
	ID:            "appid",
	Secret:        "secret",
	SecretMissing: "appsecret missing",
	GrantType:     "client_credential",
	Force:         "force_refresh",
	Policy: Policy{
		Lead:          4 * time.Minute,
		Recheck:       5 * time.Minute,
		Idempotent:    true,
		ForcesPerDay:  20,
		ForceGap:      30 * time.Second,
		FetchesPerDay: 500_000,
	},
}

// Classic is /cgi-bin/token: every call returns a new token, and the one before
// dies five minutes later. The documentation allows 2,000 calls a day.
var Classic = &TokenEndpoint{
	Name:          "classic",
	Method:        http.MethodGet,
	Path:          "/cgi-bin/token",
	ID:            "appid",
	Secret:        "secret",
	SecretMissing: "appsecret missing",
	GrantType:     "client_credential",
	Policy: Policy{
		Lead:          10 * time.Minute,
		FetchesPerDay: 2_000,
	},
}

// officialRoutes are the paths of api.weixin.qq.com that take no account's
// token. Prefixes alone do not tell what a platform's are.
var officialRoutes = append([]Route{
	{Path: "/sns/jscode2session", Takes: TakesSecret, SecretParam: "secret"},
	{Path: "/sns/oauth2/access_token", Takes: TakesSecret, SecretParam: "secret"},
	{Path: "/cgi-bin/clear_quota/v2", Takes: TakesSecret, SecretParam: "appsecret"},
}, append(
	routes(TakesUserToken, "/sns/userinfo", "/sns/auth", "/sns/oauth2/refresh_token"),
	append(routes(TakesOwn, robotPaths),
		routes(TakesComponentToken, "/cgi-bin/component/*", "/wxa/component/*", "/sns/component/*", "/sns/oauth2/component/*")...)...,
)...)

// officialFailures are the errcodes of the token endpoints that do not pass by
// themselves.
var officialFailures = map[int]FailureClass{
	QuotaExhausted:        DailyQuota,
	InvalidCredential:     Configuration,
	InvalidAppSecret:      Configuration,
	InvalidGrantType:      Configuration,
	InvalidAppID:          Configuration,
	InvalidIP:             Configuration,
	AppIDMissing:          Configuration,
	AppSecretMissing:      Configuration,
	SecretFrozen:          Configuration,
	UserLimited:           Configuration,
	TokenForbidden:        Configuration,
	AccountFrozen:         Configuration,
	IPConfirmationPending: Configuration,
	IPNeedsConfirmation:   Configuration,
	IPRefusedTwice:        Configuration,
	IPRefusedOnce:         Configuration,
}
