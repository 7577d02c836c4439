package gateway

import (
	"net/url"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// The proxy's own virtual tokens are a loop, those of another a hub's.
func TestTokensOfItsOwn(t *testing.T) {
	id := account.NewVirtualID("account", "wx1")
	issued := func(secret string, expires time.Duration) string {
		key, err := account.VirtualKey(wechat.Credentials{ID: "wx1", Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		claims := virtualClaims{account: id, expiresAt: time.Now().Add(expires)}
		return claims.sign(&virtualSecrets{accountKey: key})
	}
	for name, tc := range map[string]struct {
		token string
		loop  bool
	}{
		"WeChat's":         {"92_abc", false},
		"its own":          {issued("own", time.Hour), true},
		"its own, expired": {issued("own", -time.Hour), true},
		"a hub's":          {issued("another's", time.Hour), false},
		"a hub's in form":  {account.VirtualTokenPrefix + "abc", false},
	} {
		m := newManager(t)
		a := &account.Account{
			Name: "shop", Kind: wechat.Official, Endpoint: wechat.Stable, Credentials: wechat.Credentials{ID: "wx1", Secret: "own"},
			Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1"},
		}
		a.Bind(m, handingOut(tc.token), credential.NewRunner())
		if err := a.MakeVirtualKey(); err != nil {
			t.Fatal(err)
		}
		directory, err := account.NewDirectory(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewRegistry(directory, m.Now, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		token, err := a.Token(t.Context())
		if tc.loop && (err == nil || !upstream.TellsOfLoop(err.Error())) || !tc.loop && (err != nil || token.Secret() != tc.token) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
