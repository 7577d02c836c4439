package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// What is pushed is known at once, at every process, and after a crash.
func TestCallback(t *testing.T) {
	o := startOpenPlatform(t)
	c := platformConfig()
	c.dataDir = t.TempDir()
	p := o.start(c)
	if s := p.platform(); !s.Ticket.ReceivedAt.IsZero() || s.State != "empty" || s.Name != "isv" || s.AppID != componentID || s.Kind != "platform" {
		t.Errorf("%+v", s)
	}
	o.mustPush()
	s := p.platform()
	if time.Since(s.Ticket.ReceivedAt) > time.Minute || s.Ticket.ExpiresAt.Sub(s.Ticket.ReceivedAt) != 12*time.Hour || s.State != "empty" || s.Fingerprint != "" {
		t.Errorf("%+v", s)
	}
	if last := o.lastPush(); last.status != http.StatusOK || last.answer != "success" {
		t.Errorf("%+v", last)
	}
	// The same push again.
	last := o.lastPush()
	if status, answer := deliver(p.url+"/callback", last.query, []byte(last.body)); status != http.StatusOK || answer != "success" {
		t.Errorf("%d %q", status, answer)
	}
	for range 2 {
		if _, is := o.authorize(merchantID); !is.Taken {
			t.Errorf("%+v", is)
		}
	}
	if is := o.unauthorize(merchantID); !is.Taken {
		t.Errorf("%+v", is)
	}
	for _, kind := range []string{"component_verify_ticket", "authorized", "updateauthorized", "unauthorized"} {
		if !p.logs.contains(`"type":"` + kind + `"`) {
			t.Errorf("%s is not logged", kind)
		}
	}
	other := startCaddy(t, o.weChat, c)
	if got := other.platform().Ticket; got != s.Ticket {
		t.Errorf("at another process: %+v", got)
	}
	p.kill()
	other.kill()
	if got := startCaddy(t, o.weChat, c).platform().Ticket; got != s.Ticket {
		t.Errorf("after a crash: %+v", got)
	}
}

// pushOf returns a push of an event of the platform's.
func pushOf(t *testing.T, message string) (query, body string) {
	t.Helper()
	key, err := push.ParseKey(pushAESKey)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := push.Encrypt(key, componentID, message)
	return "timestamp=1&nonce=n%20n&encrypt_type=aes&msg_signature=" + push.Sign(pushToken, "1", "n n", encrypted),
		"<xml><AppId>" + componentID + "</AppId><Encrypt>" + encrypted + "</Encrypt></xml>"
}

func eventOf(infoType, more string) string {
	return fmt.Sprintf("<xml><AppId>%s</AppId><CreateTime>%d</CreateTime><InfoType>%s</InfoType>%s</xml>", componentID, time.Now().Unix(), infoType, more)
}

// What is no push of WeChat's is refused, and goes nowhere. Neither a caller's key
// nor an address is asked for.
func TestCallbackRefuses(t *testing.T) {
	o := startOpenPlatform(t)
	app := startApplication(t, nil)
	c := platformConfig()
	c.global += "caller app {\nkey {env.APP_KEY}\n}\n"
	c.site = "weixin {\nallow_ips 192.0.2.1\n}\nweixin_callback /callback {\nforward " + app.URL + "\n}\n@small path /small\nrequest_body @small {\nmax_size 10\n}\nweixin_callback /small\n"
	p := o.start(c)
	o.mustPush()
	before := len(app.got())
	last := o.lastPush()
	large := strings.Repeat("x", push.MaxBody+1)
	for name, c := range map[string]struct {
		path, query, body string
		chunked           bool
		status            int
	}{
		"no signature":         {"/callback", "", last.body, false, http.StatusForbidden},
		"another's signature":  {"/callback", strings.Replace(last.query, "nonce=", "nonce=0", 1), last.body, false, http.StatusForbidden},
		"another body":         {"/callback", last.query, strings.Replace(last.body, "<Encrypt><![CDATA[", "<Encrypt><![CDATA[A", 1), false, http.StatusForbidden},
		"no body":              {"/callback", last.query, "", false, http.StatusForbidden},
		"too large":            {"/callback", last.query, large, false, http.StatusRequestEntityTooLarge},
		"too large in chunks":  {"/callback", last.query, large, true, http.StatusRequestEntityTooLarge},
		"larger than Caddy's":  {"/small", last.query, last.body, false, http.StatusRequestEntityTooLarge},
		"larger than its, too": {"/small", last.query, last.body, true, http.StatusRequestEntityTooLarge},
	} {
		body := io.Reader(strings.NewReader(c.body))
		if c.chunked {
			body = io.MultiReader(body)
		}
		if a := do(t, newRequest(t, http.MethodPost, p.url+c.path+"?"+c.query, body)); a.status != c.status || strings.Contains(a.body, "success") {
			t.Errorf("%s: %s", name, a)
		}
	}
	if a := get(t, p.url+"/callback?echostr=1&"+last.query); a.status != http.StatusForbidden {
		t.Errorf("GET: %s", a)
	}
	if n := len(app.got()) - before; n > 0 {
		t.Errorf("%d were passed on", n)
	}
	if lines := p.logged("push refused"); len(lines) == 0 || len(lines) > 8 || lines[0]["level"] != "warn" {
		t.Errorf("%v", lines)
	}
}

// Without the store nothing is acknowledged; WeChat's next push is.
func TestCallbackWithoutStore(t *testing.T) {
	o := startOpenPlatform(t)
	redis := startRedis(t)
	app := startApplication(t, nil)
	c := platformConfig()
	c.global += redis.option() + "\n"
	c.site = "weixin_callback /callback {\nforward " + app.URL + "\n}\n"
	p := o.start(c)
	o.mustPush()
	redis.kill()
	if is := o.pushTicket(); is.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", is)
	}
	if _, is := o.authorize(merchantID); is.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", is)
	}
	if n := len(app.got()); n != 1 {
		t.Errorf("%d were passed on", n)
	}
	if len(p.logged("a push is not acknowledged, because the store does not take what it says: WeChat pushes it again")) == 0 {
		t.Error("the log does not have it")
	}
	redis.start()
	if !eventually(func() bool { return o.pushTicket().Taken }) {
		t.Error("with the store again it is not taken")
	}
}

// applicationServer is an application that gets pushes.
type applicationServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []applicationPush
}

type applicationPush struct {
	uri, body string
	header    http.Header
}

func startApplication(t *testing.T, answer http.HandlerFunc) *applicationServer {
	t.Helper()
	a := new(applicationServer)
	a.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		a.mu.Lock()
		a.requests = append(a.requests, applicationPush{req.RequestURI, string(body), req.Header})
		a.mu.Unlock()
		if answer != nil {
			answer(rw, req)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *applicationServer) got() []applicationPush {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// The application gets every push as it came, and its answer is the answer.
func TestCallbackForwards(t *testing.T) {
	o := startOpenPlatform(t)
	app := startApplication(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/of-the-application")
		rw.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(rw, "<xml>its own</xml>")
	})
	c := platformConfig()
	c.site = "weixin_callback /callback {\nforward " + app.URL + "/events\n}\n"
	p := o.start(c)
	o.mustPush() // whatever it says
	if got, want := app.got()[0], o.lastPush(); got.uri != "/events?"+want.query || got.body != want.body {
		t.Errorf("%+v", got)
	}
	for _, message := range []string{
		eventOf("unauthorized", "<AuthorizerAppid>"+merchantID+"</AuthorizerAppid>"),
		eventOf("notify_third_fasteregister", "<appid>wx1</appid>"),
		"<xml><ToUserName>gh_1</ToUserName><CreateTime>1</CreateTime><MsgType>text</MsgType></xml>",
	} {
		query, body := pushOf(t, message)
		for range 2 {
			req := newRequest(t, http.MethodPost, p.url+"/callback?"+query, strings.NewReader(body))
			req.Header.Set("Content-Type", "text/xml")
			req.Header.Set("Cookie", "a=b")
			a := do(t, req)
			if a.status != http.StatusAccepted || a.body != "<xml>its own</xml>" || a.header.Get("Content-Type") != "application/of-the-application" {
				t.Errorf("%s %v", a, a.header)
			}
		}
		got := app.got()[len(app.got())-1]
		if got.uri != "/events?"+query || got.body != body || got.header.Get("Content-Type") != "text/xml" {
			t.Errorf("%+v", got)
		}
		for name := range got.header {
			if !strings.Contains(" Content-Type Content-Length User-Agent Connection ", " "+name+" ") {
				t.Errorf("the application gets %s: %s", name, got.header.Get(name))
			}
		}
	}
	if n := len(app.got()); n != 7 {
		t.Errorf("%d were passed on", n)
	}
	// A message of an account's in JSON, as the console may have it.
	query, body := pushOf(t, `{"ToUserName":"gh_1","CreateTime":1,"MsgType":"text"}`)
	_, encrypted, _ := strings.Cut(body, "<Encrypt>")
	encrypted, _, _ = strings.Cut(encrypted, "<")
	body = `{"ToUserName":"gh_1","Encrypt":"` + encrypted + `"}`
	if a := post(t, p.url+"/callback?"+query, body); a.status != http.StatusAccepted {
		t.Errorf("%s", a)
	}
	if got := app.got()[len(app.got())-1]; got.body != body {
		t.Errorf("%+v", got)
	}
}

// An application that is down or slow costs no ticket, and of other events WeChat
// hears that within its 5 seconds.
func TestCallbackOfAFailingApplication(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	trickling := startApplication(t, func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		for range 100 {
			if _, err := io.WriteString(rw, "s"); err != nil || http.NewResponseController(rw).Flush() != nil {
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-req.Context().Done():
				return
			}
		}
	})
	o := startOpenPlatform(t)
	var tests sync.WaitGroup
	for name, target := range map[string]string{
		"down": fmt.Sprintf("http://127.0.0.1:%d/", freePort(t)), "silent": "http://" + silent.Addr().String(), "trickling": trickling.URL,
	} {
		c := platformConfig()
		c.site = "weixin_callback /callback {\nforward " + target + "\n}\n"
		p := startCaddy(t, o.weChat, c)
		for infoType, want := range map[string]int{"component_verify_ticket": http.StatusOK, "unauthorized": http.StatusBadGateway} {
			query, body := pushOf(t, eventOf(infoType, "<ComponentVerifyTicket>ticket@@@x</ComponentVerifyTicket><AuthorizerAppid>"+merchantID+"</AuthorizerAppid>"))
			tests.Go(func() {
				start := time.Now()
				status, answer := deliver(p.url+"/callback", query, []byte(body))
				if took := time.Since(start); status != want || (answer == "success") != (want == http.StatusOK) || took > 5*time.Second {
					t.Errorf("%s, %s: %d %q after %v", name, infoType, status, answer, took)
				}
			})
		}
		tests.Wait()
		if s := p.platform(); s.Ticket.ReceivedAt.IsZero() {
			t.Errorf("%s: there is no ticket", name)
		}
	}
}
