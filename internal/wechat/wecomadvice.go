package wechat

// wecomAdvice is what to do about errcodes of gettoken, and of those of APIs that
// an operator has to do something about.
var wecomAdvice = map[int][2]string{
	InvalidCredential: {
		"The secret is wrong or has been reset, or the application is disabled: copy the current secret from WeCom's console (App management) into the account's secret.",
		"secret 不正确、已被重置或应用已停用：请从企业微信管理后台“应用管理”复制当前的 Secret 到账号的 secret。",
	},
	InvalidAppID: {
		"WeCom does not know this corpid: compare the account's corpid with the console (My company > Company information).",
		"企业微信不认识这个 corpid：请在管理后台“我的企业 > 企业信息”核对企业 ID。",
	},
	SecretOfOtherCorp: {
		"The secret is of another corporation: compare the account's corpid and secret with WeCom's console.",
		"该 secret 属于其他企业：请在企业微信管理后台核对 corpid 和 secret。",
	},
	AppIDMissing: {
		"The token request reached WeCom without a corpid: check that nothing between the proxy and upstream rewrites requests.",
		"获取 token 的请求到达企业微信时缺少 corpid：请检查代理与 upstream 之间是否有改写请求的设备。",
	},
	AppSecretMissing: {
		"The token request reached WeCom without a secret: check that nothing between the proxy and upstream rewrites requests.",
		"获取 token 的请求到达企业微信时缺少 secret：请检查代理与 upstream 之间是否有改写请求的设备。",
	},
	QuotaExhausted: {
		"WeCom's frequency limit is reached: it ends by itself; find out who else calls from this address or for this corporation.",
		"已达到企业微信的频率限制，会自行恢复：请查找还有谁从此 IP 或为该企业调用接口。",
	},
	UntrustedIP: {
		"Add {ip} to the application's trusted IPs in WeCom's console (App management > the application > Trusted company IPs), or for third-party and customised applications to the provider's IP list.",
		"请在企业微信管理后台“应用管理 > 该应用 > 企业可信IP”中加入 {ip}；第三方应用和代开发应用请加入服务商后台的 IP 白名单。",
	},
	WrongAgent: {
		"The request has another agent's token, not that of the agentid in it: have the application use the account of that agent.",
		"该 token 属于另一个应用，与请求中的 agentid 不符：请让业务系统使用该应用对应的账号。",
	},
}
