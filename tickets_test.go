package weixin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// ticketServer hands out tickets as WeChat does: the same one for two hours,
// whenever it is asked.
type ticketServer struct {
	mu      sync.Mutex
	errcode int
	fetches int
	begun   time.Time
}

func (s *ticketServer) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/getticket") {
		return tokensAtOnce(req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	body := fmt.Sprintf(`{"errcode":%d,"errmsg":"as ordered"}`, s.errcode)
	if s.errcode == 0 {
		body = fmt.Sprintf(`{"errcode":0,"errmsg":"ok","ticket":"ticket-%s","expires_in":7200}`, s.currentLocked())
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (s *ticketServer) currentLocked() string {
	return fmt.Sprint(int(time.Since(s.begun) / (2 * time.Hour)))
}

func (s *ticketServer) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "ticket-" + s.currentLocked()
}

func (s *ticketServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func (s *ticketServer) fail(errcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errcode = errcode
}

// keptTickets is an account whose tickets are kept, and who asks for them.
type keptTickets struct {
	t       *testing.T
	tokens  *TokenManager
	keeper  *ticketKeeper
	account *account.Account
}

func keepTickets(t *testing.T, server *ticketServer, runner *credential.Runner) *keptTickets {
	t.Helper()
	m := newTokenManager(credential.NewProcess(), forgetful{}, server, zap.NewNop())
	a := m.bind(&account.Account{
		Name: "shop", Credentials: wechat.Credentials{ID: t.Name(), Secret: "a-secret-of-some-length"},
		Kind: wechat.Official, Endpoint: wechat.Stable, Upstream: testUpstream,
	}, runner)
	m.tickets.add(a, false)
	m.tickets.keepWarm()
	return &keptTickets{t, m, m.tickets, a}
}

func (k *keptTickets) end() {
	k.t.Helper()
	k.keeper.release(context.Background())
	k.tokens.Release(context.Background(), k.account)
	if err := k.keeper.cleanup(); err != nil {
		k.t.Error(err)
	}
}

func (k *keptTickets) get() (string, error) {
	return k.keeper.value(k.t.Context(), k.account, wechat.Official.Tickets[0])
}

func (k *keptTickets) want(ticket string) {
	k.t.Helper()
	if got, err := k.get(); err != nil || got != ticket {
		k.t.Errorf("got %q, %v, want %q", got, err, ticket)
	}
}

// A ticket in use is asked for again every 20 minutes, and one that nobody uses is
// left alone.
func TestTicketIsPolledWhileInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &ticketServer{begun: time.Now()}
		k := keepTickets(t, server, credential.NewRunner())
		defer k.end()
		if server.count() != 0 {
			t.Error("it was fetched for nobody")
		}
		k.want("ticket-0")
		for range 8 * 60 / 5 {
			time.Sleep(5 * time.Minute)
			if _, err := k.get(); err != nil {
				t.Fatal(err)
			}
		}
		if n := server.count(); n < 8*3 || n > 8*4 {
			t.Errorf("%d fetches in 8 hours", n)
		}
		n := server.count()
		time.Sleep(2 * time.Hour)
		if idle := server.count() - n; idle < 2 || idle > 4 {
			t.Errorf("%d fetches after the last use", idle)
		}
		n = server.count()
		time.Sleep(48 * time.Hour)
		if server.count() != n {
			t.Errorf("%d fetches for nobody", server.count()-n)
		}
		k.want(server.current())
	})
}

// A dead ticket is replaced within 20 minutes of its death.
func TestTicketIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &ticketServer{begun: time.Now()}
		k := keepTickets(t, server, credential.NewRunner())
		defer k.end()
		for range 12 * 60 {
			_, _ = k.get()
			time.Sleep(time.Minute)
			if sinceDeath := time.Since(server.begun) % (2 * time.Hour); sinceDeath > 20*time.Minute+time.Second {
				synctest.Wait()
				k.want(server.current())
			}
		}
	})
}

// Who comes after a long time in which nobody came is not handed the ticket of then.
func TestTicketIsFreshAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &ticketServer{begun: time.Now()}
		k := keepTickets(t, server, credential.NewRunner())
		defer k.end()
		time.Sleep(30 * time.Minute)
		k.want("ticket-0")
		time.Sleep(115 * time.Minute)
		if n := server.count(); n > 5 {
			t.Errorf("%d fetches", n)
		}
		k.want("ticket-1")

		// WeChat gives none: the last one is served, and nobody waits for the next.
		server.fail(-1)
		time.Sleep(100 * time.Minute)
		k.want("ticket-1")
		n := server.count()
		k.want("ticket-1")
		if server.count() > n {
			t.Error("WeChat was asked again at once")
		}
	})
}

// The last one is served until WeChat has not confirmed it for two hours; then
// WeChat's own error is, from memory.
func TestTicketWithoutWeChat(t *testing.T) {
	for errcode, class := range map[int]string{48001: "configuration", 45009: "quota", -1: "transient"} {
		t.Run(class, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &ticketServer{begun: time.Now()}
				k := keepTickets(t, server, credential.NewRunner())
				defer k.end()
				k.want("ticket-0")
				server.fail(errcode)
				for range 11 {
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					k.want("ticket-0")
				}
				time.Sleep(11 * time.Minute)
				synctest.Wait()
				_, err := k.get()
				if e := answer.From(err); err == nil || !e.OfWeChat || e.Status != http.StatusOK || string(e.Body()) != fmt.Sprintf(`{"errcode":%d,"errmsg":"as ordered"}`, errcode) {
					t.Fatalf("got %v", err)
				}
				n := server.count()
				for range 100 {
					if _, err := k.get(); err == nil || answer.From(err).Errcode != errcode {
						t.Errorf("got %v", err)
					}
				}
				if server.count() > n+1 {
					t.Errorf("%d calls during the back-off", server.count()-n)
				}
				server.fail(0)
				time.Sleep(6 * time.Minute)
				k.want(server.current())
			})
		})
	}
}

// The next configuration goes on asking for what the one before has kept.
func TestTicketsAndReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &ticketServer{begun: time.Now()}
		runner := credential.NewRunner()
		old := keepTickets(t, server, runner)
		old.want("ticket-0")
		next := keepTickets(t, server, runner)
		old.end()
		n := server.count()
		time.Sleep(25 * time.Minute)
		synctest.Wait()
		if server.count() != n+1 {
			t.Errorf("%d fetches in 25 minutes", server.count()-n)
		}
		next.want("ticket-0")
		if s := next.keeper.status(next.account); len(s) != 1 || s[0].Type != "jsapi" || time.Since(s[0].CheckedAt) > 10*time.Minute {
			t.Errorf("got %+v", s)
		}
		next.end()
		if _, known := runnerPool.References(ticketKey(next.account, wechat.Official.Tickets[0])); known {
			t.Error("the pool still has it")
		}
	})
}
