package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

var (
	virtualTestTime   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	virtualTestClaims = virtualClaims{
		account:   account.NewVirtualID("account", "wx1"),
		caller:    account.NewVirtualID("caller", "orders"),
		expiresAt: virtualTestTime.Add(time.Hour),
	}
)

func virtualTestSecrets(t testing.TB, appSecret, callerKey string) *virtualSecrets {
	t.Helper()
	key, err := account.VirtualKey(wechat.Credentials{ID: "wx1", Secret: appSecret})
	if err != nil {
		t.Fatal(err)
	}
	s := &virtualSecrets{accountKey: key}
	copy(s.callerKey[:], callerKey)
	return s
}

func TestVirtualToken(t *testing.T) {
	secrets := virtualTestSecrets(t, "secret", "key")
	token := virtualTestClaims.sign(secrets)
	if len(token) > 512 || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		t.Errorf("%d characters, some of which have to be escaped in a URL: %s", len(token), token)
	}
	if again := virtualTestClaims.sign(secrets); again == token {
		t.Error("two tokens are the same")
	}
	verify := func(token string, now time.Time, s *virtualSecrets) (*virtualClaims, error) {
		return verifyVirtualToken(token, now, func(of, caller account.VirtualID) *virtualSecrets {
			if of != virtualTestClaims.account || caller != virtualTestClaims.caller {
				return nil
			}
			return s
		})
	}
	got, err := verify(token, virtualTestTime, secrets)
	if err != nil || got.account != virtualTestClaims.account || got.caller != virtualTestClaims.caller || !got.expiresAt.Equal(virtualTestClaims.expiresAt) {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		token   string
		now     time.Time
		secrets *virtualSecrets
		want    error
	}{
		"at its expiry":             {token, virtualTestClaims.expiresAt, secrets, errVirtualTokenExpired},
		"a moment before":           {token, virtualTestClaims.expiresAt.Add(-time.Nanosecond), secrets, nil},
		"with another AppSecret":    {token, virtualTestTime, virtualTestSecrets(t, "other", "key"), errVirtualTokenForged},
		"with another key":          {token, virtualTestTime, virtualTestSecrets(t, "secret", "other"), errVirtualTokenForged},
		"of an unknown account":     {token, virtualTestTime, nil, errVirtualTokenForged},
		"truncated":                 {token[:len(token)-1], virtualTestTime, secrets, errVirtualTokenForged},
		"lengthened":                {token + "A", virtualTestTime, secrets, errVirtualTokenForged},
		"of the form alone":         {account.VirtualTokenPrefix, virtualTestTime, secrets, errVirtualTokenForged},
		"very long":                 {account.VirtualTokenPrefix + strings.Repeat("A", 100_000), virtualTestTime, secrets, errVirtualTokenForged},
		"with a NUL":                {token[:20] + "\x00" + token[21:], virtualTestTime, secrets, errVirtualTokenForged},
		"short but for line breaks": {token[:len(account.VirtualTokenPrefix)+12] + strings.Repeat("\n", len(token)-len(account.VirtualTokenPrefix)-12), virtualTestTime, secrets, errVirtualTokenForged},
		"with a line break inside":  {token[:20] + "\n" + token[20:], virtualTestTime, secrets, errVirtualTokenForged},
		"forged and expired":        {token[:len(token)-1] + "!", virtualTestClaims.expiresAt, secrets, errVirtualTokenForged},
	} {
		if _, err := verify(c.token, c.now, c.secrets); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for i := range token {
		for _, c := range "AQgw_" {
			if rune(token[i]) == c {
				continue
			}
			forged := token[:i] + string(c) + token[i+1:]
			if claims, err := verify(forged, virtualTestTime, secrets); err == nil {
				t.Errorf("a token with another character at %d says %+v", i, claims)
			}
		}
	}
}

// Whatever a client sends, it is refused unless it was signed.
func FuzzVirtualToken(f *testing.F) {
	secrets := virtualTestSecrets(f, "secret", "key")
	valid := virtualTestClaims.sign(secrets)
	f.Add(valid)
	f.Add(valid[:40])
	f.Add(valid[:40] + strings.Repeat("\n", len(valid)-40))
	f.Add(account.VirtualTokenPrefix + strings.Repeat("A", len(valid)-len(account.VirtualTokenPrefix)))
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := verifyVirtualToken(token, virtualTestTime, func(_, _ account.VirtualID) *virtualSecrets { return secrets })
		if (claims == nil) == (err == nil) {
			t.Errorf("got %v and %v", claims, err)
		}
		// Every process of the fuzzer has signed a token of its own.
		if err == nil && (claims.account != virtualTestClaims.account || claims.caller != virtualTestClaims.caller ||
			!claims.expiresAt.Equal(virtualTestClaims.expiresAt)) {
			t.Errorf("a token was forged: %q", token)
		}
	})
}

// EasyWeChat asks for another token only where it finds WeChat's own words.
func TestRefusedTokensInWeChatsWords(t *testing.T) {
	for _, cause := range []error{errVirtualTokenExpired, errVirtualTokenForged, errOtherAccount, errTokensDiffer} {
		call := &apiCall{kind: wechat.Official}
		body := string(answer.From(call.tokenRefused(cause)).Body())
		if !strings.Contains(body, `"errcode":42001`) || !strings.Contains(body, "access_token expired") {
			t.Errorf("%v: %s", cause, body)
		}
	}
}
