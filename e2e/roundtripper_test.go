package e2e

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each of them speaks TLS to WeChat, in the version it is there for, and lives
// through a token's death.
func TestRoundTrippers(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]int{"http1": 1, "net_http": 1} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			w.Server.Close()
			w.Server = httptest.NewUnstartedServer(w)
			w.Server.EnableHTTP2 = true
			w.Server.StartTLS()
			t.Cleanup(w.Server.Close)
			roots := filepath.Join(t.TempDir(), "roots.pem")
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
			if err := os.WriteFile(roots, block, 0o600); err != nil {
				t.Fatal(err)
			}
			p := startCaddy(t, w, config{site: "weixin {\n\t\tround_tripper " + name + "\n\t}", env: []string{"SSL_CERT_FILE=" + roots}})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			if got := w.last("/cgi-bin/user/get").ProtoMajor; got != version {
				t.Errorf("WeChat saw HTTP/%d", got)
			}
			res, err := w.Client().Post(w.URL+"/sandbox/accounts/"+appID+"/revoke", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			a := post(t, p.url+"/cgi-bin/message/custom/send", `{"touser":"o1","msgtype":"text","text":{"content":"`+strings.Repeat("x", 100_000)+`"}}`)
			wantReplayed(t, a, "40001")
			// A connection that was closed meanwhile costs nothing.
			w.CloseClientConnections()
			time.Sleep(10 * time.Millisecond)
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			if n := w.count("/cgi-bin/user/get"); n != 2 {
				t.Errorf("%d requests arrived, want 2", n)
			}
		})
	}
}
