package weixin

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// statusText is what the status page says, in one language.
type statusText struct {
	Lang                                         string // of the html element
	Title, Heading, Legend, NoScript             string
	Live, Paused, Offline, Refused               string // how the page keeps up to date
	TimeLeft, Left, Expires, Fetched             string
	Rejected, Expired, NoToken                   string
	Fingerprint, Fetches, Replays, Quota, Forced string
	Error, LastError, NextTry                    string
	Ticket, Confirmed                            string
	Refresh, Yes, No, Running, Unknown           string // the button

	allFine, attention string // headlines
	questionIdempotent string
	questionKills      string
	renewed, current   string // what the button has done, with a fingerprint
	spark              string

	words map[credential.State]string
	notes map[statusNote]string

	refusals map[statusRefusal]string
	tooEarly map[credential.RefusalReason]string // why the button does nothing
}

// statusNote explains a state that is not plain.
type statusNote uint8

const (
	noteNone statusNote = iota
	noteStillUsable
	noteNoToken
)

var statusTexts = [...]statusText{
	wechat.English: {
		Lang: "en", Title: "WeChat tokens", Heading: "WeChat tokens",
		Legend:   "Fetches and replays are those of this process; the bars are the last hour's, in steps of two minutes. Quotas are those of the day in Beijing, with all processes that share the store.",
		NoScript: "Reload the page for the current state: without JavaScript it does not change, and has no button.",
		Live:     "Live", Paused: "Paused", Offline: "The proxy cannot be reached: what is shown is old. Trying again …",
		Refused:  "The proxy does not let this page in any more: reload it.",
		TimeLeft: "Time left", Left: "left", Expires: "until", Fetched: "fetched", Rejected: "Rejected by WeChat", Expired: "Expired",
		NoToken:     "There is no token.",
		Fingerprint: "The token's fingerprint: the first digits of its SHA-256", Fetches: "Fetches", Replays: "Replays",
		Quota: "Quota", Forced: "Forced", Error: "Error", LastError: "Last error", NextTry: "Next try:", Ticket: "Ticket", Confirmed: "confirmed",
		Refresh: "Refresh", Yes: "Fetch", No: "Cancel", Running: "Fetching …", Unknown: "The proxy gave no answer.",

		allFine: "All is well", attention: "%d of %d need attention:",
		questionIdempotent: "Ask WeChat for the token now? It gives the same one while that is good, and a new one otherwise.",
		questionKills:      "Fetch a new token now? The one before it dies; requests that are under way are sent again.",
		renewed:            "There is a new token: %s", current: "WeChat says that %s is the current token.",
		spark: "The last hour: %d fetches, %d replays",
		words: map[credential.State]string{
			credential.OK: "OK", credential.Renewing: "Renewing", credential.Refused: "Rejected by WeChat",
			credential.BackOff: "Backing off", credential.Empty: "No token yet",
		},
		notes: map[statusNote]string{
			noteStillUsable: "WeChat gives no other token; requests go on with this one while it is valid.",
			noteNoToken:     "Requests fail until WeChat gives a token.",
		},
		tooEarly: map[credential.RefusalReason]string{
			credential.TooSoon:    "This account was refreshed a moment ago: try again in %s.",
			credential.BackingOff: "WeChat has refused a token, and is asked again in %s. Once the cause is cured, “caddy weixin refresh” asks at once.",
			credential.QuotaNear:  "Most of the day's quota of fetches is used up, so this button fetches none before midnight in Beijing, in %s. “caddy weixin refresh” still does.",
		},
		refusals: map[statusRefusal]string{
			refusedAddress:     "The client's address may not see this page: add it to allow_ips.",
			refusedHost:        "This page is not served over plain HTTP under the name %s, which any web site could have. Use the proxy's IP address, localhost or HTTPS, or add to weixin_status: hosts %[1]s",
			refusedUnspecified: "This page is not served at the address %s, by which every web page reaches this machine. Use 127.0.0.1, localhost or the proxy's own address",
			refusedWebPage:     "Other web sites may link to this page, and nothing else.",
			refusedKey:         "A caller's key is needed: as the password (any user name), or as Authorization: Bearer.",
			refusedIPs:         "This caller may not call from this address: its ips do not have it.",
			refusedAllow:       "This caller may not see this page: its allow does not have the page's path.",
			refusedMethod:      "This method is not allowed here.",
			refusedForgery:     "This request does not come from the button on this page: reload the page. Scripts use the admin API.",
			refusedBody:        `The body is not {"account":"<name>"}.`,
			refusedUnknown:     "There is no such account.",
			refusedInternal:    "The page could not be made.",
		},
	},
	wechat.Chinese: {
		Lang: "zh-CN", Title: "微信 token", Heading: "微信 token",
		Legend:   "获取与重放为本进程的次数；图为最近一小时，每格两分钟。额度按北京时间的一天计，包括共用存储的所有进程。",
		NoScript: "没有 JavaScript，页面不会自动更新，也没有按钮：请手动刷新页面。",
		Live:     "实时", Paused: "已暂停", Offline: "无法连接代理，显示的是旧数据，正在重试……",
		Refused:  "代理不再允许本页访问：请重新加载页面。",
		TimeLeft: "剩余时间", Left: "后过期", Expires: "有效至", Fetched: "获取于", Rejected: "已被微信拒绝", Expired: "已过期",
		NoToken:     "没有 token。",
		Fingerprint: "token 指纹：其 SHA-256 的前几位", Fetches: "获取", Replays: "重放",
		Quota: "额度", Forced: "强制", Error: "错误", LastError: "最近的错误", NextTry: "下次尝试：", Ticket: "Ticket", Confirmed: "确认于",
		Refresh: "刷新", Yes: "获取", No: "取消", Running: "正在获取……", Unknown: "代理没有应答。",

		allFine: "一切正常", attention: "%[2]d 个账号中有 %[1]d 个需要处理：",
		questionIdempotent: "现在向微信获取 token？当前 token 有效时微信给出同一个，否则给出新的。",
		questionKills:      "现在获取新的 token？之前的将失效，进行中的请求会自动重发。",
		renewed:            "新的 token：%s", current: "微信表示 %s 仍是当前的 token。",
		spark: "最近一小时：获取 %d 次，重放 %d 次",
		words: map[credential.State]string{
			credential.OK: "正常", credential.Renewing: "更新中", credential.Refused: "被微信拒绝",
			credential.BackOff: "退避中", credential.Empty: "尚无 token",
		},
		notes: map[statusNote]string{
			noteStillUsable: "微信没有给出新的 token；当前 token 在有效期内继续使用。",
			noteNoToken:     "在微信给出 token 之前，请求会失败。",
		},
		tooEarly: map[credential.RefusalReason]string{
			credential.TooSoon:    "该账号刚刚刷新过：请在 %s 后再试。",
			credential.BackingOff: "微信拒绝给出 token，%s 后才会再次获取。排除原因后，可用 “caddy weixin refresh” 立即获取。",
			credential.QuotaNear:  "今日获取次数已用去大半，%s 后（北京时间零点）本按钮才会再次获取。仍可使用 “caddy weixin refresh”。",
		},
		refusals: map[statusRefusal]string{
			refusedAddress:     "客户端地址不能查看本页：请加入 allow_ips。",
			refusedHost:        "本页不以 %s 之名通过明文 HTTP 提供，因为任何网站都可能使用该域名。请用代理的 IP 地址、localhost 或 HTTPS 访问，或在 weixin_status 中加入：hosts %[1]s",
			refusedUnspecified: "本页不通过地址 %s 提供，因为任何网页都能经由它访问本机。请用 127.0.0.1、localhost 或代理自己的地址访问",
			refusedWebPage:     "其他网站只能链接到本页。",
			refusedKey:         "需要调用方的密钥：作为密码（用户名任意），或 Authorization: Bearer。",
			refusedIPs:         "该调用方不能从此地址访问：不在其 ips 中。",
			refusedAllow:       "该调用方不能查看本页：本页路径不在其 allow 中。",
			refusedMethod:      "此处不允许该方法。",
			refusedForgery:     "该请求不是来自本页的按钮：请重新加载页面。脚本请使用 admin API。",
			refusedBody:        `请求体不是 {"account":"<名称>"}。`,
			refusedUnknown:     "没有这个账号。",
			refusedInternal:    "无法生成页面。",
		},
	},
}

func (t *statusText) headline(attention, all int) string {
	if attention == 0 {
		return t.allFine
	}
	return fmt.Sprintf(t.attention, attention, all)
}

// preferredLanguage returns which of the page's languages an Accept-Language
// prefers, and English where it prefers none.
func preferredLanguage(accept string) wechat.Language {
	best, quality := wechat.English, 0.0
	for item := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil {
				continue
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		lang, known := map[string]wechat.Language{"en": wechat.English, "zh": wechat.Chinese}[primary]
		if known && q > quality {
			best, quality = lang, q
		}
	}
	return best
}
