package weixin

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/ticket"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// ticketKeeper keeps the accounts' tickets, as one configuration sees them. A
// ticket is a credential whose parent is the account's token. It is made when it
// is asked for first: most accounts have none.
type ticketKeeper struct {
	credentials *credential.Manager
	endpoint    http.RoundTripper         // to WeChat
	pass        map[*account.Account]bool // whose applications get WeChat's answers

	// changed is called after an account has got a ticket, or could not.
	changed func(*account.Account)

	mu       sync.RWMutex
	kept     map[ticketID]*credential.Credential
	runners  runners
	isWarm   bool
	released bool
}

type ticketID struct {
	account *account.Account
	name    string // of the type
}

func newTicketKeeper(credentials *credential.Manager, endpoint http.RoundTripper) *ticketKeeper {
	return &ticketKeeper{
		credentials: credentials, endpoint: endpoint,
		pass: make(map[*account.Account]bool), changed: func(*account.Account) {},
		kept: make(map[ticketID]*credential.Credential),
	}
}

// add has an account's tickets be kept, or pass. Those that the configuration
// before has kept go on without a gap.
func (k *ticketKeeper) add(a *account.Account, pass bool) {
	k.pass[a] = pass
	for _, t := range a.Kind.Tickets {
		if isKnown(ticketKey(a, t)) {
			k.acquire(a, t)
		}
	}
}

// ticketKey is what the process knows a ticket by, across configurations.
func ticketKey(a *account.Account, t wechat.TicketType) string {
	return a.ID() + " ticket " + t.Name
}

// acquire returns an account's ticket of a type.
func (k *ticketKeeper) acquire(a *account.Account, t wechat.TicketType) *credential.Credential {
	if c := k.find(a, t); c != nil {
		return c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	id := ticketID{a, t.Name}
	if c := k.kept[id]; c != nil {
		return c
	}
	c := k.credentials.Bind(k.credential(a, t), k.runnerLocked(ticketKey(a, t)))
	k.kept[id] = c
	if k.isWarm {
		k.credentials.KeepWarm(c, 0, 0)
	}
	return c
}

// find returns a ticket that has been asked for, or nil.
func (k *ticketKeeper) find(a *account.Account, t wechat.TicketType) *credential.Credential {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.kept[ticketID{a, t.Name}]
}

func (k *ticketKeeper) runnerLocked(key string) *credential.Runner {
	if k.released {
		return credential.NewRunner()
	}
	runner, _ := k.runners.of(key) // making one cannot fail
	return runner
}

func (k *ticketKeeper) credential(a *account.Account, t wechat.TicketType) *credential.Credential {
	id := a.Credential().ID
	id.Identity += "-ticket-" + t.Name
	return &credential.Credential{
		ID: id, Name: a.Name, Method: "ticket " + t.Name, Parent: a.Credential(), Policy: ticket.Policy,
		Source: &ticket.Source{
			Kind: a.Kind, Type: t, Base: a.Upstream, RoundTripper: k.endpoint,
			Context: func(ctx context.Context) context.Context { return upstream.WithResolver(ctx, a.Resolver) },
			Redact:  func(text string) string { return a.Redactor("").String(text) },
		},
		Observer: ticketObserver{keeper: k, account: a, name: t.Name},
		Advisor:  ticketAdvisor{},
	}
}

// keepWarm begins to ask for those again that are in use.
func (k *ticketKeeper) keepWarm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.isWarm = true
	for _, c := range k.kept {
		k.credentials.KeepWarm(c, 0, 0)
	}
}

// release ends keepWarm, and waits for what is under way.
func (k *ticketKeeper) release(ctx context.Context) {
	k.mu.Lock()
	k.isWarm = false
	kept := slices.Collect(maps.Values(k.kept))
	k.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range kept {
		wg.Go(func() { k.credentials.Release(ctx, c) })
	}
	wg.Wait()
}

// cleanup gives back what the configuration holds of the process's knowledge.
func (k *ticketKeeper) cleanup() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.released = true
	return k.runners.close()
}

// value returns an account's ticket. The error is an *answer.Error.
func (k *ticketKeeper) value(ctx context.Context, a *account.Account, t wechat.TicketType) (string, error) {
	v, err := k.credentials.Value(ctx, k.acquire(a, t))
	if err != nil {
		return "", k.failure(ctx, a, err)
	}
	return v.Secret(), nil
}

// failure returns the answer where there is no ticket. It is WeChat's own, but
// for what it has said of the token: an application would fetch another.
func (k *ticketKeeper) failure(ctx context.Context, a *account.Account, err error) error {
	now := k.credentials.Now()
	u, ok := errors.AsType[*credential.UnavailableError](err)
	if !ok {
		return answer.TokenFailure(err, a, now)
	}
	if _, tokenErr := a.Token(ctx); tokenErr != nil {
		return answer.TokenFailure(tokenErr, a, now)
	}
	switch {
	case u.Errcode == wechat.OK:
		return ticketUnreachable(u, now)
	case a.Kind.IsTokenError(u.Errcode):
		return answer.TokenFailure(account.ErrStillRejected, a, now)
	}
	return &answer.Error{Status: http.StatusOK, Errcode: u.Errcode, Message: u.Message, OfWeChat: true}
}

// ticketUnreachable returns the answer where WeChat has given none.
func ticketUnreachable(u *credential.UnavailableError, now time.Time) error {
	e := &answer.Error{Status: http.StatusBadGateway, Errcode: wechat.SystemBusy, Message: "no ticket for account " + u.Name + ": " + u.Message}
	if u.Timeout {
		e.Status = http.StatusGatewayTimeout
	}
	if u.BackingOff {
		e.Status, e.RetryAfter = http.StatusServiceUnavailable, max(u.RetryAt.Sub(now), time.Second)
	}
	return e
}

// answer answers a request for a ticket, if it is one and the ticket is kept.
func (k *ticketKeeper) answer(req *http.Request, a *account.Account) ([]byte, error) {
	t, ok := a.Kind.Tickets.Of(req)
	if !ok || k.pass[a] {
		return nil, nil
	}
	value, err := k.value(req.Context(), a, t)
	if err != nil {
		return nil, err
	}
	return ticket.Answer(value), nil
}

// status returns what is known of an account's tickets.
func (k *ticketKeeper) status(a *account.Account) []TicketStatus {
	k.mu.RLock()
	var kept []string
	for id := range k.kept {
		if id.account == a {
			kept = append(kept, id.name)
		}
	}
	k.mu.RUnlock()
	if len(kept) == 0 {
		return nil
	}
	var statuses []TicketStatus
	for _, t := range a.Kind.Tickets {
		if !slices.Contains(kept, t.Name) {
			continue
		}
		is := k.credentials.Status(k.find(a, t))
		s := TicketStatus{Type: t.Name, Fingerprint: is.Fingerprint, FetchedAt: is.FetchedAt, CheckedAt: is.CheckedAt}
		if e := is.LastError; e != nil {
			s.LastError = &StatusError{
				Errcode: e.Errcode, Unreachable: e.Unreachable, Errmsg: e.Message, At: e.At,
				Advice: ticketAdvisor{}.OnFailure(&credential.Failure{Errcode: e.Errcode, Message: e.Message}),
			}
		}
		if s.Fingerprint != "" || s.LastError != nil {
			statuses = append(statuses, s)
		}
	}
	return statuses
}

// lookForTickets is how often it is found out whether other processes keep
// tickets that this one has none of.
const lookForTickets = time.Minute

// look has an account's tickets be what all processes know together.
func (k *ticketKeeper) look(ctx context.Context, a *account.Account) {
	if k.pass[a] && len(k.status(a)) == 0 {
		return
	}
	for _, t := range a.Kind.Tickets {
		c, age := k.acquire(a, t), lookForTickets
		if c.Peek() != nil {
			age = lookPause
		}
		k.credentials.Look(ctx, c, age)
	}
}

// ticketObserver counts what becomes of an account's tickets of a type.
type ticketObserver struct {
	credential.Unobserved
	keeper  *ticketKeeper
	account *account.Account
	name    string
}

// Fetched implements credential.Observer.
func (o ticketObserver) Fetched(*credential.Value) { o.count("ok") }

// Failed implements credential.Observer.
func (o ticketObserver) Failed(err *credential.UnavailableError) {
	result := "unreachable"
	if !err.Unreachable() {
		result = wechat.ErrcodeLabel(err.Errcode)
	}
	o.count(result)
}

func (o ticketObserver) count(result string) {
	ticketFetches().WithLabelValues(o.account.Name, o.name, result).Inc()
	o.keeper.changed(o.account)
}

// ticketAdvisor advises about tickets that WeChat does not give.
type ticketAdvisor struct{}

// OnFailure implements credential.Advisor.
func (ticketAdvisor) OnFailure(f *credential.Failure) string {
	switch f.Errcode {
	case wechat.APIUnauthorized:
		return "The account may not have such tickets: see in WeChat's console, under the list of its APIs, whether it has the right, which unverified accounts and mini programs lack for some."
	case wechat.QuotaExhausted:
		return "The day's quota of getticket is used up until midnight in Beijing: have everybody ask the proxy for tickets, which asks three times an hour, or clear the quota."
	}
	return ""
}

// OnCompetition implements credential.Advisor.
func (ticketAdvisor) OnCompetition() string { return "" }

// OnRejection implements credential.Advisor.
func (ticketAdvisor) OnRejection() string { return "" }

// OnQuota implements credential.Advisor.
func (ticketAdvisor) OnQuota(string) string { return "" }
