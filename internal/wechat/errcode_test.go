package wechat

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// The table of the platform's documentation: what cures what.
var documentedErrcodes = []struct {
	errcode       int
	tokenError    bool
	class         FailureClass
	configuration bool // at a token endpoint, and so in need of advice
}{
	{errcode: SystemBusy},
	{errcode: InvalidCredential, tokenError: true, class: Configuration, configuration: true},
	{errcode: AccessTokenExpired, tokenError: true},
	{errcode: InvalidAccessToken, tokenError: true},
	{errcode: InvalidAppSecret, class: Configuration, configuration: true},
	{errcode: InvalidGrantType, class: Configuration, configuration: true},
	{errcode: InvalidAppID, class: Configuration, configuration: true},
	{errcode: InvalidIP, class: Configuration, configuration: true},
	{errcode: SecretFrozen, class: Configuration, configuration: true},
	{errcode: UserLimited, class: Configuration, configuration: true},
	{errcode: TokenForbidden, class: Configuration, configuration: true},
	{errcode: AccountFrozen, class: Configuration, configuration: true},
	{errcode: IPConfirmationPending, class: Configuration, configuration: true},
	{errcode: IPNeedsConfirmation, class: Configuration, configuration: true},
	{errcode: IPRefusedTwice, class: Configuration, configuration: true},
	{errcode: IPRefusedOnce, class: Configuration, configuration: true},
	{errcode: AppIDMissing, class: Configuration, configuration: true},
	{errcode: AppSecretMissing, class: Configuration, configuration: true},
	{errcode: AccessTokenMissing},
	{errcode: QuotaExhausted, class: DailyQuota, configuration: true},
	{errcode: TooFrequent},
	{errcode: APIUnauthorized},
	{errcode: 48004},
	{errcode: 48006},
	{errcode: 42002},
	{errcode: 42007},
	{errcode: 61023},
	{errcode: OK},
	{errcode: 12345},
}

func TestErrcodes(t *testing.T) {
	for _, tc := range documentedErrcodes {
		t.Run(strconv.Itoa(tc.errcode), func(t *testing.T) {
			if got := Official.IsTokenError(tc.errcode); got != tc.tokenError {
				t.Errorf("IsTokenError = %t", got)
			}
			if got := Official.ClassOf(tc.errcode); got != tc.class {
				t.Errorf("ClassOf = %d, want %d", got, tc.class)
			}
			english, chinese := Official.AdviceFor(tc.errcode, "", English), Official.AdviceFor(tc.errcode, "", Chinese)
			if (english != "") != tc.configuration || (chinese != "") != tc.configuration {
				t.Fatalf("advice %q, %q", english, chinese)
			}
			if !tc.configuration {
				return
			}
			if !strings.HasSuffix(english, ".") || strings.ContainsFunc(english, isHan) {
				t.Errorf("English advice: %q", english)
			}
			if !strings.HasSuffix(chinese, "。") || !strings.ContainsFunc(chinese, isHan) {
				t.Errorf("Chinese advice: %q", chinese)
			}
			if strings.ContainsAny(english+chinese, "{}") {
				t.Errorf("advice with a gap: %q, %q", english, chinese)
			}
		})
	}
}

func isHan(r rune) bool { return unicode.Is(unicode.Han, r) }

// No errcode is a configuration error without telling anybody what to do.
func TestConfigurationErrorsHaveAdvice(t *testing.T) {
	for errcode := -1; errcode < 100_000; errcode++ {
		if Official.ClassOf(errcode) != Transient && (Official.AdviceFor(errcode, "", English) == "" || Official.AdviceFor(errcode, "", Chinese) == "") {
			t.Errorf("no advice for %d", errcode)
		}
	}
}

func TestAdviceNamesAddress(t *testing.T) {
	for _, tc := range []struct{ name, errmsg, want string }{
		{"v4", "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 6aac0063-7ed08fb9-1250f728", "1.2.3.4"},
		{"v4 alone", "invalid ip 203.0.113.77, not in whitelist hint: [x]", "203.0.113.77"},
		{"v6", "invalid ip 2001:db8::8:800 ipv6 2001:db8::8:800, not in whitelist rid: 6aac0063", "2001:db8::8:800"},
		{"v6 in capitals", "invalid ip 2001:DB8::1, not in whitelist", "2001:db8::1"},
		{"with the errcode before it", "errcode 40164: invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist", "1.2.3.4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, lang := range []Language{English, Chinese} {
				advice := Official.AdviceFor(InvalidIP, tc.errmsg, lang)
				if !strings.Contains(advice, " "+tc.want+" ") && !strings.Contains(advice, " "+tc.want+"。") {
					t.Errorf("%q does not name %s", advice, tc.want)
				}
				if strings.Contains(advice, "rid") {
					t.Errorf("%q names more than the address", advice)
				}
			}
		})
	}
}

// An errmsg of another form must not end up in the sentence.
func TestAdviceWithoutAddress(t *testing.T) {
	for _, errmsg := range []string{"", "not in whitelist", "invalid ip , not in whitelist", "invalid ip <script>", "{ip}"} {
		if got, want := Official.AdviceFor(InvalidIP, errmsg, English), "Add the proxy's own egress address to"; !strings.HasPrefix(got, want) {
			t.Errorf("Advice(%q) = %q, want %q…", errmsg, got, want)
		}
		if got, want := Official.AdviceFor(InvalidIP, errmsg, Chinese), "代理的出口 IP"; !strings.Contains(got, want) {
			t.Errorf("Advice(%q) = %q without %q", errmsg, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	err := &Error{Code: InvalidAppID, Msg: "invalid appid rid: 1"}
	if got, want := err.Error(), "errcode 40013: invalid appid rid: 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAdviceAddressIsOne(t *testing.T) {
	for _, errmsg := range []string{
		"invalid ip address 1.2.3.4, not in whitelist",
		"invalid ip 1.2.3.4.", "invalid ip 1.2.3.4: not in whitelist",
		"invalid ip ::ffff:1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist",
	} {
		if got := Official.AdviceFor(InvalidIP, errmsg, English); !strings.Contains(got, "Add 1.2.3.4 to") {
			t.Errorf("%q: %s", errmsg, got)
		}
	}
}
