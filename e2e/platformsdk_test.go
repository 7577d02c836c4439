package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// silenceperPlatform builds the program with that SDK's package for platforms.
var silenceperPlatform = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "silenceper-platform")
	cmd := exec.Command("go", "build", "-o", bin, "./platform")
	cmd.Dir = filepath.Join("sdk", "silenceper")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &installError{string(out), err}
	}
	return bin, nil
})

// platformSDKs are those with classes for platforms, and whether they have a
// handler of pushes.
var platformSDKs = map[string]bool{"silenceper": true, "node-easywechat": true, "wechat-component": false, "es-wechat-open-api": false}

// platformApplication is what an application with an SDK is told.
type platformApplication struct {
	BaseURL  string `json:"baseURL"`
	AppID    string `json:"appid"`
	Secret   string `json:"secret"`
	Token    string `json:"token"`
	AESKey   string `json:"aesKey"`
	Merchant string `json:"merchant"`
	Control  string `json:"control"`
	Port     int    `json:"port"` // of its handler of pushes; 0 if it has none
	Deaths   bool   `json:"deaths"`
}

// application returns one that calls p.
func (o *openPlatform) application(p *caddy, secret, merchant string) platformApplication {
	return platformApplication{
		BaseURL: p.url, AppID: componentID, Secret: secret, Token: pushToken, AESKey: pushAESKey,
		Merchant: merchant, Control: o.URL + "/sandbox/platforms/" + componentID,
	}
}

// holdings is what an application holds at its end.
type holdings struct {
	Ticket string
	Held   json.RawMessage
}

// run runs an application to its end.
func (a platformApplication) run(t *testing.T, sdk string) holdings {
	t.Helper()
	var cmd *exec.Cmd
	if sdk == "silenceper" {
		bin, err := silenceperPlatform()
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command(bin)
	} else {
		cmd = sdkCommand(t, sdk+"-platform")
	}
	options, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Args = append(cmd.Args, string(options))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s", sdk, err, stderr.String())
	}
	var is holdings
	if err := json.Unmarshal(stdout.Bytes(), &is); err != nil && !t.Failed() {
		t.Errorf("%s: %v", sdk, err)
	}
	return is
}

// passOn notes what is forwarded to an application, and passes it on.
func passOn(t *testing.T, port int) (target string, got func() []pushed) {
	t.Helper()
	var mu sync.Mutex
	var all []pushed
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		is := pushed{query: req.URL.RawQuery, body: string(body)}
		is.status, is.answer = deliver(fmt.Sprintf("http://127.0.0.1:%d/events", port), is.query, body)
		mu.Lock()
		all = append(all, is)
		mu.Unlock()
		rw.WriteHeader(is.status)
		_, _ = io.WriteString(rw, is.answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []pushed {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// SDKs of platforms see neither their component's tokens die nor their merchants',
// nor a ticket or a refresh token, and hold nothing real but the ticket, where they
// get pushes. What WeChat pushes comes to them as it was, and they understand it.
func TestPlatformSDKs(t *testing.T) {
	t.Parallel()
	for sdk, handles := range platformSDKs {
		const saas = "caller saas {\nkey {env.SAAS_KEY}\naccounts isv\n}\n"
		for name, c := range map[string]struct {
			forward        bool
			global, secret string
		}{
			"behind forward":             {true, "", "no-secret-at-all"},
			"behind forward as a caller": {true, saas, "the-key-of-the-saas"},
			"as a caller":                {false, saas, "the-key-of-the-saas"},
		} {
			if c.forward && !handles {
				continue
			}
			t.Run(sdk+" "+name, func(t *testing.T) {
				o := startOpenPlatform(t)
				config, port, got := platformConfig(), 0, o.sent
				config.global += c.global
				config.env = append(config.env, "SAAS_KEY=the-key-of-the-saas")
				if c.forward {
					var target string
					port = freePort(t)
					target, got = passOn(t, port)
					config.site = "weixin\nweixin_callback /callback {\nforward " + target + "\n}\n"
				}
				p := o.start(config)
				a := o.application(p, c.secret, merchantID)
				a.Port, a.Deaths = port, true
				is := a.run(t, sdk)
				o.wantNothingReal(answer{body: string(is.Held)})
				if !strings.Contains(string(is.Held), "cwx") {
					t.Errorf("it holds no virtual token: %s", is.Held)
				}
				o.wantPassedOn(got())
				if c.forward {
					o.wantNewestTicket(is.Ticket)
				}
				// One to begin with, and one for each death.
				if n := o.counted("").Fetches; n != 7 {
					t.Errorf("%d component tokens", n)
				}
				if n := o.counted("/authorizers/" + merchantID).Fetches; n != 7 {
					t.Errorf("%d tokens of the merchant's", n)
				}
			})
		}
	}
}

// wantPassedOn fails unless each push came to the application as it was.
func (o *openPlatform) wantPassedOn(got []pushed) {
	o.t.Helper()
	sent := o.sent()
	if len(got) != 5 || len(sent) != len(got) { // two tickets, three authorisations
		o.t.Fatalf("%d of %d pushes came", len(got), len(sent))
	}
	for i, is := range got {
		if is != sent[i] || is.answer != "success" {
			o.t.Errorf("push %d: %+v, got %+v", i, sent[i], is)
		}
	}
}

// wantNewestTicket fails unless a ticket is the one that was pushed last.
func (o *openPlatform) wantNewestTicket(ticket string) {
	o.t.Helper()
	for _, is := range slices.Backward(o.sent()) {
		query, _ := url.ParseQuery(is.query)
		if pushed := pushedTicket(query, []byte(is.body)); pushed != "" {
			if ticket != pushed {
				o.t.Error("the application does not hold the newest ticket")
			}
			return
		}
	}
	o.t.Error("no ticket was pushed")
}

// All SDKs share one component token, and one token for each merchant.
func TestPlatformSDKsShare(t *testing.T) {
	t.Parallel()
	o := startOpenPlatform(t)
	p := o.start(platformConfig())
	o.mustPush()
	var applications sync.WaitGroup
	merchants := make(map[string]string)
	for sdk := range platformSDKs {
		merchant := fmt.Sprintf("wx000000000000010%d", len(merchants))
		merchants[sdk] = merchant
		applications.Go(func() {
			is := o.application(p, "no-secret-at-all", merchant).run(t, sdk)
			o.wantNothingReal(answer{body: string(is.Held)})
		})
	}
	applications.Wait()
	if n := o.counted("").Fetches; n != 1 {
		t.Errorf("%d component tokens", n)
	}
	for sdk, merchant := range merchants {
		if is := o.counted("/authorizers/" + merchant); is.Fetches != 1 || is.Calls < 2 {
			t.Errorf("%s: %+v", sdk, is)
		}
	}
}

// A merchant is an account like any other: SDKs that know nothing of platforms call
// it with its appid, and see none of its tokens die.
func TestMerchantSDKs(t *testing.T) {
	t.Parallel()
	for _, sdk := range []string{"co-wechat-api", "wechat-api", "node-easywechat", "silenceper"} {
		t.Run(sdk, func(t *testing.T) {
			o := startOpenPlatform(t, merchantID)
			c := platformConfig()
			c.global += "caller shop {\nkey {env.SHOP_KEY}\naccounts isv:" + merchantID + "\n}\n"
			c.env = append(c.env, "SHOP_KEY=the-key-of-the-shop")
			p := o.start(c)
			o.mustPush()
			cmd := sdkCommand(t, sdk)
			kill := o.URL + "/sandbox/platforms/" + componentID + "/authorizers/" + merchantID + "/revoke"
			cmd.Args = append(cmd.Args, p.url, merchantID, "the-key-of-the-shop", kill)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if is := o.counted("/authorizers/" + merchantID); is.Fetches < 3 || is.Rejected < 2 {
				t.Errorf("the tokens did not die: %+v", is)
			}
			if is := o.counted(""); is.Fetches != 1 {
				t.Errorf("%+v", is)
			}
		})
	}
}
