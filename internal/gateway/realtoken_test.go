package gateway

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// boundAccount returns an account for which WeChat has one token.
func boundAccount(m *credential.Manager, name, token string) *account.Account {
	a := &account.Account{
		Name:        name,
		Credentials: wechat.Credentials{ID: name, Secret: "secret"},
		Endpoint:    wechat.Stable,
		Kind:        wechat.Official,
		Upstream:    &url.URL{Scheme: "http", Host: "127.0.0.1"},
	}
	return a.Bind(m, handingOut(token), credential.NewRunner())
}

// handingOut is a token endpoint that hands out one token.
type handingOut string

// RoundTrip implements http.RoundTripper.
func (token handingOut) RoundTrip(*http.Request) (*http.Response, error) {
	body := `{"access_token":"` + string(token) + `","expires_in":3600}`
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// forgetful is a store that keeps nothing.
type forgetful struct{}

// Load returns nothing.
func (forgetful) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

// Save does nothing.
func (forgetful) Save(context.Context, string, []byte) error { return nil }

// Lock locks nothing.
func (forgetful) Lock(context.Context, string) (func(), error) { return func() {}, nil }

func newManager(tb testing.TB) *credential.Manager {
	tb.Helper()
	m := credential.NewManager(credential.Config{
		Store: store.Watch(forgetful{}, zap.NewNop()), Process: credential.NewProcess(), Logger: zap.NewNop(),
	})
	tb.Cleanup(m.Close)
	return m
}

func TestRealIssuers(t *testing.T) {
	tokens := newManager(t)
	shop, club := new(issuedTokens), new(issuedTokens)
	accounts := map[*issuedTokens]*account.Account{
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
	if _, err := accounts[shop].Token(t.Context()); err != nil {
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
