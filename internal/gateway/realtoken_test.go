package weixin

import (
	"net/url"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"go.uber.org/zap"
)

// boundAccount returns an account for which WeChat has one token.
func boundAccount(tokens *TokenManager, name, token string) *Account {
	return tokens.bind(&Account{
		Name:        name,
		Credentials: wechat.Credentials{ID: name, AppSecret: "secret"},
		Source:      issuing{wechat.Stable{}, token},
		Place:       wechat.Official,
		Upstream:    &url.URL{Scheme: "http", Host: "127.0.0.1"},
	}, credential.NewRunner())
}

func TestRealIssuers(t *testing.T) {
	tokens := newTokenManager(credential.NewProcess(), forgetful{}, nil, zap.NewNop())
	shop, club := new(issuedTokens), new(issuedTokens)
	accounts := map[*issuedTokens]*Account{
		shop: boundAccount(tokens, "shop", "shop-4"),
		club: boundAccount(tokens, "club", "club-1"),
	}
	r := &realIssuers{accounts: accounts}
	r.looked.Store(time.Now().Add(time.Hour).UnixNano()) // it does not look by itself
	want := func(token, name string) {
		t.Helper()
		got := ""
		if a := r.owner(token); a != nil {
			got = a.Name
		}
		if got != name {
			t.Errorf("%s is of %q, want %q", token, got, name)
		}
	}
	want("", "")
	shop.note("shop-1")
	shop.note("shop-1")
	club.note("club-1")
	want("shop-1", "shop")
	want("club-1", "club")
	shop.note("shop-2")
	shop.note("shop-1") // late
	want("shop-1", "shop")
	want("shop-2", "shop")
	shop.note("shop-3")
	want("shop-1", "")
	want("shop-2", "shop")
	want("shop-3", "shop")

	// Another process has renewed the token.
	if _, err := tokens.Token(t.Context(), accounts[shop]); err != nil {
		t.Fatal(err)
	}
	want("shop-4", "")
	r.looked.Store(0)
	want("shop-4", "shop")
	want("shop-3", "shop")
	if r.look(time.Now()) {
		t.Error("the accounts are looked at for every token that is not known")
	}

	// Another configuration has no such account.
	if a := new(realIssuers).owner("club-1"); a != nil {
		t.Errorf("another configuration knows %s", a.Name)
	}
	for _, i := range []*issuedTokens{shop, club} {
		if err := i.Destruct(); err != nil {
			t.Error(err)
		}
	}
	want("shop-4", "")
	want("club-1", "")
	realTokens.RLock()
	defer realTokens.RUnlock()
	for digest, i := range realTokens.owners {
		if i == shop || i == club {
			t.Errorf("%x is remembered for ever", digest[:4])
		}
	}
}
