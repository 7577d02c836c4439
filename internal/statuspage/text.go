package statuspage

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// text is what the page says, in one language.
type text struct {
	Lang                                         string // of the html element
	Title, Heading, Legend, NoScript             string
	Live, Paused, Offline, Refused               string // how the page keeps up to date
	TimeLeft, Left, Expires, Fetched             string
	Rejected, Unused, Expired, NoToken           string
	Fingerprint, Fetches, Replays, Quota, Forced string
	Ticket, TicketFingerprint, Confirmed         string
	VerifyTicket, NoVerifyTicket, Received       string // of a platform
	Error, LastError, Unreachable, Warning       string // the first two are followed by an errcode
	Since, NextTry, StillUsable, RequestsFail    string
	Search, AllStates, State, Attention, Shown   string // the filter
	Refresh, Yes, No, Running, Unknown           string // the button

	allFine, attention, trouble string // headlines
	questionIdempotent          string
	questionKills               string
	authorizers, inMemory       string // how many accounts have authorised a platform
	renewed, current            string // what the button has done, with a fingerprint
	spark                       string
	hours, minutes, seconds     string // of a time to wait
	colon, space                string // what stands between parts of a sentence, and between sentences

	words map[credential.State]string
	kinds map[string]string

	refusals map[Reason]string
	tooEarly map[credential.RefusalReason]string // why the button does nothing
}

var texts = [...]text{
	wechat.English: {
		Lang: "en", Title: "WeChat tokens", Heading: "WeChat tokens",
		Legend:   "Fetches and replays are this process's; the bars show the last hour in steps of two minutes. Quotas are the day's in Beijing, for all processes that share the store.",
		NoScript: "Without JavaScript the page does not update itself, and has no buttons: reload it for the current state.",
		Live:     "Live", Paused: "Paused", Offline: "The proxy cannot be reached: what is shown is old. Trying again …",
		Refused:  "The proxy does not let this page in any more: reload it.",
		TimeLeft: "Time left", Left: "left", Expires: "until", Fetched: "fetched",
		Rejected: "Rejected by WeChat", Unused: "Not in use any more", Expired: "Expired", NoToken: "There is no token.",
		Fingerprint: "The token's fingerprint: the first digits of its SHA-256", Fetches: "Fetches", Replays: "Replays",
		Quota: "Quota", Forced: "Forced",
		Ticket: "Ticket", TicketFingerprint: "The ticket's fingerprint: the first digits of its SHA-256", Confirmed: "confirmed",
		VerifyTicket: "Verify ticket", NoVerifyTicket: "none was pushed yet", Received: "received",
		Error: "Error", LastError: "Last error", Unreachable: "Unreachable", Warning: "Warning",
		Since: "Since", NextTry: "Next try:",
		StillUsable:  "WeChat gives no other token; requests go on with this one while it is valid.",
		RequestsFail: "Requests fail until WeChat gives a token.",
		Search:       "Name or ID", AllStates: "All states", State: "State", Attention: "Needs attention", Shown: "{shown} of {all} accounts",
		Refresh: "Refresh", Yes: "Fetch", No: "Cancel", Running: "Fetching …", Unknown: "The proxy gave no answer.",

		allFine: "All is well", attention: "%s of %s need attention:", trouble: "The store needs attention",
		questionIdempotent: "Ask WeChat for the token now? It gives the same one while that is good, and a new one otherwise.",
		questionKills:      "Fetch a new token now? The current one dies; requests that are under way are sent again.",
		authorizers:        "Accounts that have authorised it: %s", inMemory: "in memory: %s",
		renewed: "There is a new token: %s", current: "WeChat says that %s is the current token.",
		spark: "The last hour: %s fetches, %s replays",
		hours: "%d h", minutes: "%d min", seconds: "%d s", colon: ": ", space: " ",
		words: map[credential.State]string{
			credential.OK: "OK", credential.Renewing: "Renewing", credential.Refused: "Rejected",
			credential.BackOff: "Backing off", credential.Empty: "No token yet",
		},
		kinds: map[string]string{"wecom": "WeCom", "platform": "Third-party platform"},
		tooEarly: map[credential.RefusalReason]string{
			credential.TooSoon:    "This account was refreshed a moment ago: try again in %s.",
			credential.BackingOff: "WeChat has given no token, and is asked again in %s. Once the cause is cured, “caddy weixin refresh %s” asks at once.",
			credential.QuotaNear:  "Most of the day's quota of fetches is used up, so this button fetches no token before midnight in Beijing, which is in %s. “caddy weixin refresh %s” still does.",
		},
		refusals: map[Reason]string{
			RefusedAddress:     "This client's address may not see this page: add it to allow_ips.",
			RefusedHost:        "This page is not served over plain HTTP under the name %s, which any web site could have. Use the proxy's IP address, localhost or HTTPS, or add to weixin_status: hosts %[1]s",
			RefusedUnspecified: "This page is not served at the address %s, by which every web page reaches this machine. Use 127.0.0.1, localhost or the proxy's own address.",
			refusedWebPage:     "Other web sites may link to this page, and do nothing else with it.",
			RefusedKey:         "A caller's key is needed: as the password (any user name), or as Authorization: Bearer.",
			RefusedIPs:         "This caller may not call from this address: add it to its ips.",
			RefusedAllow:       "This caller may not see this page: its allow has to have the page's path.",
			refusedMethod:      "This method is not allowed here.",
			refusedForgery:     "This request does not come from the button on this page: reload the page. Scripts use the admin API.",
			refusedBody:        `The body has to be {"account":"<name>"}.`,
			refusedUnknown:     "There is no such account.",
			refusedInternal:    "The page could not be made.",
		},
	},
	wechat.Chinese: {
		Lang: "zh-CN", Title: "微信 token", Heading: "微信 token",
		Legend:   "获取和重放是本进程的次数；柱状图为最近一小时，每格两分钟。额度按北京时间的自然日计算，包括共用同一存储的所有进程。",
		NoScript: "浏览器未启用 JavaScript：页面不会自动更新，也没有按钮，请手动刷新。",
		Live:     "实时", Paused: "已暂停", Offline: "无法连接代理，显示的是旧数据，正在重试……",
		Refused:  "代理已拒绝本页的访问：请重新加载页面。",
		TimeLeft: "剩余时间", Left: "后过期", Expires: "有效至", Fetched: "获取于",
		Rejected: "已被微信拒绝", Unused: "已停止使用", Expired: "已过期", NoToken: "没有 token。",
		Fingerprint: "token 指纹：其 SHA-256 的前几位", Fetches: "获取", Replays: "重放",
		Quota: "额度", Forced: "强制刷新",
		Ticket: "Ticket", TicketFingerprint: "ticket 指纹：其 SHA-256 的前几位", Confirmed: "确认于",
		VerifyTicket: "验证票据", NoVerifyTicket: "尚未收到推送", Received: "收到于",
		Error: "错误", LastError: "最近的错误", Unreachable: "无法访问", Warning: "警告",
		Since: "开始于", NextTry: "下次尝试于",
		StillUsable:  "微信暂不提供新的 token；当前 token 在有效期内继续使用。",
		RequestsFail: "取到 token 之前，请求会失败。",
		Search:       "名称或 ID", AllStates: "全部状态", State: "状态", Attention: "需要处理", Shown: "显示 {shown} 个，共 {all} 个账号",
		Refresh: "刷新", Yes: "获取", No: "取消", Running: "正在获取……", Unknown: "代理没有响应。",

		allFine: "一切正常", attention: "%[2]s 个账号中有 %[1]s 个需要处理：", trouble: "存储异常，需要处理",
		questionIdempotent: "现在向微信获取 token？当前 token 仍有效时，微信返回的还是同一个；否则返回新的。",
		questionKills:      "现在获取新的 token？当前的 token 将失效，正在进行的请求会自动重发。",
		authorizers:        "已授权账号：%s 个", inMemory: "内存中：%s 个",
		renewed: "已获取新的 token：%s", current: "微信返回的仍是当前的 token：%s",
		spark: "最近一小时：获取 %s 次，重放 %s 次",
		hours: "%d 小时", minutes: "%d 分钟", seconds: "%d 秒", colon: "：", space: "",
		words: map[credential.State]string{
			credential.OK: "正常", credential.Renewing: "更新中", credential.Refused: "被拒绝",
			credential.BackOff: "退避中", credential.Empty: "尚无 token",
		},
		kinds: map[string]string{"wecom": "企业微信", "platform": "第三方平台"},
		tooEarly: map[credential.RefusalReason]string{
			credential.TooSoon:    "该账号刚刚刷新过：请在 %s后再试。",
			credential.BackingOff: "微信没有返回 token，%s后才会再次获取。排除原因后，可用“caddy weixin refresh %s”立即获取。",
			credential.QuotaNear:  "今日的获取次数已用去大半，%s后（北京时间零点）本按钮才会再次获取。“caddy weixin refresh %s”仍可使用。",
		},
		refusals: map[Reason]string{
			RefusedAddress:     "来源地址不允许查看本页：请把它加入 allow_ips。",
			RefusedHost:        "不能用域名 %s 以明文 HTTP 访问本页，因为其他网站也可能把这个域名指向这里。请改用代理的 IP 地址、localhost 或 HTTPS，或在 weixin_status 中加上：hosts %[1]s",
			RefusedUnspecified: "不能通过地址 %s 访问本页，因为任何网页都能借它访问本机。请改用 127.0.0.1、localhost 或代理自己的地址。",
			refusedWebPage:     "其他网站只能链接到本页，不能以其他方式访问。",
			RefusedKey:         "需要调用方的密钥：作为密码输入（用户名任意），或使用 Authorization: Bearer。",
			RefusedIPs:         "该调用方不能从这个地址访问：请把地址加入它的 ips。",
			RefusedAllow:       "该调用方不能查看本页：它的 allow 不包含本页的路径。",
			refusedMethod:      "不支持该请求方法。",
			refusedForgery:     "该请求不是由本页的按钮发出的：请重新加载页面。脚本请使用管理接口（admin API）。",
			refusedBody:        `请求体应为 {"account":"<名称>"}。`,
			refusedUnknown:     "没有这个账号。",
			refusedInternal:    "无法生成页面。",
		},
	},
}

func (t *text) headline(attention, all int, isTroubled bool) string {
	switch {
	case attention > 0:
		return fmt.Sprintf(t.attention, count(attention), count(all))
	case isTroubled:
		return t.trouble
	default:
		return t.allFine
	}
}

// refusal returns why a request is refused.
func (t *text) refusal(refusal Refusal) string {
	message := t.refusals[refusal.Reason]
	if refusal.Reason == RefusedHost || refusal.Reason == RefusedUnspecified {
		return fmt.Sprintf(message, refusal.Host)
	}
	return message
}

// tooEarlyMessage returns why WeChat is not asked for an account's token yet.
func (t *text) tooEarlyMessage(account string, is *Renewal, wait time.Duration) string {
	values := []any{t.duration(wait), account}
	if is.Refused == credential.TooSoon {
		values = values[:1]
	}
	message := fmt.Sprintf(t.tooEarly[is.Refused], values...)
	if is.Failure != nil {
		message += t.space + t.cause(is.Failure)
	}
	return message
}

// failureMessage returns why there is no token.
func (t *text) failureMessage(f *Failure) string {
	if f == nil {
		return t.RequestsFail
	}
	return t.cause(f)
}

func (t *text) cause(f *Failure) string {
	return strings.TrimSpace(t.Name(f) + t.colon + f.Message + " " + f.Advice)
}

// Name is what a failure is called.
func (t *text) Name(f *Failure) string {
	if f.Unreachable() {
		return t.Unreachable
	}
	return t.Error + " " + strconv.Itoa(f.Errcode)
}

// PastName is what a failure is called that is over.
func (t *text) PastName(f *Failure) string {
	if f.Unreachable() {
		return t.LastError + t.colon + t.Unreachable
	}
	return t.LastError + " " + strconv.Itoa(f.Errcode)
}

// Authorizers returns how many accounts have authorised a platform.
func (t *text) Authorizers(p *Platform) string {
	inMemory := fmt.Sprintf(t.inMemory, count(p.InMemory))
	if p.Known < 0 {
		return inMemory
	}
	return fmt.Sprintf(t.authorizers, count(p.Known)) + " · " + inMemory
}

// Word is a state's.
func (t *text) Word(state credential.State) string { return t.words[state] }

// duration returns a time to wait, in the two largest units that it has.
func (t *text) duration(d time.Duration) string {
	s := int(d / time.Second)
	parts := []string{fmt.Sprintf(t.hours, s/3600), fmt.Sprintf(t.minutes, s/60%60), fmt.Sprintf(t.seconds, s%60)}
	switch {
	case s < 60:
		parts = parts[2:]
	case s < 3600:
		parts = parts[1:]
	default:
		parts = parts[:2]
	}
	return strings.Join(parts, " ")
}

// count returns a number with separators between the thousands.
func count[N int | int64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
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
