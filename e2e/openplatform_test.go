package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/push"
	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const merchantID = "wx0000000000000002"

// openPlatform is the sandbox with a third-party platform. What it pushes goes
// through a relay, which knows where the proxies are.
type openPlatform struct {
	*weChat
	relay *httptest.Server

	mu        sync.Mutex
	callbacks []string // URLs, which get pushes in turn
	pushes    []pushed
}

// pushed is a push on its way.
type pushed struct {
	query, body string
	status      int // that it was answered with
	answer      string
}

// startOpenPlatform starts one that some accounts have authorised.
func startOpenPlatform(t *testing.T, authorizers ...string) *openPlatform {
	t.Helper()
	o := new(openPlatform)
	o.relay = httptest.NewServer(o)
	t.Cleanup(o.relay.Close)
	o.weChat = startWeChatWith(t, sandbox.Config{Accounts: []sandbox.Account{{AppID: appID, AppSecret: appSecret}}, Components: []sandbox.Component{{
		AppID: componentID, Secret: componentSecret, PushToken: pushToken, PushAESKey: pushAESKey,
		Callback: o.relay.URL + "/callback", Authorizers: authorizers,
	}}})
	o.secrets = slices.Clone(componentSecrets)
	o.checkable = true
	o.answer(o.noteTokens)
	return o
}

// platformConfig is that of a proxy with the platform.
func platformConfig(options ...string) config {
	return config{global: platformNamed("isv", options...), env: componentEnv, site: "weixin\nweixin_callback /callback\n"}
}

// start starts a proxy that gets the pushes.
func (o *openPlatform) start(c config) *caddy {
	o.t.Helper()
	p := startCaddy(o.t, o.weChat, c)
	o.pushTo(p)
	return p
}

// pushTo has proxies get the pushes from now on, in turn.
func (o *openPlatform) pushTo(nodes ...*caddy) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.callbacks = nil
	for _, p := range nodes {
		o.callbacks = append(o.callbacks, p.url+"/callback")
	}
}

// ServeHTTP passes a push on.
func (o *openPlatform) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	o.mu.Lock()
	target := ""
	if len(o.callbacks) > 0 {
		target = o.callbacks[len(o.pushes)%len(o.callbacks)]
	}
	o.pushes = append(o.pushes, pushed{query: req.URL.RawQuery, body: string(body)})
	at := len(o.pushes) - 1
	o.mu.Unlock()
	o.noteTicket(req, body)
	status, answer := deliver(target, req.URL.RawQuery, body)
	o.mu.Lock()
	o.pushes[at].status, o.pushes[at].answer = status, answer
	o.mu.Unlock()
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, answer)
}

// deliver sends a push, as WeChat does.
func deliver(target, query string, body []byte) (status int, answer string) {
	req, err := http.NewRequest(http.MethodPost, target+"?"+query, strings.NewReader(string(body)))
	if err != nil {
		return http.StatusBadGateway, err.Error()
	}
	req.Header.Set("Content-Type", "text/xml")
	res, err := client.Do(req)
	if err != nil {
		return http.StatusBadGateway, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func (o *openPlatform) note(secrets ...string) {
	o.weChat.mu.Lock()
	defer o.weChat.mu.Unlock()
	o.secrets = append(o.secrets, secrets...)
}

// noteTicket has the logs be searched for a ticket.
func (o *openPlatform) noteTicket(req *http.Request, body []byte) {
	if ticket := pushedTicket(req.URL.Query(), body); ticket != "" {
		o.note(ticket)
	}
}

// pushedTicket returns the ticket of a push, if it has one.
func pushedTicket(query url.Values, body []byte) string {
	key, _ := push.ParseKey(pushAESKey)
	event, err := push.NewReceiver(componentID, pushToken, key).Open(query, body)
	if err != nil {
		return ""
	}
	return event.Ticket
}

// tokenFields are those of WeChat's answers that have something secret.
var tokenFields = regexp.MustCompile(`"(?:component_access_token|authorizer_access_token|authorizer_refresh_token|refresh_token)":"([^"]+)"`)

// noteTokens has the logs be searched for the tokens that the sandbox hands out.
func (o *openPlatform) noteTokens(rw http.ResponseWriter, req *http.Request) {
	rec := httptest.NewRecorder()
	o.sandbox.ServeHTTP(rec, req)
	for _, m := range tokenFields.FindAllStringSubmatch(rec.Body.String(), -1) {
		o.note(m[1])
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(rec.Body.Bytes())
}

// wantNothingReal fails where an answer has anything that the sandbox has handed
// out.
func (o *openPlatform) wantNothingReal(a answer) {
	o.t.Helper()
	o.weChat.mu.Lock()
	defer o.weChat.mu.Unlock()
	shown := a.body
	for _, secret := range o.secrets {
		shown = strings.ReplaceAll(shown, secret, "SECRET")
	}
	if shown != a.body {
		o.t.Errorf("the answer has something secret: %s", shown)
	}
}

// sent returns all pushes so far.
func (o *openPlatform) sent() []pushed {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.pushes)
}

func (o *openPlatform) lastPush() pushed {
	o.t.Helper()
	pushes := o.sent()
	if len(pushes) == 0 {
		o.t.Fatal("nothing was pushed")
	}
	return pushes[len(pushes)-1]
}

// controlPlatform asks the sandbox, below the platform's path.
func (o *openPlatform) controlPlatform(method, action, body string, into any) {
	o.t.Helper()
	rec := httptest.NewRecorder()
	o.sandbox.ServeHTTP(rec, httptest.NewRequest(method, "/sandbox/platforms/"+componentID+action, strings.NewReader(body)))
	if rec.Code != http.StatusOK {
		o.t.Fatalf("%s %s: %d %s", method, action, rec.Code, rec.Body)
	}
	if into != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			o.t.Fatal(err)
		}
	}
}

// do has the sandbox do something with the platform or an authorizer.
func (o *openPlatform) do(action string) {
	o.t.Helper()
	o.controlPlatform(http.MethodPost, action, "", nil)
}

// takes is what the callback has made of a push.
type takes struct {
	Taken  bool
	Status int
	Answer string
}

// pushTicket pushes a ticket.
func (o *openPlatform) pushTicket() takes {
	o.t.Helper()
	var is takes
	o.controlPlatform(http.MethodPost, "/push", "", &is)
	return is
}

// mustPush pushes a ticket that has to be taken.
func (o *openPlatform) mustPush() {
	o.t.Helper()
	if is := o.pushTicket(); !is.Taken {
		o.t.Fatalf("a ticket was not taken: %+v", is)
	}
}

// authorize has a merchant authorise the platform. It returns the code.
func (o *openPlatform) authorize(merchant string) (code string, is takes) {
	o.t.Helper()
	var result struct {
		Code   string `json:"authorization_code"`
		Pushed takes
	}
	o.controlPlatform(http.MethodPost, "/authorize", `{"appid":"`+merchant+`"}`, &result)
	return result.Code, result.Pushed
}

func (o *openPlatform) unauthorize(merchant string) takes {
	o.t.Helper()
	var result struct{ Pushed takes }
	o.controlPlatform(http.MethodPost, "/unauthorize", `{"appid":"`+merchant+`"}`, &result)
	return result.Pushed
}

// counted is what the sandbox counts of the platform, or of an authorizer.
type counted struct{ Fetches, Calls, Rejected int }

func (o *openPlatform) counted(action string) counted {
	o.t.Helper()
	var is counted
	o.controlPlatform(http.MethodGet, action, "", &is)
	return is
}

// platformStatus is a platform as the admin API shows it.
type platformStatus struct {
	accountStatus
	Kind   string
	Ticket struct {
		ReceivedAt time.Time `json:"received_at"`
		ExpiresAt  time.Time `json:"expires_at"`
	}
	Authorizers struct {
		Known    *int
		InMemory int `json:"in_memory"`
	}
}

func (p *caddy) platform() platformStatus {
	p.t.Helper()
	a := get(p.t, p.admin+"/weixin/platforms/isv")
	var s platformStatus
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || a.status != http.StatusOK {
		p.t.Fatalf("got %s", a)
	}
	return s
}
