package sandbox

import "time"

// account is the state of an account. The server's mutex guards it.
type account struct {
	Account
	counters
	security *apiSecurity // nil where there is none

	classic, stable *issuer
	forces          quota
	lastForced      time.Time
	clearances      quota
	used            map[string]int // calls by path, on usedOn
	usedOn          int

	forced int

	menu       *menu
	media      mediaStore
	material   mediaStore
	drafts     []*draft
	published  int
	tags       *tagStore
	templates  []*template
	subscribed []*template
	tickets    map[string]*ticket
	shortened  *recent[shortened]
	remarks    map[string]string
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

// What WeChat allows of the token endpoints.
const (
	classicFetchesPerDay   = 2_000
	stableFetchesPerMinute = 10_000
	stableFetchesPerDay    = 500_000
	forcesPerDay           = 20
	forceGap               = 30 * time.Second
	clearancesPerMonth     = 10
)

func newAccount(s *Server, configured Account) *account {
	a := &account{
		Account:    configured,
		counters:   counters{failures: make(failures)},
		forces:     quota{period: beijingDay, limit: forcesPerDay, errcode: quotaExhausted},
		clearances: quota{period: beijingMonth, limit: clearancesPerMonth, errcode: clearanceExhausted},
		material:   mediaStore{permanent: true},
		tags:       newTagStore(),
		tickets:    make(map[string]*ticket),
		remarks:    make(map[string]string),
		shortened:  newRecent[shortened](maxCodes),
		loginCodes: newRecent[struct{}](maxCodes),
		phoneCodes: newRecent[struct{}](maxCodes),
		userTokens: newRecent[*userSession](maxSessions),
		refreshers: newRecent[*userSession](maxSessions),
	}
	a.classic = newIssuer(s, a,
		&quota{period: beijingDay, limit: classicFetchesPerDay, errcode: quotaExhausted},
	)
	a.stable = newIssuer(s, a,
		&quota{period: minute, limit: stableFetchesPerMinute, errcode: tooFrequent},
		&quota{period: beijingDay, limit: stableFetchesPerDay, errcode: quotaExhausted},
	)
	return a
}

func (a *account) serves(c *call, r *route) bool {
	return !c.wecom && (r == nil || r.takes == accountToken)
}

func (a *account) join(c *call) {
	c.account = a
	a.use(c.now, c.r.URL.Path)
}

// use counts a call by its path, as long as the path is one that is known.
func (a *account) use(now time.Time, path string) {
	if officialRoutes[path] == nil {
		return
	}
	if day := beijingDay(now); a.usedOn != day || a.used == nil {
		a.usedOn, a.used = day, make(map[string]int)
	}
	a.used[path]++
}

// clearQuotas is what both clear_quota endpoints do, ten times a month.
func (a *account) clearQuotas(now time.Time) error {
	if err := a.clearances.take(now); err != nil {
		return err
	}
	a.forces.used = 0
	a.used = nil
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
	forget  func(key string) // is told of an entry that goes; may be nil
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
		if r.forget != nil {
			r.forget(r.order[0])
		}
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
	err  *apiError // its errmsg is "" where the sandbox has words of its own
	left int
}

// next returns the failure that is due, nil if there is none.
func (f failures) next(endpoint string) *apiError {
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
