package wechat

// platformUndecided are the errcodes of APIs that tell nothing about a token of a
// platform's: one that has died because an account has withdrawn gets 61003, and
// so does a live one that is used for another account.
var platformUndecided = append([]int{Unauthorized}, Official.Undecided...)

// IsMerchants reports whether an errcode tells of one account that has, or has not,
// authorised a platform, which its administrator or the application has to mend. The
// platform is well.
func IsMerchants(errcode int) bool { return errcode == Unauthorized || errcode == InvalidRefreshToken }

// platformTold are the errcodes of APIs that the platform's operator has to do
// something about.
var platformTold = []int{UnregisteredIP}

// platformFailures are the errcodes of the platform's own calls that do not pass
// by themselves.
var platformFailures = map[int]FailureClass{
	QuotaExhausted:        DailyQuota,
	InvalidCredential:     Configuration,
	InvalidAppID:          Configuration,
	InvalidAppSecret:      Configuration,
	AppIDMissing:          Configuration,
	AppSecretMissing:      Configuration,
	DataFormatError:       Configuration,
	APIUnauthorized:       Configuration,
	UserLimited:           Configuration,
	Unauthorized:          Configuration,
	UnregisteredIP:        Configuration,
	VerifyTicketExpired:   Configuration,
	InvalidVerifyTicket:   Configuration,
	PermissionNotGranted:  Configuration,
	InvalidAuthCode:       Configuration,
	AuthCodeExpired:       Configuration,
	InvalidComponent:      Configuration,
	InvalidRefreshToken:   Configuration,
	ComponentAtWrongToken: Configuration,
}

// platformAdvice is what to do about errcodes of the platform's own calls.
var platformAdvice = map[int][2]string{
	InvalidCredential: componentSecretAdvice,
	InvalidAppSecret:  componentSecretAdvice,
	InvalidAppID: {
		"WeChat does not know this appid as a third-party platform: compare the platform's appid with the console (open.weixin.qq.com).",
		"微信不认识这个第三方平台的 appid：请在微信开放平台（open.weixin.qq.com）核对平台的 appid。",
	},
	AppSecretMissing: {
		"The request reached WeChat without a secret: check that nothing between the proxy and upstream rewrites requests.",
		"请求到达微信时缺少 secret：请检查代理与 upstream 之间是否有改写请求的设备。",
	},
	QuotaExhausted: {
		"The day's quota of the platform's calls is used up until midnight in Beijing: find out who else fetches component_access_tokens, or clear the quota (component/clear_quota/v2).",
		"平台接口今日额度已用完，北京时间零点恢复：请查找还有谁在获取 component_access_token，或清零额度（component/clear_quota/v2）。",
	},
	APIUnauthorized: {
		"The platform may not use this API: see in WeChat's console (open.weixin.qq.com) whether it has the permission set and is released.",
		"平台没有该接口的权限：请在微信开放平台（open.weixin.qq.com）检查权限集，以及平台是否已全网发布。",
	},
	UserLimited: {
		"The platform or the account is restricted: see the notice in WeChat's console.",
		"平台或账号受限：请查看微信后台的通知。",
	},
	Unauthorized: {
		"The account has not authorised the platform, or has withdrawn: have its administrator authorise the platform (again).",
		"该账号未授权给本平台，或已取消授权：请让其管理员（重新）授权。",
	},
	UnregisteredIP: {
		"Add {ip} to the platform's IP whitelist in WeChat's console (open.weixin.qq.com, the third-party platform's development settings).",
		"请在微信开放平台（open.weixin.qq.com）第三方平台的开发资料中，把 {ip} 加入 IP 白名单。",
	},
	VerifyTicketExpired: ticketAdvice,
	InvalidVerifyTicket: ticketAdvice,
	PermissionNotGranted: {
		"The account has not granted the platform this permission: have its administrator authorise the platform again with the permission set that the API needs.",
		"该账号没有把此权限授予平台：请让其管理员重新授权，并勾选该接口所需的权限集。",
	},
	InvalidAuthCode: {
		"The authorization_code is wrong or was used before: it is good for one api_query_auth; have the account authorised again.",
		"authorization_code 不正确或已被使用：每个授权码只能调用一次 api_query_auth；请重新授权。",
	},
	AuthCodeExpired: {
		"The authorization_code has expired: have the account authorised again, and call api_query_auth at once.",
		"authorization_code 已过期：请重新授权，并立即调用 api_query_auth。",
	},
	InvalidComponent: {
		"The component's appid or token is of another platform: compare the platform's appid with the console (open.weixin.qq.com), and component_appid in the application's requests with it.",
		"component 的 appid 或 token 不属于本平台：请在微信开放平台（open.weixin.qq.com）核对平台的 appid，以及业务系统请求中的 component_appid。",
	},
	InvalidRefreshToken: {
		"WeChat refuses the account's refresh token, also the one it has just given: have the application call api_query_auth for the latest authorisation, or else have the account authorise the platform again.",
		"微信拒绝该账号的 refresh token，刚从微信读取的也被拒绝：请让业务系统用最近一次授权的授权码调用 api_query_auth，否则请该账号重新授权。",
	},
	ComponentAtWrongToken: {
		"A platform's appid was used where an account's token is fetched (/cgi-bin/token): use api_component_token for the platform, and api_authorizer_token for accounts.",
		"在获取普通账号 token 的接口（/cgi-bin/token）使用了第三方平台的 appid：平台请用 api_component_token，授权账号请用 api_authorizer_token。",
	},
}

var componentSecretAdvice = [2]string{
	"The platform's secret is wrong or has been reset: copy the current one from WeChat's console (open.weixin.qq.com) into the platform's secret.",
	"平台的 secret 不正确或已被重置：请从微信开放平台（open.weixin.qq.com）复制当前的 AppSecret 到平台的 secret。",
}

var ticketAdvice = [2]string{
	"WeChat's component_verify_ticket is missing, too old or refused; a new one was asked for and comes within ten minutes: if it does not, check that WeChat reaches weixin_callback at the platform's authorisation-event URL, and compare push_token and push_aes_key with the console (open.weixin.qq.com).",
	"component_verify_ticket 缺失、过期或被拒绝；已请微信重新推送，十分钟内应会到达：若没有，请确认微信能访问授权事件接收 URL 上的 weixin_callback，并在微信开放平台（open.weixin.qq.com）核对 push_token 与 push_aes_key。",
}

// platformRejectedAdvice says what to do while APIs reject every token.
var platformRejectedAdvice = [2]string{
	"WeChat's APIs reject the platform's tokens, new ones too: compare appid and upstream with the platform, and find out whether another system fetches tokens with its secret, such as an SDK that keeps its own ticket.",
	"微信接口拒绝该平台的 token，新获取的也被拒绝：请核对 appid 与 upstream，并检查是否有其他系统在用该平台的 secret 获取 token（例如自行保存 ticket 的 SDK）。",
}

// platformCompetingAdvice says what to do while somebody else's fetches kill
// tokens.
var platformCompetingAdvice = [2]string{
	"Another system fetches this platform's tokens, and each fetch kills the one before: have that system use this proxy.",
	"有其他系统在获取该平台的 token，每次获取都会使之前的 token 失效：请让该系统也使用本代理。",
}
