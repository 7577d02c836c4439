package credential

import (
	"testing"
	"testing/synctest"
	"time"
)

// watched counts what an observer is told.
type watched struct {
	Unobserved
	deaths, competing int
	quotas            []string
}

func (w *watched) DiedEarly()           { w.deaths++ }
func (w *watched) CompetingFetcher(int) { w.competing++ }
func (w *watched) QuotaNear(quota string, _ Quota) {
	w.quotas = append(w.quotas, quota)
}

// dies has the current token be rejected after so long.
func (p *process) dies(t *testing.T, after time.Duration) {
	t.Helper()
	token := p.token(t)
	token.Accept()
	time.Sleep(after)
	p.refresh(t, token)
}

func TestCompetingFetcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(t, classic, newMemoryStore(), &fakeEndpoint{})
		w := new(watched)
		p.account.Observer = w
		for range 2 {
			p.dies(t, 10*time.Minute)
		}
		if s := p.Status(p.account); w.deaths != 2 || w.competing != 0 || s.Competing {
			t.Errorf("after 2 deaths: %+v, %+v", w, s)
		}
		p.dies(t, 10*time.Minute)
		s := p.Status(p.account)
		if w.competing != 1 || s.EarlyDeaths != 3 || !s.Competing {
			t.Errorf("after 3 deaths: %+v, %+v", w, s)
		}
		// It goes on: one warning an hour.
		for range 11 {
			p.dies(t, 10*time.Minute)
		}
		if w.competing != 2 {
			t.Errorf("%d warnings in three hours", w.competing)
		}
		// It is over.
		time.Sleep(time.Hour)
		if s := p.Status(p.account); s.EarlyDeaths != 0 || s.Competing {
			t.Errorf("an hour later: %+v", s)
		}
	})
}

// Deaths that several processes find are counted together.
func TestCompetingFetcherAndSeveralProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, endpoint := newMemoryStore(), &fakeEndpoint{}
		w := new(watched)
		for range 3 {
			p := startProcess(t, classic, st, endpoint)
			p.account.Observer = w
			p.dies(t, time.Minute)
		}
		if w.competing != 1 {
			t.Errorf("got %+v", w)
		}
	})
}

func TestNoCompetingFetcher(t *testing.T) {
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
				p := startProcess(t, classic, newMemoryStore(), &fakeEndpoint{})
				w := new(watched)
				p.account.Observer = w
				c.f(t, p)
				if w.competing != 0 || w.deaths != c.deaths {
					t.Errorf("got %+v", w)
				}
			})
		})
	}
	t.Run("stable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			endpoint := &fakeEndpoint{stable: true}
			p := startProcess(t, stable, newMemoryStore(), endpoint)
			w := new(watched)
			p.account.Observer = w
			for range 4 {
				token := p.token(t)
				token.Accept()
				time.Sleep(10 * time.Minute)
				endpoint.revoke()
				p.refresh(t, token)
			}
			if w.competing != 0 || w.deaths != 0 {
				t.Errorf("got %+v", w)
			}
		})
	})
}
