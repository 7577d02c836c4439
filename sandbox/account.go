package sandbox

import (
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// account is the state of an account. The server's mutex guards it.
type account struct {
	Account

	classic, stable *issuer
	forces          quota
	lastForced      time.Time
	clearances      quota

	refused  int // calls of the token endpoints
	forced   int
	calls    int // that passed the token check
	rejected int // that did not
	failures failures

	messages   int
	menu       *menu
	media      mediaStore
	tickets    map[string]*ticket
	loginCodes *recent[struct{}]
	phoneCodes *recent[struct{}]
	userTokens *recent[*userSession]
	refreshers *recent[*userSession]
}

const (
	maxTokens   = 4096
	maxSessions = 1024
	maxCodes    = 10_000
)

func newAccount(configured Account, expiresIn time.Duration) *account {
	a := &account{
		Account:    configured,
		forces:     quota{period: beijingDay, limit: stablePolicy.ForcesPerDay, errcode: wechat.QuotaExhausted},
		clearances: quota{period: beijingMonth, limit: 10, errcode: clearanceExhausted},
		failures:   make(failures),
		tickets:    make(map[string]*ticket),
		loginCodes: newRecent[struct{}](maxCodes),
		phoneCodes: newRecent[struct{}](maxCodes),
		userTokens: newRecent[*userSession](maxSessions),
		refreshers: newRecent[*userSession](maxSessions),
	}
	a.classic = newIssuer(a, expiresIn,
		&quota{period: beijingDay, limit: wechat.Classic{}.Policy().FetchesPerDay, errcode: wechat.QuotaExhausted},
	)
	a.stable = newIssuer(a, expiresIn,
		&quota{period: minute, limit: 10_000, errcode: wechat.TooFrequent},
		&quota{period: beijingDay, limit: stablePolicy.FetchesPerDay, errcode: wechat.QuotaExhausted},
	)
	return a
}

var stablePolicy = wechat.Stable{}.Policy()

// clearQuotas is what both clear_quota endpoints do, ten times a month.
func (a *account) clearQuotas(now time.Time) error {
	if err := a.clearances.take(now); err != nil {
		return err
	}
	a.forces.used = 0
	for _, i := range []*issuer{a.classic, a.stable} {
		for _, q := range i.quotas {
			q.used = 0
		}
	}
	return nil
}

// quota is how often something may happen in a period of time.
type quota struct {
	period  func(time.Time) int
	limit   int
	errcode int // beyond the limit

	current int // the period that used counts
	used    int
}

func (q *quota) take(now time.Time) error {
	if period := q.period(now); period != q.current {
		q.current, q.used = period, 0
	}
	if q.used >= q.limit {
		return refuse(q.errcode)
	}
	q.used++
	return nil
}

var beijing = time.FixedZone("UTC+8", 8*60*60)

func minute(t time.Time) int { return int(t.Unix() / 60) }

func beijingDay(t time.Time) int {
	t = t.In(beijing)
	return t.Year()*1000 + t.YearDay()
}

func beijingMonth(t time.Time) int {
	t = t.In(beijing)
	return t.Year()*100 + int(t.Month())
}

// recent is a map that forgets its oldest entries, so that a sandbox which runs
// for months stays small.
type recent[V any] struct {
	limit   int
	entries map[string]V
	order   []string
}

func newRecent[V any](limit int) *recent[V] {
	return &recent[V]{limit: limit, entries: make(map[string]V)}
}

func (r *recent[V]) get(key string) (V, bool) {
	v, ok := r.entries[key]
	return v, ok
}

// add adds an entry with a new key.
func (r *recent[V]) add(key string, v V) {
	if len(r.order) >= r.limit {
		delete(r.entries, r.order[0])
		r.order = r.order[1:]
	}
	r.entries[key] = v
	r.order = append(r.order, key)
}

// Kinds of endpoint that can be made to fail.
const (
	tokenEndpoint = "token"
	apiEndpoint   = "api"
)

// failures are the answers that a test has ordered, by kind of endpoint.
type failures map[string]*failure

type failure struct {
	err  *wechat.Error
	left int
}

// next returns the failure that is due, if any.
func (f failures) next(endpoint string) error {
	due := f[endpoint]
	if due == nil || due.left == 0 {
		return nil
	}
	due.left--
	return due.err
}

func (f failures) left(endpoint string) int {
	if due := f[endpoint]; due != nil {
		return due.left
	}
	return 0
}
