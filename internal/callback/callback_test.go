package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

const (
	appID      = "wx00000000000000c1"
	merchant   = "wx0000000000000002"
	pushToken  = "token-of-the-pushes"
	encodedKey = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	ticket     = "ticket@@@secret-of-the-ticket"
)

// fakePlatform notes what it is told.
type fakePlatform struct {
	mu   sync.Mutex
	told []string
	err  error
	held chan struct{} // what the store waits for, if it is not nil
}

func (p *fakePlatform) note(ctx context.Context, text string) error {
	if p.held != nil {
		select {
		case <-p.held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, text)
	return p.err
}

func (p *fakePlatform) Ticket(ctx context.Context, ticket string, created time.Time) error {
	return p.note(ctx, fmt.Sprint("ticket ", ticket, created.Unix()))
}

func (p *fakePlatform) Authorized(ctx context.Context, appID string, at time.Time) error {
	return p.note(ctx, fmt.Sprint("authorized ", appID, at.Unix()))
}

func (p *fakePlatform) Unauthorized(ctx context.Context, appID string, at time.Time) error {
	return p.note(ctx, fmt.Sprint("unauthorized ", appID, at.Unix()))
}

func key(t *testing.T) push.Key {
	t.Helper()
	k, err := push.ParseKey(encodedKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func event(infoType, more string) string {
	return "<xml><AppId><![CDATA[" + appID + "]]></AppId><CreateTime>1700000000</CreateTime><InfoType><![CDATA[" + infoType + "]]></InfoType>" + more + "</xml>"
}

var ticketEvent = event(push.ComponentVerifyTicket, "<ComponentVerifyTicket>"+ticket+"</ComponentVerifyTicket>")

func merchantEvent(infoType string) string {
	return event(infoType, "<AuthorizerAppid>"+merchant+"</AuthorizerAppid>")
}

// newPush returns a push as WeChat sends it.
func newPush(t *testing.T, message string) *http.Request {
	t.Helper()
	encrypted := push.Encrypt(key(t), appID, message)
	body := "<xml>\n    <AppId><![CDATA[" + appID + "]]></AppId>\n    <Encrypt><![CDATA[" + encrypted + "]]></Encrypt>\n</xml>\n"
	query := "signature=x&timestamp=1700000000&nonce=a%20b&encrypt_type=aes&msg_signature=" + push.Sign(pushToken, "1700000000", "a b", encrypted)
	req := httptest.NewRequest(http.MethodPost, "/callback?"+query, strings.NewReader(body))
	req.Header.Set("Content-Type", "text/xml")
	req.Header.Set("User-Agent", "Mozilla/4.0")
	req.Header.Set("Cookie", "of=the client")
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	req.Header.Set("Connection", "X-Hop")
	req.Header.Set("X-Hop", "1")
	return req
}

func newHandler(t *testing.T, p Platform, forward string) (*Handler, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	c := Config{Name: "isv", Receiver: push.NewReceiver(appID, pushToken, key(t)), Platform: p, Logger: zap.New(core)}
	if forward != "" {
		var err error
		if c.Forward, err = url.Parse(forward); err != nil {
			t.Fatal(err)
		}
	}
	h := New(c)
	t.Cleanup(h.Close)
	return h, logs
}

func serve(h *Handler, req *http.Request) (status int, body string, header http.Header) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String(), w.Header()
}

func TestWhatIsPushed(t *testing.T) {
	for _, c := range []struct{ name, message, told string }{
		{"a ticket", ticketEvent, "ticket " + ticket + "1700000000"},
		{"authorized", merchantEvent(push.Authorized), "authorized " + merchant + "1700000000"},
		{"updateauthorized", merchantEvent(push.UpdateAuthorized), "authorized " + merchant + "1700000000"},
		{"unauthorized", merchantEvent(push.Unauthorized), "unauthorized " + merchant + "1700000000"},
		{"what WeChat adds", merchantEvent("notify_third_fasteregister"), ""},
		{"an account's message", "<xml><ToUserName>gh_1</ToUserName><MsgType>text</MsgType></xml>", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := new(fakePlatform)
			h, logs := newHandler(t, p, "")
			for range 2 { // WeChat may push anything again
				status, body, header := serve(h, newPush(t, c.message))
				if status != http.StatusOK || body != "success" || header.Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("%d %q %v", status, body, header)
				}
			}
			if want := strings.TrimSpace(strings.Repeat(c.told+"\n", 2)); strings.Join(p.told, "\n") != want {
				t.Errorf("told %q", p.told)
			}
			if lines := logs.FilterMessage("push received").All(); len(lines) != 2 || lines[0].Level != zapcore.InfoLevel {
				t.Errorf("%v", lines)
			}
			checkLogs(t, logs)
		})
	}
}

// checkLogs looks for what no log line may have.
func checkLogs(t *testing.T, logs *observer.ObservedLogs) {
	t.Helper()
	for _, line := range logs.All() {
		text := fmt.Sprint(line.Message, line.ContextMap())
		for _, secret := range []string{ticket, pushToken, encodedKey, "Encrypt"} {
			if strings.Contains(text, secret) {
				t.Errorf("the log has %s: %s", secret, text)
			}
		}
	}
}

func TestWhatIsNoPush(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*http.Request)
		status   int
		mentions string
	}{
		{"no signature", func(r *http.Request) { r.URL.RawQuery = "" }, 403, "push_token"},
		{"another signature", func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "timestamp=17", "timestamp=18", 1)
		}, 403, "push_token"},
		{"an empty body", func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, 403, ""},
		{"no XML", func(r *http.Request) { setBody(r, `{"Encrypt":"x"}`) }, 403, ""},
		{"too large", func(r *http.Request) { setBody(r, strings.Repeat("x", push.MaxBody+1)) }, 413, ""},
		{"too large and chunked", func(r *http.Request) {
			setBody(r, strings.Repeat("x", push.MaxBody+1))
			r.ContentLength = -1
		}, 413, ""},
		{"larger than Caddy lets through", func(r *http.Request) {
			r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 10)
		}, 413, ""},
		{"broken off", func(r *http.Request) { r.Body = io.NopCloser(io.MultiReader(r.Body, brokenReader{})) }, 400, ""},
		{"the console's question", func(r *http.Request) {
			r.Method, r.Body, r.URL.RawQuery = http.MethodGet, http.NoBody, r.URL.RawQuery+"&echostr=1"
		}, 403, "POST"},
		{"another method", func(r *http.Request) { r.Method = http.MethodPut }, 403, "POST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, app := new(fakePlatform), newApplication(t, nil)
			h, logs := newHandler(t, p, app.URL)
			for range 3 {
				req := newPush(t, ticketEvent)
				c.change(req)
				if status, body, _ := serve(h, req); status != c.status || strings.Contains(body, "success") {
					t.Errorf("%d %q", status, body)
				}
			}
			if p.told != nil || len(app.got()) > 0 {
				t.Errorf("told %q, forwarded %d", p.told, len(app.got()))
			}
			lines := logs.All()
			if len(lines) != 1 || lines[0].Level != zapcore.WarnLevel || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), c.mentions) {
				t.Errorf("%v", lines)
			}
			checkLogs(t, logs)
		})
	}
}

func setBody(r *http.Request, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A push for another platform is refused, wherever its appid stands.
func TestAnotherPlatform(t *testing.T) {
	h, logs := newHandler(t, new(fakePlatform), "")
	encrypted := push.Encrypt(key(t), "wx00000000000000c2", ticketEvent)
	req := httptest.NewRequest(http.MethodPost, "/?timestamp=1&nonce=2&msg_signature="+push.Sign(pushToken, "1", "2", encrypted),
		strings.NewReader("<xml><Encrypt>"+encrypted+"</Encrypt></xml>"))
	if status, _, _ := serve(h, req); status != http.StatusForbidden {
		t.Errorf("%d", status)
	}
	if text := fmt.Sprint(logs.All()[0].ContextMap()); !strings.Contains(text, "authorisation-event URL") {
		t.Error(text)
	}
}

// Without the store nothing is acknowledged, and nothing goes to the application:
// it would get it twice.
func TestStoreFails(t *testing.T) {
	for _, message := range []string{ticketEvent, merchantEvent(push.Authorized), merchantEvent(push.Unauthorized)} {
		app := newApplication(t, nil)
		h, logs := newHandler(t, &fakePlatform{err: errors.New("the store is down")}, app.URL)
		if status, body, _ := serve(h, newPush(t, message)); status != http.StatusServiceUnavailable || strings.Contains(body, "success") {
			t.Errorf("%d %q", status, body)
		}
		if len(app.got()) > 0 {
			t.Error("forwarded")
		}
		checkLogs(t, logs)
	}
}

// application is one that gets pushes.
type application struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*received
}

type received struct {
	*http.Request
	body string
}

func newApplication(t *testing.T, answer http.HandlerFunc) *application {
	t.Helper()
	a := new(application)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.requests = append(a.requests, &received{r, string(body)})
		a.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) got() []*received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

func TestForward(t *testing.T) {
	app := newApplication(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-of-the-application")
		w.Header().Set("Set-Cookie", "of=the application")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "its own answer")
	})
	h, _ := newHandler(t, new(fakePlatform), app.URL+"/wechat%2Fevents")
	for _, message := range []string{merchantEvent(push.Unauthorized), merchantEvent("notify_new"), "<xml><ToUserName>gh_1</ToUserName></xml>"} {
		req := newPush(t, message)
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		for range 2 {
			again := req.Clone(t.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			status, answer, header := serve(h, again)
			if status != http.StatusAccepted || answer != "its own answer" || header.Get("Content-Type") != "application/x-of-the-application" || header.Get("Set-Cookie") != "" {
				t.Errorf("%d %q %v", status, answer, header)
			}
		}
		got := app.got()[len(app.got())-1]
		if got.RequestURI != "/wechat%2Fevents?"+req.URL.RawQuery || got.body != string(body) || got.ContentLength != int64(len(body)) {
			t.Errorf("%s %q", got.RequestURI, got.body)
		}
		want := http.Header{"Content-Type": {"text/xml"}, "User-Agent": {"Mozilla/4.0"}, "Content-Length": got.Header["Content-Length"], "Connection": {"close"}}
		for name := range got.Header {
			if got.Header.Get(name) != want.Get(name) {
				t.Errorf("%s: %s", name, got.Header.Get(name))
			}
		}
	}
	if len(app.got()) != 6 {
		t.Errorf("forwarded %d times", len(app.got()))
	}
}

// Whatever becomes of the application, a ticket that is in the store is
// acknowledged, and of other events WeChat hears that.
func TestApplicationThatFails(t *testing.T) {
	hijacked := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(conn, answer)
			conn.Close()
		}
	}
	down := httptest.NewServer(nil)
	down.Close()
	for _, c := range []struct {
		name, url string
		answer    http.HandlerFunc
		status    int
	}{
		{"down", down.URL, nil, 502},
		{"no HTTP", "", hijacked("what\r\n\r\n"), 502},
		{"closes", "", hijacked(""), 502},
		{"breaks off", "", hijacked("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsucc"), 502},
		{"too large", "", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxAnswer+1)) }, 502},
		{"an error", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 500},
		{"nothing to say", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204},
		{"elsewhere", "", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", http.StatusFound) }, 302},
		{"with information first", "", hijacked("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"), 201},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := new(fakePlatform)
			if c.url == "" {
				c.url = newApplication(t, c.answer).URL
			}
			h, logs := newHandler(t, p, c.url)
			status, body, header := serve(h, newPush(t, ticketEvent))
			if status != 200 || body != "success" || header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("a ticket: %d %q", status, body)
			}
			if status, _, _ := serve(h, newPush(t, merchantEvent(push.Authorized))); status != c.status {
				t.Errorf("another event: %d", status)
			}
			if len(p.told) != 2 {
				t.Errorf("%q", p.told)
			}
			if warnings := logs.FilterLevelExact(zapcore.WarnLevel).Len(); (c.status == 502) != (warnings == 1) {
				t.Errorf("%d warnings", warnings)
			}
			checkLogs(t, logs)
		})
	}
}

// An application whose URL is the callback itself does not have it call itself
// for ever.
func TestForwardToItself(t *testing.T) {
	p := new(fakePlatform)
	var h *Handler
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	defer here.Close()
	h, _ = newHandler(t, p, here.URL)
	if status, _, _ := serve(h, newPush(t, merchantEvent(push.Authorized))); status != http.StatusBadGateway {
		t.Errorf("%d", status)
	}
	if status, body, _ := serve(h, newPush(t, ticketEvent)); status != http.StatusOK || body != "success" {
		t.Errorf("%d %q", status, body)
	}
	if n := len(p.told); n > 2*(maxSame+1) {
		t.Errorf("it was told %d times", n)
	}
}
