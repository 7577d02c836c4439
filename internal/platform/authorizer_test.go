package platform

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// An account that authorised the platform is found in memory, in the store, or by
// asking WeChat, and that costs one question and one token for all processes.
func TestAuthorizerIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		a.push(t, w)
		w.authorize(merchantID)
		a.mustUse(t, w, merchantID)
		b.mustUse(t, w, merchantID)
		a.mustUse(t, w, merchantID)
		startProcess(t, w, st).mustUse(t, w, merchantID)
		wantCalls(t, w, "api_get_authorizer_info", 1)
		wantCalls(t, w, "api_authorizer_token", 1)
		wantCalls(t, w, "api_component_token", 1)

		found, err := a.Authorizer(t.Context(), merchantID)
		if err != nil || found.Name != "isv:"+merchantID || found.Component != a.Component || found.Credentials.Secret != "" {
			t.Errorf("got %+v, %v", found, err)
		}
		if again, _ := a.Authorizer(t.Context(), merchantID); again != found {
			t.Error("it is made again for every request")
		}
		if n := a.authorizers.Len(); n != 1 {
			t.Errorf("%d in memory", n)
		}
		for _, appID := range []string{"wxunknown000000001", "", "../../etc"} {
			if _, err := a.Authorizer(t.Context(), appID); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("%q: %v", appID, err)
			}
		}
		if n := a.authorizers.Len(); n != 1 {
			t.Errorf("unknown ones are in memory: %d", n)
		}
		for key := range st.values {
			if strings.Contains(key, "unknown") {
				t.Errorf("unknown ones are in the store: %s", key)
			}
		}
	})
}

// An authorisation that was saved works without a question, also where the appid
// was withdrawn or unknown before.
func TestSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		for range 3 {
			a.push(t, w)
			if err := a.Save(t.Context(), w.authorize(merchantID)); err != nil {
				t.Fatal(err)
			}
			a.mustUse(t, w, merchantID)
			time.Sleep(time.Second)
			b.mustUse(t, w, merchantID)
			w.withdraw(merchantID)
			if err := b.Unauthorized(t.Context(), merchantID, time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := b.use(t, w, merchantID); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("got %v", err)
			}
			time.Sleep(time.Minute)
		}
		wantCalls(t, w, "api_get_authorizer_info", 0)
		wantCalls(t, w, "api_authorizer_token", 0)
	})
}

// A component token that is refused is cured once, for whoever asks with it.
func TestComponentTokenDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		w.authorize(merchantID)
		w.authorize("wxanother000000001")
		p.mustUse(t, w, merchantID)
		kill := func() { w.change(func(w *fakeWeChat) { w.component = "" }) }
		kill()
		p.mustUse(t, w, "wxanother000000001") // api_get_authorizer_info is refused
		wantCalls(t, w, "api_component_token", 2)
		kill()
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].token = "" })
		p.mustUse(t, w, merchantID) // api_authorizer_token is
		wantCalls(t, w, "api_component_token", 3)

		// Where WeChat gives none, the account says why, and is asked for at once
		// when there is one again.
		kill()
		w.change(func(w *fakeWeChat) { clear(w.tickets); w.merchants[merchantID].token = "" })
		for range 3 {
			err := p.use(t, w, merchantID)
			tokenErr, ok := errors.AsType[*account.TokenError](err)
			if !ok || tokenErr.Errcode != 61006 || !strings.Contains(tokenErr.Error(), "isv:"+merchantID) || tokenErr.Advice(wechat.English) == "" {
				t.Errorf("got %v", err)
			}
		}
		p.push(t, w)
		p.mustUse(t, w, merchantID)
	})
}

// A refresh token that changes with each fetch is in the store before the access
// token is used.
func TestRefreshTokenRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		w.rotates = true
		p := startProcess(t, w, st)
		p.push(t, w)
		if err := p.Save(t.Context(), w.authorize(merchantID)); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			p.mustUse(t, w, merchantID)
			time.Sleep(30 * time.Minute)
		}
		// A process that knows nothing goes on with what is in the store.
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].token = "" })
		startProcess(t, w, st).mustUse(t, w, merchantID)
		wantCalls(t, w, "api_get_authorizer_info", 0)
	})
}

// Lost or refused, a refresh token is read from WeChat, once.
func TestRefreshTokenIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		if err := p.Save(t.Context(), w.authorize(merchantID)); err != nil {
			t.Fatal(err)
		}
		change := func() {
			w.change(func(w *fakeWeChat) {
				w.merchants[merchantID].refresh = w.nextLocked("refreshtoken")
				w.merchants[merchantID].token = ""
			})
		}
		change()
		p.mustUse(t, w, merchantID)
		wantCalls(t, w, "api_get_authorizer_info", 1)
		wantCalls(t, w, "api_authorizer_token", 2)
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].token = "" })
		p.mustUse(t, w, merchantID)
		wantCalls(t, w, "api_get_authorizer_info", 1) // what was read is kept
		wantCalls(t, w, "api_authorizer_token", 3)

		// The store is lost, and so is the process.
		st.change(func(s *memoryStore) { clear(s.values) })
		other := startProcess(t, w, st)
		other.push(t, w)
		other.mustUse(t, w, merchantID)
		wantCalls(t, w, "api_get_authorizer_info", 2)

		// WeChat refuses what it has just told.
		change()
		w.change(func(w *fakeWeChat) { w.errcodes["api_authorizer_token"] = 61023 })
		before := w.count("api_authorizer_token")
		for range 3 {
			err := other.use(t, w, merchantID)
			tokenErr, ok := errors.AsType[*account.TokenError](err)
			if !ok || tokenErr.Errcode != 61023 || tokenErr.Advice(wechat.Chinese) == "" {
				t.Errorf("got %v", err)
			}
		}
		wantCalls(t, w, "api_authorizer_token", before+2)
		wantCalls(t, w, "api_get_authorizer_info", 3)

		// api_query_auth ends that at once, on either node.
		w.change(func(w *fakeWeChat) { delete(w.errcodes, "api_authorizer_token") })
		if err := p.Save(t.Context(), w.authorize(merchantID)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		other.mustUse(t, w, merchantID)
	})
}

// An account that has authorised the platform, but about which nobody has asked
// api_query_auth, says so; and works when that was done.
func TestNoRefreshTokenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		saved := w.authorize(merchantID)
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].known = false })
		if err := p.use(t, w, merchantID); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("got %v", err)
		}
		if err := p.Authorized(t.Context(), merchantID, time.Now()); err != nil {
			t.Fatal(err)
		}
		err := p.use(t, w, merchantID)
		if tokenErr, ok := errors.AsType[*account.TokenError](err); !ok || tokenErr.Errcode != 61023 || !strings.Contains(tokenErr.Error(), "api_query_auth") {
			t.Errorf("got %v", err)
		}
		// That is the application's turn, and nothing for the operator.
		failed := p.logs.FilterMessage("token fetch failed").All()
		if len(failed) != 1 || failed[0].Level != zapcore.WarnLevel {
			t.Errorf("%+v", failed)
		}
		if err := p.Save(t.Context(), saved); err != nil {
			t.Fatal(err)
		}
		p.mustUse(t, w, merchantID)
	})
}

// An authorisation that the store has not taken can be read from WeChat, whatever
// WeChat said before it was there.
func TestAuthorizationThatWasNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		saved := w.authorize(merchantID)
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].known = false })
		if err := p.Authorized(t.Context(), merchantID, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := p.use(t, w, merchantID); err == nil {
			t.Error("it was used before api_query_auth")
		}
		w.change(func(w *fakeWeChat) { w.merchants[merchantID].known = true })
		st.change(func(s *memoryStore) { s.full = true })
		if err := p.Save(t.Context(), saved); err == nil {
			t.Error("it was saved")
		}
		st.change(func(s *memoryStore) { s.full = false })
		p.mustUse(t, w, merchantID)
	})
}

// Errors of WeChat's that say nothing of the appid are no answer, and none shows
// what was sent.
func TestAskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWeChat()
		p := startProcess(t, w, newMemoryStore())
		if _, err := p.Authorizer(t.Context(), merchantID); !isTokenErrorOf(err, p.Component) {
			t.Errorf("without a ticket: %v", err)
		}
		p.push(t, w)
		w.authorize(merchantID)
		for _, c := range []struct {
			errcode int
			status  int
		}{{errcode: -1}, {errcode: 45009}, {errcode: 61004}, {status: 502}} {
			w.change(func(w *fakeWeChat) {
				clear(w.errcodes)
				clear(w.broken)
				if c.errcode != 0 {
					w.errcodes["api_get_authorizer_info"] = c.errcode
				}
				w.broken["api_get_authorizer_info"] = c.status
			})
			_, err := p.Authorizer(t.Context(), merchantID)
			if err == nil || errors.Is(err, ErrNotAuthorized) {
				t.Errorf("%+v: %v", c, err)
			}
			noSecretIn(t, "an error", fmt.Sprint(err))
		}
		w.change(func(w *fakeWeChat) { clear(w.errcodes); clear(w.broken) })
		p.mustUse(t, w, merchantID)
	})
}

func isTokenErrorOf(err error, a *account.Account) bool {
	tokenErr, ok := errors.AsType[*account.TokenError](err)
	return ok && tokenErr.Account == a
}

// 61003 where the token is fetched is nobody's trouble to be asked about again
// and again, and over with the news of an authorisation, at whichever node.
func TestNotAuthorizedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		a.push(t, w)
		w.authorize(merchantID)
		a.mustUse(t, w, merchantID)
		b.mustUse(t, w, merchantID)
		w.withdraw(merchantID)
		before := w.count("api_authorizer_token")
		began := time.Now()
		for time.Since(began) < 19*time.Minute {
			for _, p := range []*process{a, b} {
				if err := p.use(t, w, merchantID); err == nil {
					t.Fatal("it works")
				}
			}
			time.Sleep(10 * time.Second)
		}
		if n := w.count("api_authorizer_token") - before; n < 1 || n > 4 {
			t.Errorf("asked %d times in 19 minutes", n)
		}
		w.authorize(merchantID)
		if err := b.Authorized(t.Context(), merchantID, time.Now()); err != nil {
			t.Fatal(err)
		}
		b.mustUse(t, w, merchantID)
		time.Sleep(time.Second)
		a.mustUse(t, w, merchantID)
	})
}

// After 61003 at an API the token is looked at again: in the store, and at WeChat,
// at most once a minute, while the request has its answer.
func TestLookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		a.push(t, w)
		w.authorize(merchantID)
		a.mustUse(t, w, merchantID)
		b.mustUse(t, w, merchantID)
		onA, _ := a.Authorizer(t.Context(), merchantID)
		onB, _ := b.Authorizer(t.Context(), merchantID)

		// It was a request for what the merchant has not granted.
		before := w.count("api_authorizer_token")
		for range 50 {
			onA.LookAgain()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wantCalls(t, w, "api_authorizer_token", before+1)
		a.mustUse(t, w, merchantID)
		if s := a.config.Manager.Status(onA.Credential()); s.EarlyDeaths > 0 {
			t.Errorf("it counts as another system's doing: %+v", s)
		}
		time.Sleep(time.Minute)

		// It has withdrawn indeed, and another node was told.
		w.withdraw(merchantID)
		if err := b.Unauthorized(t.Context(), merchantID, time.Now()); err != nil {
			t.Fatal(err)
		}
		before = w.count("api_authorizer_token")
		onA.LookAgain()
		synctest.Wait()
		if err := a.use(t, w, merchantID); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("got %v", err)
		}
		wantCalls(t, w, "api_authorizer_token", before)
		if _, err := onB.Token(t.Context()); err == nil {
			t.Error("what was withdrawn is used")
		}

		// Or nobody was told.
		if err := a.Save(t.Context(), w.authorize(merchantID)); err != nil {
			t.Fatal(err)
		}
		a.mustUse(t, w, merchantID)
		time.Sleep(time.Minute)
		w.withdraw(merchantID)
		onA.LookAgain()
		synctest.Wait()
		err := a.use(t, w, merchantID)
		if tokenErr, ok := errors.AsType[*account.TokenError](err); !ok || tokenErr.Errcode != 61003 || tokenErr.Advice(wechat.English) == "" {
			t.Errorf("got %v", err)
		}
		wantCalls(t, w, "api_authorizer_token", before+1)
	})
}

// The tokens in use are renewed, those of the last two hours, and a merchant that
// withdrew makes nobody unhealthy.
func TestAuthorizerIsRenewedWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		w.authorize(merchantID)
		p.mustUse(t, w, merchantID)
		used := time.Now()
		time.Sleep(115 * time.Minute)
		p.push(t, w)
		wantCalls(t, w, "api_authorizer_token", 2)
		time.Sleep(5 * time.Hour)
		if n := w.count("api_authorizer_token"); n > 3 {
			t.Errorf("renewed %d times within %v", n-1, time.Since(used))
		}
		p.mustUse(t, w, merchantID)
		w.withdraw(merchantID)
		if err := p.Unauthorized(t.Context(), merchantID, time.Now()); err != nil {
			t.Fatal(err)
		}
		before := callsOf(w)
		time.Sleep(24 * time.Hour)
		if after := callsOf(w); after["api_authorizer_token"] != before["api_authorizer_token"] {
			t.Errorf("one that has withdrawn is renewed: %v, %v", before, after)
		}
		a, _ := p.authorizers.Get(merchantID)
		if s := p.config.Manager.Status(a.Credential()); !s.Healthy || s.Usable || s.State != credential.Empty {
			t.Errorf("status %+v", s)
		}
	})
}

// So is a token that was found in the store.
func TestTokenOfTheStoreIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a := startProcess(t, w, st)
		a.push(t, w)
		if err := a.Save(t.Context(), w.authorize(merchantID)); err != nil {
			t.Fatal(err)
		}
		b := startProcess(t, w, st)
		b.mustUse(t, w, merchantID)
		time.Sleep(115 * time.Minute)
		wantCalls(t, w, "api_authorizer_token", 1)
	})
}

// What the process knows of accounts outlives its configurations, whatever room
// each of them has, and one that is not kept is found in the store.
func TestWorkingSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p := startProcess(t, w, st)
		p.push(t, w)
		w.authorize(merchantID)
		p.mustUse(t, w, merchantID)
		before, _ := p.Authorizer(t.Context(), merchantID)

		// The store is down during the reload.
		st.change(func(s *memoryStore) { s.err = errors.New("down") })
		reloaded := &process{Platform: p.load(t, w, st, zap.NewNop(), 2), logs: p.logs}
		p.end(p.Platform)
		reloaded.mustUse(t, w, merchantID)
		after, _ := reloaded.Authorizer(t.Context(), merchantID)
		if after == before || after.Credential().Runner() != before.Credential().Runner() {
			t.Error("the account is not made again from what was known")
		}
		st.change(func(s *memoryStore) { s.err = nil })
		calls := callsOf(w)
		for range 3 {
			for i := range 20 {
				appID := fmt.Sprintf("wxmerchant%08d", i+2)
				if calls["api_authorizer_token"] == w.count("api_authorizer_token")-i {
					w.authorize(appID)
				}
				reloaded.mustUse(t, w, appID)
			}
			reloaded.mustUse(t, w, merchantID)
		}
		wantCalls(t, w, "api_authorizer_token", calls["api_authorizer_token"]+20)
		wantCalls(t, w, "api_get_authorizer_info", calls["api_get_authorizer_info"]+20)
		if n := reloaded.authorizers.Len(); n > 2 {
			t.Errorf("%d in memory, where there is room for 2", n)
		}

		// Another configuration has more room.
		again := &process{Platform: p.load(t, w, st, zap.NewNop(), 50), logs: p.logs}
		p.end(reloaded.Platform)
		for i := range 20 {
			again.mustUse(t, w, fmt.Sprintf("wxmerchant%08d", i+2))
		}
		if n := again.authorizers.Len(); n < 20 {
			t.Errorf("%d in memory, where there is room for 50", n)
		}
		wantCalls(t, w, "api_authorizer_token", calls["api_authorizer_token"]+20)
		p.end(again.Platform)
		p.Platform = p.load(t, w, st, zap.NewNop(), 50) // ends with the test
		time.Sleep(3 * time.Hour)
	})
}

// A virtual refresh token is the same on every node, another for every account,
// and says nothing.
func TestVirtualRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		one, other := a.VirtualRefreshToken(merchantID), a.VirtualRefreshToken("wxanother000000001")
		if one != b.VirtualRefreshToken(merchantID) || one == other || !strings.HasPrefix(one, "refreshtoken@@@") || strings.Contains(one, merchantID) {
			t.Errorf("got %s and %s", one, other)
		}
		w.authorize(merchantID)
		a.push(t, w)
		found, _ := a.Authorizer(t.Context(), merchantID)
		if string(found.VirtualKey()) != string(a.Component.VirtualKey()) || len(found.VirtualKey()) == 0 {
			t.Error("virtual tokens of accounts are not signed with the platform's key")
		}
		if got := found.Redactor("").String("x" + componentSecret + "x"); strings.Contains(got, componentSecret) {
			t.Errorf("the platform's secret is shown: %s", got)
		}
	})
}
