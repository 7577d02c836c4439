package account

import (
	"net/url"
	"strings"
	"testing"
	"time"

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

// WeCom's rules for gettoken reach the credential.
func TestWeComPolicy(t *testing.T) {
	a := newAccount("hr", wechat.WeCom, "ww1", "secret")
	p := a.credential.Policy
	if p.Extension != 5*time.Minute || p.Rejected != (credential.Waits{Least: time.Second, Most: 30 * time.Second}) ||
		p.ConfigurationBackoff != (credential.Waits{Least: 10 * time.Second, Most: 15 * time.Minute}) ||
		p.FailureClass != "wecom" || p.FailuresPerHour != 100 || p.ForcesPerDay != 0 || p.Recheck != 0 {
		t.Errorf("%+v", p)
	}
	for _, errcode := range []int{40001, 40013, 40091, 41002, 41004} {
		if ClassOf(wechat.WeCom, errcode) != credential.Configuration {
			t.Errorf("%d is no error of configuration", errcode)
		}
	}
}

// A trouble is over with the next success, and stays known.
func TestTroubles(t *testing.T) {
	a := newAccount("hr", wechat.WeCom, "ww1", "secret")
	a.Succeeded()
	if last, is := a.Trouble(); is || !last.At.IsZero() {
		t.Error("there is a trouble from the beginning")
	}
	want := Trouble{Errcode: wechat.UntrustedIP, Errmsg: "not allowed", At: time.Unix(1, 0)}
	a.InTrouble(want)
	if last, is := a.Trouble(); !is || last != want {
		t.Errorf("got %+v, %v", last, is)
	}
	a.Succeeded()
	if last, is := a.Trouble(); is || last != want {
		t.Errorf("afterwards: %+v, %v", last, is)
	}
}
