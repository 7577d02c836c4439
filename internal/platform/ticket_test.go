package platform

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// The newest ticket counts, of two of one second the later, whichever process took
// it, and an older one changes nothing.
func TestNewestTicketCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		first, second, third := w.ticket(), w.ticket(), w.ticket()
		at := time.Now().Truncate(time.Second)
		for _, push := range []struct {
			to     *process
			ticket string
			at     time.Time
			want   string
		}{
			{a, first, at, first},
			{b, second, at.Add(10 * time.Minute), second},
			{a, first, at, second},
			{a, third, at.Add(10 * time.Minute), third},
			{b, first, at.Add(5 * time.Minute), third},
		} {
			if err := push.to.Ticket(t.Context(), push.ticket, push.at); err != nil {
				t.Fatal(err)
			}
			if got := push.to.ticket.Peek().Secret(); got != push.want {
				t.Fatalf("the ticket is %s, want %s", got, push.want)
			}
		}
		if got := a.TicketStatus(); !got.ReceivedAt.Equal(at.Add(10*time.Minute)) || !got.ExpiresAt.Equal(got.ReceivedAt.Add(12*time.Hour)) {
			t.Errorf("got %+v", got)
		}
		// A process that has not heard of any finds it when it needs it.
		c := startProcess(t, w, st)
		if c.TicketStatus() != (TicketStatus{}) {
			t.Error("it was looked for at the start")
		}
		c.componentToken(t)
		wantCalls(t, w, "api_start_push_ticket", 0)
	})
}

// A ticket of a time that cannot be keeps no later one out.
func TestTicketOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWeChat()
		p := startProcess(t, w, newMemoryStore())
		if err := p.Ticket(t.Context(), w.ticket(), time.Now().AddDate(1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if ticket := p.push(t, w); p.ticket.Peek().Secret() != ticket {
			t.Error("it keeps the next one out")
		}
	})
}

// Nothing is fetched at the start, nor with a ticket, but when it is needed.
func TestNothingIsFetchedBeforeItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeWeChat()
		p := startProcess(t, w, newMemoryStore())
		for range 20 {
			p.push(t, w)
			time.Sleep(10 * time.Minute)
		}
		if calls := callsOf(w); len(calls) > 0 {
			t.Errorf("WeChat was called: %v", calls)
		}
		first := p.componentToken(t)
		for range 11 {
			p.push(t, w)
			if p.componentToken(t) != first {
				t.Error("a new ticket costs a token")
			}
			time.Sleep(9 * time.Minute)
		}
		wantCalls(t, w, "api_component_token", 1)
		// It is renewed by itself while it is in use, and not when it is not.
		time.Sleep(20 * time.Minute)
		wantCalls(t, w, "api_component_token", 2)
		time.Sleep(10 * time.Hour)
		if n := w.count("api_component_token"); n > 3 {
			t.Errorf("fetched %d times while nobody uses it", n)
		}
	})
}

// Two processes have one component token, though both need it at once.
func TestOneComponentToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		w.latency = time.Second
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		a.push(t, w)
		tokens := make(chan string, 20)
		for range 10 {
			for _, p := range []*process{a, b} {
				go func() { tokens <- p.componentToken(t) }()
			}
		}
		first := <-tokens
		for range 19 {
			if other := <-tokens; other != first {
				t.Fatal("they have different ones")
			}
		}
		wantCalls(t, w, "api_component_token", 1)
	})
}

// Without a ticket, or with one that has expired or is refused, WeChat is asked to
// push another: at most every ten minutes, by all processes and configurations
// together, and across restarts.
func TestStartPush(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, w *fakeWeChat, p *process)
		errcode int
	}{
		"none": {func(*testing.T, *fakeWeChat, *process) {}, 61006},
		"expired": {func(t *testing.T, w *fakeWeChat, p *process) {
			p.push(t, w)
			time.Sleep(12 * time.Hour)
		}, 61005},
		"refused": {func(t *testing.T, w *fakeWeChat, p *process) {
			p.push(t, w)
			w.change(func(w *fakeWeChat) { clear(w.tickets) })
		}, 61006},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, st := newFakeWeChat(), newMemoryStore()
				a, b := startProcess(t, w, st), startProcess(t, w, st)
				c.prepare(t, w, a)
				began := time.Now()
				for time.Since(began) < 59*time.Minute {
					for _, p := range []*process{a, b} {
						p.wantFailure(t, c.errcode)
						p.wantFailure(t, c.errcode)
					}
					startProcess(t, w, st).wantFailure(t, c.errcode)
					time.Sleep(59 * time.Second)
				}
				if n := w.count("api_start_push_ticket"); n < 5 || n > 6 {
					t.Errorf("asked %d times in an hour", n)
				}
				if n := w.count("api_component_token"); name != "refused" && n > 0 {
					t.Errorf("a token was asked for %d times without a ticket", n)
				}
				for _, p := range []*process{a, b} {
					s := p.config.Manager.Status(p.Component.Credential())
					if s.State != credential.BackOff || s.Healthy || s.Usable || s.LastError == nil || s.LastError.Errcode != c.errcode || s.RetryAt.IsZero() || s.Since.IsZero() {
						t.Errorf("status %+v", s)
					}
				}
				// The next ticket works at once, on the node that has not heard of it as well.
				a.push(t, w)
				if first := a.componentToken(t); first != b.componentToken(t) {
					time.Sleep(time.Second) // until the store is looked into again
					if first != b.componentToken(t) {
						t.Error("they have different tokens")
					}
				}
				for _, p := range []*process{a, b} {
					if s := p.config.Manager.Status(p.Component.Credential()); s.State != credential.OK || !s.Healthy {
						t.Errorf("status %+v", s)
					}
				}
			})
		})
	}
}

// While tickets are refused one after the other, WeChat is not asked for more of
// them, and the component token gathers no back-off: the first good ticket works.
func TestTicketsRefusedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		for i := range 30 {
			if err := a.Ticket(t.Context(), "ticket@@@made-up-of-some-length"+string(rune('a'+i)), time.Now()); err != nil {
				t.Fatal(err)
			}
			a.wantFailure(t, 61006)
			time.Sleep(time.Second)
			b.wantFailure(t, 61006)
			time.Sleep(time.Second)
		}
		wantCalls(t, w, "api_start_push_ticket", 1)
		if n := w.count("api_component_token"); n > 2*30 {
			t.Errorf("30 tickets were tried %d times", n)
		}
		if len(b.failed.errcodes) == 0 {
			t.Error("the observer was told of no refusal")
		}
		b.push(t, w)
		if b.componentToken(t) == "" {
			t.Error("the first good ticket does not work at once")
		}
		time.Sleep(time.Second)
		if a.componentToken(t) == "" {
			t.Error("nor on the other node")
		}
	})
}

// A ticket that came after WeChat was asked for one, and is refused, is what
// requests are told of, and no longer that there was none, or one that had expired.
func TestRefusedAfterTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		a, b := startProcess(t, w, st), startProcess(t, w, st)
		a.push(t, w)
		time.Sleep(12 * time.Hour)
		a.wantFailure(t, 61005)
		time.Sleep(time.Second)
		if err := a.Ticket(t.Context(), "ticket@@@made-up-of-some-length", time.Now()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, p := range []*process{a, b} {
				_, err := p.Component.Token(t.Context())
				if tokenErr, ok := errors.AsType[*account.TokenError](err); !ok || tokenErr.Errcode != 61006 || !strings.Contains(err.Error(), "refuses") {
					t.Errorf("got %v", err)
				}
			}
			time.Sleep(time.Second)
		}
		wantCalls(t, w, "api_start_push_ticket", 1)
		b.push(t, w)
		if b.componentToken(t) == "" {
			t.Error("the next ticket does not work at once")
		}
	})
}

// WeChat may push before it answers, to a process that waits for that answer.
func TestPushBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, st := newFakeWeChat(), newMemoryStore()
		p, other := startProcess(t, w, st), startProcess(t, w, st)
		for _, to := range []*process{p, other} {
			took, pushed := time.Hour, false // as long as it has not ended
			w.onStart = func() {
				began := time.Now()
				pushed = true
				to.push(t, w)
				took = time.Since(began)
			}
			w.change(func(w *fakeWeChat) { clear(w.tickets); w.component = "" })
			_ = p.use(t, w, merchantID) // the token is dead, and so is the ticket
			if !pushed || took >= 5*time.Second {
				t.Errorf("pushed: %t, in %v", pushed, took)
			}
			time.Sleep(2 * time.Second)
			p.componentToken(t)
			time.Sleep(time.Hour)
		}
	})
}

// A store that fails acknowledges nothing, and what it has not got is not used.
func TestTicketAndAStoreThatFails(t *testing.T) {
	for name, fail := range map[string]func(*memoryStore){
		"full": func(s *memoryStore) { s.full = true },
		"down": func(s *memoryStore) { s.err = errors.New("down") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, st := newFakeWeChat(), newMemoryStore()
				p := startProcess(t, w, st)
				known := p.push(t, w)
				time.Sleep(10 * time.Minute)
				st.change(fail)
				if err := p.Ticket(t.Context(), w.ticket(), time.Now()); err == nil {
					t.Error("it was acknowledged")
				}
				if got := p.ticket.Peek().Secret(); got != known {
					t.Error("it is used")
				}
				if p.componentToken(t) == "" { // from the ticket that is known
					t.Error("a store that fails stops the component token")
				}
				for _, err := range []error{
					p.Save(t.Context(), w.authorize(merchantID)),
					p.Authorized(t.Context(), merchantID, time.Now()),
					p.Unauthorized(t.Context(), merchantID, time.Now()),
				} {
					if err == nil {
						t.Error("it was acknowledged")
					}
				}
				st.change(func(s *memoryStore) { s.err, s.full = nil, false })
				time.Sleep(time.Minute)
				if ticket := p.push(t, w); p.ticket.Peek().Secret() != ticket {
					t.Error("the next one is not used")
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
