package account

import (
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// OwnErrorPrefix is what the errmsg of a proxy's own errors begins with. An
// upstream that answers so is a proxy like this one: a hub.
const OwnErrorPrefix = "weixin proxy: "

// FailureAdvice returns what to do about a failure to get a token. An errcode of
// 0 is that there was no answer with one.
func FailureAdvice(kind *wechat.Kind, errcode int, errmsg string, lang wechat.Language) string {
	if upstream.TellsOfLoop(errmsg) {
		return loopAdvice[lang]
	}
	if isOwnError(errmsg) {
		return hubAdvice(errmsg)[lang]
	}
	if errcode != 0 {
		return kind.AdviceFor(errcode, errmsg, lang)
	}
	if errmsg == credential.BudgetSpent {
		return [...]string{
			"WeCom blocks an address that goes on failing, so this account waits: put the corpid and secret of the accounts right that fail, which the status shows; within an hour it is asked again by itself.",
			"企业微信会封禁持续出错的 IP，因此该账号暂缓获取：请在状态页找到出错的账号，更正其 corpid 与 secret；一小时内会自动重试。",
		}[lang]
	}
	return [...]string{
		"The token endpoint cannot be reached: check DNS, the proxy settings, the firewall and this machine's way to the internet, and the account's upstream.",
		"无法访问获取 token 的接口：请检查 DNS、代理设置、防火墙、本机的出网线路，以及该账号的 upstream。",
	}[lang]
}

// isOwnError reports whether an errmsg is that of a proxy's own error.
func isOwnError(errmsg string) bool { return strings.HasPrefix(errmsg, OwnErrorPrefix) }

// loopAdvice says what to do where the proxy is its own upstream.
var loopAdvice = [...]string{
	"The proxy's requests come back to it: write upstream with WeChat's address, or, where DNS or a hosts file leads WeChat's names here, resolver 223.5.5.5, for example.",
	"代理的请求又回到了它自己：请把 upstream 写成微信的地址；如果是 DNS 或 hosts 文件把微信的域名指到了这里，请写上 resolver，例如 resolver 223.5.5.5。",
}

// hubAdvice returns what to do about an error of a hub's, which may be one of
// WeChat's that it passes on in its own words.
func hubAdvice(errmsg string) [2]string {
	if strings.HasPrefix(errmsg, OwnErrorPrefix+noToken) {
		return [...]string{
			"The upstream is another caddy-weixin, which gets no token itself: nothing is to be done here, the hub's status says what is to be done there. Its account should have issue virtual.",
			"upstream 是另一个 caddy-weixin，它自己取不到 token：这里无需处理，请查看中心代理的状态页，按那里的建议处理；其账号应使用 issue virtual。",
		}
	}
	return [...]string{
		"The upstream is another caddy-weixin and refuses: what counts there is its caller's key, not an AppSecret. Compare the account's secret with the key, and the hub's accounts, allow and ips with what is needed here.",
		"upstream 是另一个 caddy-weixin，是它拒绝了请求：它认的是自己的调用方密钥，而不是 AppSecret。请核对账号的 secret 与该密钥，并检查那边调用方的 accounts、allow、ips。",
	}
}

// UnreachableAdvice returns what to say while requests get no answer of WeChat's.
func UnreachableAdvice(lang wechat.Language) string {
	return [...]string{
		"This process's requests get no answer from WeChat: check DNS, the proxy settings, the firewall and this machine's way to the internet, and the account's upstream. The log has the cause.",
		"本进程的请求得不到微信的应答：请检查 DNS、代理设置、防火墙、本机的出网线路，以及该账号的 upstream。原因见日志。",
	}[lang]
}

// QuotaAdvice returns what to do about a quota that is nearly used up.
func QuotaAdvice(quota string, lang wechat.Language) string {
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
