package weixin

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// watched counts what a watcher is told.
type watched struct {
	nobody
	deaths, thieves int
	quotas          []string
}

func (w *watched) diedEarly()         { w.deaths++ }
func (w *watched) thiefSuspected(int) { w.thieves++ }
func (w *watched) quotaNear(quota string, _ Quota) {
	w.quotas = append(w.quotas, quota)
}

// dies has the current token be rejected after so long.
func (p *process) dies(t *testing.T, after time.Duration) {
	t.Helper()
	token := p.token(t)
	token.accept()
	time.Sleep(after)
	p.refresh(t, token)
}

func TestThief(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(t, wechat.Classic{}, newMemoryStore(), &fakeEndpoint{})
		w := new(watched)
		p.account.watcher = w
		for range 2 {
			p.dies(t, 10*time.Minute)
		}
		if s := p.Status(p.account); w.deaths != 2 || w.thieves != 0 || len(s.Warnings) != 0 {
			t.Errorf("after 2 deaths: %+v, %+v", w, s)
		}
		p.dies(t, 10*time.Minute)
		s := p.Status(p.account)
		if w.thieves != 1 || s.EarlyDeaths != 3 || len(s.Warnings) != 1 || s.Warnings[0].Code != warningThief {
			t.Errorf("after 3 deaths: %+v, %+v", w, s)
		}
		// It goes on: one warning an hour.
		for range 11 {
			p.dies(t, 10*time.Minute)
		}
		if w.thieves != 2 {
			t.Errorf("%d warnings in three hours", w.thieves)
		}
		// It is over.
		time.Sleep(time.Hour)
		if s := p.Status(p.account); s.EarlyDeaths != 0 || len(s.Warnings) != 0 {
			t.Errorf("an hour later: %+v", s)
		}
	})
}

// Deaths that several processes find are counted together.
func TestThiefAndSeveralProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		w := new(watched)
		for range 3 {
			p := startProcess(t, wechat.Classic{}, st, endpoint)
			p.account.watcher = w
			p.dies(t, time.Minute)
		}
		if w.thieves != 1 {
			t.Errorf("got %+v", w)
		}
	})
}

func TestNoThief(t *testing.T) {
	for name, c := range map[string]struct {
		deaths int // that count
		f      func(t *testing.T, p *process)
	}{
		"in its last minutes": {0, func(t *testing.T, p *process) {
			for range 4 {
				p.dies(t, 111*time.Minute)
			}
		}},
		"an API that rejects every token": {1, func(t *testing.T, p *process) {
			for range 10 {
				p.refresh(t, p.token(t))
				time.Sleep(time.Minute)
			}
		}},
		"now and then": {10, func(t *testing.T, p *process) {
			for range 10 {
				p.dies(t, 40*time.Minute)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startProcess(t, wechat.Classic{}, newMemoryStore(), &fakeEndpoint{})
				w := new(watched)
				p.account.watcher = w
				c.f(t, p)
				if w.thieves != 0 || w.deaths != c.deaths {
					t.Errorf("got %+v", w)
				}
			})
		})
	}
	t.Run("stable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			endpoint := &fakeEndpoint{stable: true}
			p := startProcess(t, wechat.Stable{}, newMemoryStore(), endpoint)
			w := new(watched)
			p.account.watcher = w
			for range 4 {
				token := p.token(t)
				token.accept()
				time.Sleep(10 * time.Minute)
				endpoint.revoke()
				p.refresh(t, token)
			}
			if w.thieves != 0 || w.deaths != 0 {
				t.Errorf("got %+v", w)
			}
		})
	})
}
