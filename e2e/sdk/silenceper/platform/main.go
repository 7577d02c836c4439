// What an application of a third-party platform does with silenceper/wechat, as it
// is but for its URI modifier: the same as e2e/sdk/platform.js, with the same
// options.
//
// It exits with 0 if the SDK has seen no failure, and prints what it holds at its
// end: the ticket, and everything else.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/officialaccount/message"
	"github.com/silenceper/wechat/v2/openplatform"
	"github.com/silenceper/wechat/v2/openplatform/config"
	platform "github.com/silenceper/wechat/v2/openplatform/context"
	"github.com/silenceper/wechat/v2/util"
	log "github.com/sirupsen/logrus"
)

func main() {
	var a application
	err := json.Unmarshal([]byte(os.Args[1]), &a.options)
	if err == nil {
		err = a.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	BaseURL  string
	AppID    string
	Secret   string
	Token    string
	AESKey   string
	Merchant string
	Control  string
	Port     int
	Deaths   bool
}

type application struct {
	options
	platform *openplatform.OpenPlatform
	cache    *notingCache
	logins   int

	mu       sync.Mutex
	ticket   string
	code     string
	redeemed *platform.AuthBaseInfo
	answers  []any
}

func (a *application) run() error {
	log.SetLevel(log.InfoLevel) // it would print every push, decrypted
	util.SetURIModifier(func(uri string) string {
		return strings.Replace(uri, "https://api.weixin.qq.com", a.BaseURL, 1)
	})
	a.cache = newNotingCache()
	a.platform = wechat.NewWechat().GetOpenPlatform(&config.Config{
		AppID: a.AppID, AppSecret: a.Secret, Token: a.Token, EncodingAESKey: a.AESKey, Cache: a.cache,
	})
	if a.Port != 0 {
		go func() { _ = http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", a.Port), http.HandlerFunc(a.onPush)) }()
	} else if _, err := a.platform.SetComponentAccessToken(context.Background(), "kept by the proxy"); err != nil {
		return err
	}
	use := a.useOnce
	if a.Deaths {
		use = a.useWithDeaths
	}
	if err := errors.Join(a.push(), use()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"ticket": a.ticket, "held": []any{a.answers, a.cache.noted()}})
}

// onPush is what the SDK's documentation has.
func (a *application) onPush(rw http.ResponseWriter, req *http.Request) {
	var err error
	server := a.platform.GetServer(req, rw)
	server.SetMessageHandler(func(msg *message.MixMessage) *message.Reply {
		err = a.handle(msg)
		return nil
	})
	if err = errors.Join(server.Serve(), err); err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = rw.Write([]byte("success"))
}

func (a *application) handle(msg *message.MixMessage) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch msg.InfoType {
	case message.InfoTypeVerifyTicket:
		a.ticket = msg.ComponentVerifyTicket
		_, err = a.platform.SetComponentAccessToken(context.Background(), a.ticket)
	case message.InfoTypeAuthorized:
		a.code = msg.AuthorizationCode
		a.redeemed, err = a.platform.QueryAuthCode(a.code)
	case message.InfoTypeUpdateAuthorized:
		a.code = msg.AuthorizationCode
	}
	return err
}

// control tells the sandbox what to do.
func (a *application) control(action, body string, into any) error {
	res, err := http.Post(a.Control+action, "application/json", bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", action, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

func (a *application) do(actions ...string) error {
	for _, action := range actions {
		if err := a.control(action, "", new(any)); err != nil {
			return err
		}
	}
	return nil
}

func (a *application) push() error {
	var is struct{ Taken bool }
	err := a.control("/push", "", &is)
	if err == nil && !is.Taken {
		err = errors.New("the ticket was not taken")
	}
	return err
}

// authorize has the merchant authorise. The platform's token dies before the code
// is redeemed, which is good for once.
func (a *application) authorize(death string) error {
	var is struct {
		Code   string `json:"authorization_code"`
		Pushed struct{ Taken bool }
	}
	err := a.control("/authorize", fmt.Sprintf(`{"appid":%q}`, a.Merchant), &is)
	if err == nil && death != "" {
		err = a.do(death)
	}
	if err != nil {
		return err
	}
	if !is.Pushed.Taken || a.Port != 0 && a.pushedCode() != is.Code {
		return errors.New("the event of the authorisation was not understood")
	}
	info, err := a.redeem(is.Code)
	if err != nil {
		return err
	}
	a.note(info)
	if info.Appid != a.Merchant {
		return fmt.Errorf("%s has authorised", info.Appid)
	}
	// The SDK keeps nothing of that.
	token, err := a.platform.RefreshAuthrToken(a.Merchant, info.RefreshToken)
	a.note(token)
	return err
}

func (a *application) pushedCode() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.code
}

// redeem redeems a code, unless that was done with the push.
func (a *application) redeem(code string) (*platform.AuthBaseInfo, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if info := a.redeemed; info != nil {
		a.redeemed = nil
		return info, nil
	}
	return a.platform.QueryAuthCode(code)
}

func (a *application) note(answer any) { a.answers = append(a.answers, answer) }

func (a *application) useOnce() error { return errors.Join(a.authorize(""), a.useAll()) }

func (a *application) useWithDeaths() error {
	if err := errors.Join(a.authorize(""), a.authorize("/revoke"), a.authorize("/expire")); err != nil {
		return err
	}
	merchant := "/authorizers/" + a.Merchant
	for _, death := range []string{merchant + "/revoke", merchant + "/expire", "/revoke", "/expire"} {
		if err := errors.Join(a.do(death), a.useAll()); err != nil {
			return fmt.Errorf("after %s: %w", death, err)
		}
	}
	if err := errors.Join(a.do("/rotate_tickets"), a.push(), a.do("/revoke"), a.useAll()); err != nil {
		return fmt.Errorf("with the next ticket: %w", err)
	}
	// All at once, with neither token.
	if err := errors.Join(a.do("/revoke", merchant+"/revoke"), a.usersAtOnce(20)); err != nil {
		return fmt.Errorf("at once: %w", err)
	}
	// The refresh token that everybody has kept is no longer the merchant's.
	return errors.Join(a.do(merchant+"/rotate_refresh_token", merchant+"/expire"), a.useAll())
}

func (a *application) usersAtOnce(n int) error {
	errs := make([]error, n)
	var calls sync.WaitGroup
	for i := range errs {
		calls.Go(func() { errs[i] = a.users() })
	}
	calls.Wait()
	return errors.Join(errs...)
}

func (a *application) useAll() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"preAuthCode", a.preAuthCode},
		{"info", a.info},
		{"users", a.users},
		{"users with a token that the SDK has fetched itself", a.usersWithAnother},
		{"ticket", a.jsTicket},
		{"login", a.login},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// preAuthCode wants a code: the SDK does not look at errors here.
func (a *application) preAuthCode() error {
	code, err := a.platform.GetPreCode()
	if err == nil && code == "" {
		err = errors.New("no code")
	}
	return err
}

// info likewise.
func (a *application) info() error {
	info, auth, err := a.platform.GetAuthrInfo(a.Merchant)
	a.note(auth)
	if err == nil && (info == nil || auth == nil || auth.Appid != a.Merchant) {
		err = errors.New("nothing about the merchant")
	}
	return err
}

func (a *application) users() error {
	users, err := a.platform.GetOfficialAccount(a.Merchant).GetUser().ListUserOpenIDs()
	if err == nil && users.Total == 0 {
		err = errors.New("no users")
	}
	return err
}

func (a *application) usersWithAnother() error {
	if err := a.cache.Delete("authorizer_access_token_" + a.Merchant); err != nil {
		return err
	}
	return a.users()
}

func (a *application) jsTicket() error {
	_, err := a.platform.GetOfficialAccount(a.Merchant).PlatformJs().GetConfig("https://shop.example.com/", a.Merchant)
	return err
}

func (a *application) login() error {
	token, err := a.platform.GetComponentAccessToken()
	if err != nil {
		return err
	}
	a.logins++
	login, err := a.platform.GetOfficialAccount(a.Merchant).PlatformOauth().GetUserAccessToken(fmt.Sprint(a.Merchant, a.logins), a.Merchant, token)
	if err == nil && login.OpenID == "" {
		err = errors.New("no openid")
	}
	return err
}
