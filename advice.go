package weixin

import (
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// failureAdvice returns what to do about a failure to get a token. An errcode of
// 0 is that there was no answer with one.
func failureAdvice(errcode int, errmsg string, lang wechat.Language) string {
	if errcode != 0 {
		return wechat.Advice(errcode, errmsg, lang)
	}
	return [...]string{
		"The token endpoint cannot be reached: check DNS, the proxy settings, the firewall and this machine's way to the internet, and the account's upstream.",
		"无法访问获取 token 的接口：请检查 DNS、代理设置、防火墙、本机的出网线路，以及该账号的 upstream。",
	}[lang]
}

// rejectedAdvice returns what to do while WeChat rejects every token.
func rejectedAdvice(lang wechat.Language) string {
	return [...]string{
		"WeChat's APIs reject the account's tokens, new ones too: compare appid and upstream with the account, look for a notice in WeChat's console, and find out whether another system fetches tokens with this AppSecret.",
		"微信接口拒绝该账号的 token，新获取的也被拒绝：请核对 appid 与 upstream，查看微信公众平台的通知，并检查是否有其他系统在用该 AppSecret 获取 token。",
	}[lang]
}

// unreachableAdvice returns what to say while requests get no answer of WeChat's.
func unreachableAdvice(lang wechat.Language) string {
	return [...]string{
		"This process's requests get no answer from WeChat: check DNS, the proxy settings, the firewall and this machine's way to the internet, and the account's upstream. The log has the cause.",
		"本进程的请求得不到微信的应答：请检查 DNS、代理设置、防火墙、本机的出网线路，以及该账号的 upstream。原因见日志。",
	}[lang]
}

func competingAdvice(lang wechat.Language) string {
	return [...]string{
		"Another system fetches tokens with this account's AppSecret, and each fetch kills the one before: write token stable, whose tokens are not killed by it, or have that system use this proxy.",
		"有其他系统在用该账号的 AppSecret 获取 token，每次获取都会使之前的 token 失效：请改用 token stable（不受其影响），或让该系统也使用本代理。",
	}[lang]
}

func quotaAdvice(quota string, lang wechat.Language) string {
	advice := [...]string{
		"Most of the day's token fetches are used up, they begin anew at midnight in Beijing: find out who or what kills this account's tokens.",
		"今日获取 token 的次数已用去大半，北京时间零点重新计算：请查找是谁或什么原因使该账号的 token 失效。",
	}
	if quota == credential.QuotaForced {
		advice = [...]string{
			"Most of the day's forced refreshes are used up, they begin anew at midnight in Beijing: WeChat goes on handing out tokens that its APIs reject.",
			"今日强制刷新的次数已用去大半，北京时间零点重新计算：微信反复发放会被其接口拒绝的 token。",
		}
	}
	return advice[lang]
}
