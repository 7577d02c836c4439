package account

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func newAccount(name string, kind *wechat.Kind, id, secret string) *Account {
	a := &Account{
		Name: name, Kind: kind, Endpoint: kind.TokenEndpoint(""), Credentials: wechat.Credentials{ID: id, Secret: secret},
		Upstream: &url.URL{Scheme: "https", Host: "api.example"},
	}
	return a.Bind(credential.NewManager(credential.Config{}), nil, credential.NewRunner())
}

// What is stored of official accounts, and issued for them, stays valid.
func TestOfficialIdentity(t *testing.T) {
	a := newAccount("shop", wechat.Official, "wx0123456789abcdef", "secret")
	if got, want := a.credential.ID.Identity, "wx0123456789abcdef-stable"; got != want {
		t.Errorf("identity %q, want %q", got, want)
	}
	if a.VirtualID() != NewVirtualID("account", "wx0123456789abcdef") {
		t.Error("virtual tokens name the account in another way than before")
	}
	if a.credential.Former == nil {
		t.Error("records of earlier releases are not looked for")
	}
}

// Applications of one corporation have a token each.
func TestSecretsApart(t *testing.T) {
	first, second := newAccount("one", wechat.WeCom, "ww1", "secret-1"), newAccount("two", wechat.WeCom, "ww1", "secret-2")
	if first.credential.ID.Identity == second.credential.ID.Identity || first.VirtualID() == second.VirtualID() || first.ID() == second.ID() {
		t.Error("two applications of a corporation are taken for one")
	}
	if strings.Contains(first.credential.ID.Identity, "secret-1") {
		t.Error("the secret is in the store's key")
	}
	d, err := NewDirectory(first, second)
	if err != nil {
		t.Fatal(err)
	}
	if d.WithID("ww1") != nil {
		t.Error("the corporation's ID does not tell which application is meant")
	}
	if d.WithVirtualID(second.VirtualID()) != second || d.Named("one") != first {
		t.Error("an application is not found")
	}
}

func TestDirectory(t *testing.T) {
	shop, club := newAccount("shop", wechat.Official, "wx1", "secret"), newAccount("club", wechat.Official, "wx2", "secret")
	agent := newAccount("agent", wechat.WeCom, "ww1", "secret")
	d, err := NewDirectory(shop, club, agent)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.Names(), " "); got != "agent club shop" {
		t.Errorf("names %s", got)
	}
	if d.Only() != nil || d.OnlyOf(wechat.Official) != nil || d.OnlyOf(wechat.WeCom) != agent || d.WithID("wx2") != club {
		t.Error("an account is not found, or found though there are several")
	}
	for path, want := range map[string]*wechat.Kind{
		"/wxa/x": wechat.Official, "/datacube/x": wechat.Official, "/cgi-bin/gettoken": wechat.WeCom, "/cgi-bin/webhook/send": wechat.WeCom,
		"/cgi-bin/media/upload": nil, "/x": nil,
	} {
		if got := d.KindOfPath(path); got != want {
			t.Errorf("%s is taken for one of %v", path, got)
		}
	}
	if !d.HandsOutTokens("/cgi-bin/gettoken") || !d.HandsOutTokens("/cgi-bin/token") || d.HandsOutTokens("/cgi-bin/tokens") {
		t.Error("token endpoints are not known")
	}
	_, err = NewDirectory(shop, newAccount("other", wechat.Official, "wx1", "secret"))
	if err == nil || err.Error() != "appid wx1 is that of account shop already: give every account an appid of its own" {
		t.Errorf("got %v", err)
	}
}
