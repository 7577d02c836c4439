package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/dnstest"
)

// The token endpoint and the API are found by the DNS server that is configured,
// for an account or for all.
func TestResolver(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	port := portOf(w.URL)
	global := dnstest.Start(t, map[string][]string{"wx.test": {"127.0.0.1"}})
	own := dnstest.Start(t, map[string][]string{"own.test": {"127.0.0.1"}})
	for name, c := range map[string]struct {
		global string
		asked  *dnstest.Server
		want   string
	}{
		"global": {"resolver " + global.Addr + defaultAccount, global, "wx.test"},
		"own": {
			"resolver {env.DNS}\n" + strings.Replace(defaultAccount, "appid", "resolver "+own.Addr+"\nupstream http://own.test:"+port+"\nappid", 1),
			own, "own.test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(c.asked.Asked())
			p := startCaddy(t, w, config{
				global: "upstream http://wx.test:" + port + "\n" + c.global, noUpstream: true,
				env: []string{"DNS=" + global.Addr},
			})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			w.revoke()
			wantReplayed(t, get(t, p.url+"/cgi-bin/user/get"), "40001")
			if got := w.last("/cgi-bin/user/get").Host; got != c.want+":"+port {
				t.Errorf("WeChat saw the host %s", got)
			}
			if asked := c.asked.Asked()[before:]; !slices.Contains(asked, "udp A "+c.want+".") {
				t.Errorf("asked was %q", asked)
			}
		})
	}
	// What the DNS server does not know is not looked for elsewhere.
	p := startCaddy(t, w, config{
		global: "upstream http://localhost.wx.test:" + port + "\nresolver " + global.Addr + defaultAccount, noUpstream: true,
	})
	if a := get(t, p.url+"/cgi-bin/user/get"); a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable {
		t.Errorf("got %s", a)
	}
	if !eventually(func() bool { return p.logs.contains(" on " + global.Addr + ": no such host") }) {
		t.Error("the log does not tell of the DNS server")
	}
}
