package gateway

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A virtual token has the AppID of the account that has authorised the platform,
// which nobody can change.
func TestVirtualTokenWithAppID(t *testing.T) {
	secrets := virtualTestSecrets(t, "secret", "key")
	verify := func(token string) (*virtualClaims, error) {
		return verifyVirtualToken(token, virtualTestTime, func(_, _ account.VirtualID) *virtualSecrets { return secrets })
	}
	for _, appID := range []string{"", "w", "wx0123456789abcdef", strings.Repeat("x", wechat.MaxAppID)} {
		claims := virtualTestClaims
		claims.appID = appID
		token := claims.sign(secrets)
		if got, err := verify(token); err != nil || got.appID != appID || got.caller != claims.caller || !got.expiresAt.Equal(claims.expiresAt) {
			t.Errorf("%q: %+v, %v", appID, got, err)
		}
		if len(token) > 512 {
			t.Errorf("%q: %d characters", appID, len(token))
		}
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, account.VirtualTokenPrefix))
		if err != nil {
			t.Fatal(err)
		}
		for about, changed := range map[string][]byte{
			"another":    append(append(append([]byte{}, raw[:virtualTokenFixed]...), 'y'), raw[min(virtualTokenFixed+1, len(raw)):]...),
			"longer":     append(append(append([]byte{}, raw[:virtualTokenFixed]...), 'y'), raw[virtualTokenFixed:]...),
			"shorter":    append(append([]byte{}, raw[:virtualTokenFixed]...), raw[virtualTokenFixed+1:]...),
			"at the end": append(append([]byte{}, raw...), 'y'),
		} {
			if _, err := verify(account.VirtualTokenPrefix + base64.RawURLEncoding.EncodeToString(changed)); !errors.Is(err, errVirtualTokenForged) {
				t.Errorf("%q, %s: %v", appID, about, err)
			}
		}
	}
	claims := virtualTestClaims
	claims.appID = strings.Repeat("x", wechat.MaxAppID+1)
	if _, err := verify(claims.sign(secrets)); !errors.Is(err, errVirtualTokenForged) {
		t.Errorf("an AppID that is too long: %v", err)
	}
}

// No account but a platform's has tokens with an AppID.
func TestVirtualTokenOfAnotherKindWithAppID(t *testing.T) {
	m := newManager(t)
	a := boundAccount(m, "wx1", "token")
	if err := a.MakeVirtualKey(); err != nil {
		t.Fatal(err)
	}
	directory, err := account.NewDirectory(a)
	if err != nil {
		t.Fatal(err)
	}
	r := &Registry{Accounts: directory, now: m.Now}
	claims := virtualClaims{account: a.VirtualID(), appID: "wx2", expiresAt: virtualTestClaims.expiresAt}
	if s := r.subjectOfToken(&claims); s != (subject{}) {
		t.Errorf("it is of %s", s.name())
	}
}
