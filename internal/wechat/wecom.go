package wechat

import (
	"net/http"
	"time"
)

// WeCom is the kind of one application of a WeCom corporation. Facts are from
// the documentation at developer.work.weixin.qq.com, and from reports where it
// is silent.
var WeCom = (&Kind{
	Name:           "wecom",
	Host:           "https://qyapi.weixin.qq.com",
	ID:             "corpid",
	SecretsApart:   true,
	TokenEndpoints: []*TokenEndpoint{gettoken},
	SecretParams:   []string{"corpsecret"},
	TokenParam:     "access_token",
	// An errcode 40001 is about the secret here, and 40014 says also that a
	// token has expired.
	TokenErrors:        []int{InvalidAccessToken, AccessTokenExpired},
	Undecided:          []int{SystemBusy, TooFrequent, QuotaExhausted, TooManyConcurrent, AccessTokenMissing},
	TokenExpired:       Error{AccessTokenExpired, "access_token expired"},
	TokenForged:        Error{InvalidAccessToken, "invalid access_token"},
	SecretRefused:      Error{InvalidCredential, "invalid credential"},
	OwnErrcode:         SystemBusy,
	HintMark:           ", hint: [",
	ForeignTokens:      []string{"suite_access_token", "provider_access_token", "model_access_token", "device_access_token"},
	Told:               []int{UntrustedIP, WrongAgent},
	ErrorMessageHeader: "Error-Msg",
	ErrorHeader:        "Error-Code",
	CheckPath:          "/cgi-bin/get_api_domain_ip",
	Routes:             wecomRoutes,
	Tickets: TicketTypes{
		{JSAPITicket, "/cgi-bin/get_jsapi_ticket", ""},
		{AgentTicket, "/cgi-bin/ticket/get", "agent_config"},
		{CardTicket, "/cgi-bin/ticket/get", "wx_card"}, // for electronic invoices
	},
	Families: []string{
		"/cgi-bin/gettoken", "/cgi-bin/webhook/", "/cgi-bin/service/", "/cgi-bin/license/", "/cgi-bin/paytool/", "/cgi-bin/advanced_api/",
		"/cgi-bin/openhw/", "/cgi-bin/get_jsapi_ticket", "/cgi-bin/ticket/get",
	},
	Failures: wecomFailures,
	Advice:   wecomAdvice,
	RejectedAdvice: [2]string{
		"WeCom's APIs reject the application's tokens, new ones too: compare corpid and upstream with the account, and look into WeCom's console whether the application is disabled.",
		"企业微信接口拒绝该应用的 token，新获取的也被拒绝：请核对 corpid 与 upstream，并在企业微信管理后台检查应用是否已停用。",
	},
}).Indexed()

// gettoken is /cgi-bin/gettoken. Within a token's life everybody who asks gets
// the same one, and nothing forces another.
var gettoken = &TokenEndpoint{
	Name:             "gettoken",
	Method:           http.MethodGet,
	Path:             "/cgi-bin/gettoken",
	ID:               "corpid",
	Secret:           "corpsecret",
	SecretMissing:    "corpsecret missing",
	ErrcodeOnSuccess: true,
	Policy: Policy{
		Lead:       time.Minute,
		Idempotent: true,
		// expires_in of a token that is handed out again is that of a new one.
		Extension: 5 * time.Minute,
		Rejected:  Waits{time.Second, 30 * time.Second},
		// WeCom blocks an address that goes on failing.
		ConfigurationBackoff: Waits{10 * time.Second, 15 * time.Minute},
		FailureClass:         "wecom",
		FailuresPerHour:      100,
	},
}

// robotPaths take a group robot's key in place of a token. Whoever has another kind
// of account alone is to have nothing put beside the key either.
const robotPaths = "/cgi-bin/webhook/*"

// wecomRoutes are the paths that carry a credential of their own: a group
// robot's key, or the token of a suite, a provider or a device. At
// get_login_info a provider's token stands in access_token.
var wecomRoutes = routes(TakesOwn,
	robotPaths, "/cgi-bin/service/*", "/cgi-bin/license/*", "/cgi-bin/paytool/*", "/cgi-bin/advanced_api/*", "/cgi-bin/openhw/*",
	"/cgi-bin/hardware/get_device_feature", "/cgi-bin/idconvert/upgrade_chatid_for_new_corp",
)

// wecomFailures are the errcodes of gettoken that do not pass by themselves.
// WeCom blocks an address for an hour that goes on asking all the same.
var wecomFailures = map[int]FailureClass{
	InvalidCredential: Configuration,
	InvalidAppID:      Configuration,
	SecretOfOtherCorp: Configuration,
	AppIDMissing:      Configuration,
	AppSecretMissing:  Configuration,
}
