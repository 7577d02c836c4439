package wechat

// officialAdvice is what to do about errcodes of the token endpoints.
var officialAdvice = map[int][2]string{
	InvalidCredential: secretAdvice,
	InvalidAppSecret:  secretAdvice,
	InvalidGrantType: {
		"The token endpoint did not accept grant_type client_credential: check that upstream points to the WeChat API.",
		"获取 token 的接口不接受 grant_type client_credential：请检查 upstream 是否指向微信接口。",
	},
	InvalidAppID: {
		"WeChat does not know this AppID: compare the account's appid with the console (mp.weixin.qq.com).",
		"微信不认识这个 AppID：请在微信公众平台（mp.weixin.qq.com）核对 appid。",
	},
	InvalidIP: {
		"Add {ip} to the account's IP whitelist in WeChat's console (Settings and development > Basic configuration).",
		"请在微信公众平台“设置与开发 > 基本配置”的 IP 白名单中加入 {ip}。",
	},
	SecretFrozen: {
		"The AppSecret is frozen: unfreeze or reset it in WeChat's console.",
		"AppSecret 已被冻结：请在微信公众平台解冻或重置。",
	},
	AppIDMissing: {
		"The token request reached WeChat without an appid: check that nothing between the proxy and upstream rewrites requests.",
		"获取 token 的请求到达微信时缺少 appid：请检查代理与 upstream 之间是否有改写请求的设备。",
	},
	AppSecretMissing: {
		"The token request reached WeChat without a secret: check that nothing between the proxy and upstream rewrites requests.",
		"获取 token 的请求到达微信时缺少 secret：请检查代理与 upstream 之间是否有改写请求的设备。",
	},
	QuotaExhausted: {
		"The day's quota is used up until midnight in Beijing: find out who else fetches tokens for this account, or clear the quota.",
		"今日额度已用完，北京时间零点恢复：请查找还有谁在获取该账号的 token，或清零额度。",
	},
	UserLimited: {
		"The account is restricted: see the notice in WeChat's console.",
		"账号受限：请查看微信公众平台的通知。",
	},
	TokenForbidden: {
		"The account may not fetch tokens: see the notice in WeChat's console.",
		"账号被禁止获取 token：请查看微信公众平台的通知。",
	},
	AccountFrozen: {
		"The account is frozen: see the notice in WeChat's console.",
		"账号已被冻结：请查看微信公众平台的通知。",
	},
	IPConfirmationPending: {
		"This address waits for an administrator of the account to confirm it: confirm the message WeChat has sent.",
		"此 IP 正在等待管理员确认：请管理员确认微信发送的消息。",
	},
	IPNeedsConfirmation: {
		"An administrator of the account has to confirm this address: confirm the message WeChat has sent.",
		"此 IP 需要管理员确认：请管理员确认微信发送的消息。",
	},
	IPRefusedTwice: {
		"An administrator refused this address twice, it is blocked for 24 hours: agree with the administrator before the next try.",
		"此 IP 已被管理员拒绝两次，24 小时内不可用：请先与管理员沟通。",
	},
	IPRefusedOnce: {
		"An administrator refused this address, it is blocked for one hour: agree with the administrator before the next try.",
		"此 IP 已被管理员拒绝，1 小时内不可用：请先与管理员沟通。",
	},
}

var secretAdvice = [2]string{
	"The AppSecret is wrong or has been reset: copy the current one from WeChat's console into the account's secret.",
	"AppSecret 不正确或已被重置：请从微信公众平台复制当前的 AppSecret 到账号的 secret。",
}
