// Package wechat holds what is known about the WeChat platform: how a token is
// fetched, what its errcodes mean and what to do about them, which paths take
// which credential, and how a token goes into a request.
//
// Nothing in it keeps state, and nothing in it knows the proxy.
package wechat

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Errcodes of the platform's public documentation that the proxy acts on or
// gives advice for.
const (
	OK                    = 0
	SystemBusy            = -1
	BackendFailed         = -1000 // like SystemBusy, and it may come before the token is looked at
	InvalidCredential     = 40001 // at an API: the token; at a token endpoint: the AppSecret
	InvalidGrantType      = 40002
	InvalidAppID          = 40013
	InvalidAccessToken    = 40014
	InvalidCode           = 40029
	InvalidParameter      = 40035
	InvalidAppSecret      = 40125
	InvalidIP             = 40164
	SecretFrozen          = 40243
	AccessTokenMissing    = 41001
	AppIDMissing          = 41002
	AppSecretMissing      = 41004
	AccessTokenExpired    = 42001
	RequireGET            = 43001
	RequirePOST           = 43002
	MediaTooLarge         = 45001
	QuotaExhausted        = 45009
	TooFrequent           = 45011
	DataFormatError       = 47001
	APIUnauthorized       = 48001
	UserLimited           = 50002
	TokenForbidden        = 50004
	AccountFrozen         = 50007
	IPConfirmationPending = 89501
	IPNeedsConfirmation   = 89503
	IPRefusedTwice        = 89506
	IPRefusedOnce         = 89507
)

// Error is an answer of WeChat whose errcode is not 0.
type Error struct {
	Code int    // errcode
	Msg  string // errmsg, as WeChat wrote it
}

// Error returns errcode and errmsg in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("errcode %d: %s", e.Code, e.Msg)
}

// IsTokenError says whether an API's errcode means that the access_token was
// refused and that a new one cures it. WeChat checks the token before it does
// anything else, so such a request had no effect and may be sent again.
func IsTokenError(errcode int) bool {
	switch errcode {
	case InvalidCredential, InvalidAccessToken, AccessTokenExpired:
		return true
	}
	return false
}

// FailureClass tells how long to wait after a token endpoint refused.
type FailureClass uint8

const (
	// Transient failures pass by themselves: -1, 45011, and whatever is not
	// known to be one of the others.
	Transient FailureClass = iota
	// Configuration failures last until somebody changes something: a secret,
	// a whitelist, the account's standing.
	Configuration
	// DailyQuota failures last until the next Beijing midnight.
	DailyQuota
)

// ClassifyFailure returns the class of an errcode of a token endpoint.
func ClassifyFailure(errcode int) FailureClass {
	switch errcode {
	case QuotaExhausted:
		return DailyQuota
	case InvalidCredential, InvalidAppSecret, InvalidGrantType, InvalidAppID, InvalidIP,
		AppIDMissing, AppSecretMissing,
		SecretFrozen, UserLimited, TokenForbidden, AccountFrozen,
		IPConfirmationPending, IPNeedsConfirmation, IPRefusedTwice, IPRefusedOnce:
		return Configuration
	}
	return Transient
}

// Language is one of the languages in which advice is given.
type Language uint8

const (
	English Language = iota
	Chinese
)

// Advice returns one sentence that says what an operator has to do about an
// errcode of a token endpoint, or "" where there is nothing to be done but to
// wait. The errmsg of 40164 names the address that is missing from the
// account's IP whitelist, and the sentence repeats it.
func Advice(errcode int, errmsg string, lang Language) string {
	text, ok := advice[errcode]
	if !ok {
		return ""
	}
	return strings.ReplaceAll(text[lang], "{ip}", whitelistAddress(errmsg, lang))
}

var advice = map[int][2]string{
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

// 40164 reads "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist".
var invalidIP = regexp.MustCompile(`invalid ip (?:address )?([0-9A-Fa-f.:]+)`)

func whitelistAddress(errmsg string, lang Language) string {
	if m := invalidIP.FindStringSubmatch(errmsg); m != nil {
		if addr, err := netip.ParseAddr(strings.TrimRight(m[1], ".:")); err == nil {
			return addr.Unmap().String()
		}
	}
	if lang == Chinese {
		return "代理的出口 IP"
	}
	return "the proxy's own egress address"
}
