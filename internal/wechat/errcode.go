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
	InvalidURL            = 40066 // there is no API at the path
	InvalidAppSecret      = 40125
	SecretOfOtherCorp     = 40091 // WeCom
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
	TooManyConcurrent     = 45033 // WeCom
	DataFormatError       = 47001
	APIUnauthorized       = 48001
	UserLimited           = 50002
	TokenForbidden        = 50004
	AccountFrozen         = 50007
	UntrustedIP           = 60020 // WeCom, at an API
	Unauthorized          = 61003 // the account has not authorised the platform
	UnregisteredIP        = 61004
	VerifyTicketExpired   = 61005
	InvalidVerifyTicket   = 61006
	PermissionNotGranted  = 61007
	InvalidAuthCode       = 61009
	AuthCodeExpired       = 61010
	InvalidComponent      = 61011
	InvalidRefreshToken   = 61023
	ComponentAtWrongToken = 61024
	IPConfirmationPending = 89501
	IPNeedsConfirmation   = 89503
	IPRefusedTwice        = 89506
	IPRefusedOnce         = 89507
	WrongAgent            = 301002 // WeCom, at an API
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

// ClassOf returns the class of an errcode of the kind's token endpoints.
func (k *Kind) ClassOf(errcode int) FailureClass { return k.Failures[errcode] }

// Language is one of the languages in which advice is given.
type Language uint8

// The languages.
const (
	English Language = iota
	Chinese
)

// AdviceFor returns one sentence that says what an operator has to do about an
// errcode of a token endpoint, or "" where there is nothing to be done but to
// wait. The errmsg of 40164 names the address that is missing from the
// account's IP whitelist, and the sentence repeats it.
func (k *Kind) AdviceFor(errcode int, errmsg string, lang Language) string {
	text, ok := k.Advice[errcode]
	if !ok {
		return ""
	}
	return strings.ReplaceAll(text[lang], "{ip}", whitelistAddress(errmsg, lang))
}

// 40164 reads "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist", and 61004
// "access clientip is not registered requestIP: 1.2.3.4".
var invalidIP = regexp.MustCompile(`(?:invalid ip (?:address )?|from ip: |requestIP: ?)([0-9A-Fa-f.:]+)`)

// WeCom ends an errmsg with "from ip: 1.2.3.4, more info at …".
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
