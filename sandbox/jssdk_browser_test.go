package sandbox_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

func TestMain(m *testing.M) { os.Exit(programtest.Tests{M: m}.Run()) }

// The page, in a browser: it has its address signed, and the sandbox verifies.
func TestPage(t *testing.T) {
	programtest.Require(t, "chromium")
	ts := newTester(t, weComConfig())
	var ticket atomic.Value // what the signer signs with
	mux := http.NewServeMux()
	mux.Handle("/sandbox/", ts.server)
	mux.HandleFunc("/jssdk", func(w http.ResponseWriter, r *http.Request) {
		now := fmt.Sprint(time.Now().Unix())
		fmt.Fprintf(w, `{"appId":%q,"timestamp":%s,"nonceStr":"n","signature":%q}`,
			sandbox.DemoAppID, now, sign(ticket.Load().(string), now, r.URL.Query().Get("url")))
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	dom := func() string {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
			"--virtual-time-budget=5000", "--dump-dom", server.URL+"/sandbox/jssdk?a=b&c=%E4%BD%A0#fragment").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	ticket.Store(ts.get("/cgi-bin/ticket/getticket?type=jsapi&access_token=" + ts.token()).text("ticket"))
	if page := dom(); !strings.Contains(page, "config:ok") {
		t.Errorf("%s", page)
	}
	ticket.Store("another")
	if page := dom(); !strings.Contains(page, "config:fail, signature: ") {
		t.Errorf("%s", page)
	}
}
