package sandbox

import (
	"net/http"
	"time"
)

// byMethod has a value for each token endpoint.
type byMethod[V any] struct {
	Classic V `json:"classic"`
	Stable  V `json:"stable"`
}

// counted is what all reports tell.
type counted struct {
	Fetches        int `json:"fetches"`
	FetchesRefused int `json:"fetches_refused"`
	Calls          int `json:"calls"`
	Rejected       int `json:"rejected"`
	Messages       int `json:"messages"`
	TicketFetches  int `json:"ticket_fetches"`
	Failing        struct {
		Token int `json:"token"`
		API   int `json:"api"`
	} `json:"failing"`
}

func (c *counters) report(issuers ...*issuer) counted {
	r := counted{
		FetchesRefused: c.refused, Calls: c.calls, Rejected: c.rejected, Messages: c.messages, TicketFetches: c.ticketFetches,
	}
	for _, i := range issuers {
		r.Fetches += i.fetches
	}
	r.Failing.Token = c.failures.left(tokenEndpoint)
	r.Failing.API = c.failures.left(apiEndpoint)
	return r
}

// accountReport is what is told of an account.
type accountReport struct {
	AppID string `json:"appid"`
	counted
	FetchesByMethod byMethod[int]        `json:"fetches_by_method"`
	Forced          int                  `json:"forced"`
	Fingerprint     byMethod[*string]    `json:"token_fingerprint"`
	ExpiresAt       byMethod[*time.Time] `json:"token_expires_at"`
}

func (a *account) report(now time.Time) any {
	r := accountReport{
		AppID:           a.AppID,
		counted:         a.counters.report(a.classic, a.stable),
		FetchesByMethod: byMethod[int]{a.classic.fetches, a.stable.fetches},
		Forced:          a.forced,
	}
	r.Fingerprint.Classic, r.ExpiresAt.Classic = a.classic.report(now)
	r.Fingerprint.Stable, r.ExpiresAt.Stable = a.stable.report(now)
	return r
}

func (a *account) revoked() int { return invalidCredential }

func (a *account) rotateTickets() { endTickets(a.tickets) }

func (a *account) issuers() []*issuer {
	return []*issuer{a.classic, a.stable}
}

// agentReport is what is told of an app of WeCom.
type agentReport struct {
	CorpID  string `json:"corpid"`
	AgentID string `json:"agentid"`
	counted
	Fingerprint *string    `json:"token_fingerprint"`
	ExpiresAt   *time.Time `json:"token_expires_at"`
}

func (a *agent) report(now time.Time) any {
	r := agentReport{CorpID: a.corp.id, AgentID: a.id, counted: a.counters.report(a.issuer)}
	r.Fingerprint, r.ExpiresAt = a.issuer.report(now)
	return r
}

func (a *agent) revoked() int { return invalidAccessToken }

func (a *agent) rotateTickets() {
	endTickets(a.tickets)
	endTickets(a.corp.tickets)
}

func (a *agent) issuers() []*issuer { return []*issuer{a.issuer} }

// report returns nothing where the current token is dead.
func (i *issuer) report(now time.Time) (fingerprint *string, expires *time.Time) {
	if i.current == nil || !i.current.alive(now) {
		return nil, nil
	}
	at := i.current.ends.UTC().Truncate(time.Second)
	return new(i.current.fingerprint()), &at
}

// controlList lists the accounts. Whoever shows no token, or one that the
// sandbox has never seen, shows no account either.
func (s *Server) controlList(w http.ResponseWriter, _ *http.Request) {
	s.controlLocked(w, func() (any, *controlRefusal) {
		now := time.Now()
		list := []any{}
		for _, a := range s.accounts {
			list = append(list, a.report(now))
		}
		return struct {
			Accounts     []any `json:"accounts"`
			Unattributed int   `json:"rejected_without_account"`
		}{list, s.unattributed}, nil
	})
}

type corpReport struct {
	CorpID string `json:"corpid"`
	Agents []any  `json:"agents"`
}

func (co *corp) report(now time.Time) corpReport {
	r := corpReport{CorpID: co.id}
	for _, a := range co.agents {
		r.Agents = append(r.Agents, a.report(now))
	}
	return r
}

func (s *Server) controlCorps(w http.ResponseWriter, _ *http.Request) {
	s.controlLocked(w, func() (any, *controlRefusal) {
		list := []corpReport{}
		for _, id := range s.corpIDs {
			list = append(list, s.corps[id].report(time.Now()))
		}
		return map[string]any{"corps": list}, nil
	})
}

func (s *Server) controlCorp(w http.ResponseWriter, r *http.Request) {
	s.controlLocked(w, func() (any, *controlRefusal) {
		co := s.corps[r.PathValue("corpid")]
		if co == nil {
			return nil, &controlRefusal{http.StatusNotFound, errNoCorp}
		}
		return co.report(time.Now()), nil
	})
}
