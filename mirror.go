package weixin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/mirror"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
	"github.com/caddy-weixin/caddy-weixin/store"
)

// accountMirrors are the mirrors of a configuration's accounts.
type accountMirrors struct {
	option.Values
	tokens *TokenManager
	all    []*accountMirror
}

// accountMirror keeps one SDK's keys of one account in one Redis.
type accountMirror struct {
	among   *accountMirrors
	account *account.Account
	place   [sha256.Size]byte // where it writes what is of its AppID or corpid
	target  [sha256.Size]byte // where it writes what
	client  *store.RedisClient
	writer  *mirror.Writer
	logger  *zap.Logger

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	written map[mirror.Type]bool
	trouble string // as it was logged last, or ""
}

// add sets up an account's mirrors.
func (ms *accountMirrors) add(a *account.Account, configs []*MirrorConfig) error {
	for i, c := range configs {
		if c == nil {
			c = new(MirrorConfig)
		}
		m, err := ms.newMirror(a, c)
		if err != nil {
			return ms.Wrong("account "+a.Name, mirrorOption(i), fmt.Errorf("mirror %s: %w", c.Preset, err))
		}
		ms.all = append(ms.all, m)
	}
	if len(configs) > 0 {
		a.Observer = mirroredAccount{a.Observer, a, ms}
		ms.tokens.tickets.changed = ms.wake
	}
	return nil
}

func (ms *accountMirrors) newMirror(a *account.Account, c *MirrorConfig) (*accountMirror, error) {
	preset, err := mirror.ParsePreset(c.Preset)
	if err != nil {
		return nil, err
	}
	url, err := option.Resolve("url", c.URL)
	if err != nil {
		return nil, err
	}
	prefix := c.Prefix
	if option.HasPlaceholder(prefix) {
		if prefix, err = option.Resolve("prefix", prefix); err != nil {
			return nil, err
		}
	}
	where := strings.Join([]string{c.Preset, url, prefix, a.Credentials.ID}, "\x00")
	place, target := sha256.Sum256([]byte(where)), sha256.Sum256([]byte(where))
	if a.Kind.SecretsApart {
		target = sha256.Sum256([]byte(where + "\x00" + a.ID()))
	}
	if slices.ContainsFunc(ms.all, func(m *accountMirror) bool { return m.target == target }) {
		return nil, errors.New("it is given twice for the same Redis and prefix: leave one out")
	}
	client, err := store.NewRedisClient(c.URL, 0, ms.Logger)
	if err != nil {
		return nil, err
	}
	return &accountMirror{
		among: ms, account: a, place: place, target: target, client: client,
		writer: &mirror.Writer{Client: client, Preset: preset, Prefix: prefix},
		logger: ms.Logger.With(zap.String("account", a.Name), zap.String("mirror", c.Preset)),
		wake:   make(chan struct{}, 1), written: make(map[mirror.Type]bool),
	}, nil
}

// mirroredAccount sees what may change an account's values.
type mirroredAccount struct {
	account.Observer
	account *account.Account
	mirrors *accountMirrors
}

// Fetched implements credential.Observer.
func (a mirroredAccount) Fetched(v *credential.Value) {
	a.mirrors.wake(a.account)
	a.Observer.Fetched(v)
}

// Failed implements credential.Observer.
func (a mirroredAccount) Failed(err *credential.UnavailableError) {
	a.mirrors.wake(a.account)
	a.Observer.Failed(err)
}

// Replayed implements account.Observer. A value that was refused may be one that
// must not be used any more, or another process has got the next.
func (a mirroredAccount) Replayed(errcode int, result account.ReplayResult) {
	a.mirrors.wake(a.account)
	a.Observer.Replayed(errcode, result)
}

// wake has an account's mirrors be written.
func (ms *accountMirrors) wake(a *account.Account) {
	for _, m := range ms.all {
		if m.account == a {
			newestMirror(m).poke()
		}
	}
}

func (m *accountMirror) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it is awake, and will look again
	}
}

// runningMirrors are those of the process, by where they write. During a reload
// two configurations may write to one place, of different values if the AppSecret
// has changed: the newest does.
var runningMirrors = struct {
	sync.Mutex
	by map[[sha256.Size]byte][]*accountMirror
}{by: make(map[[sha256.Size]byte][]*accountMirror)}

// newestMirror returns the newest that writes where another does.
func newestMirror(m *accountMirror) *accountMirror {
	runningMirrors.Lock()
	defer runningMirrors.Unlock()
	if all := runningMirrors.by[m.target]; len(all) > 0 {
		return all[len(all)-1]
	}
	return m
}

func (ms *accountMirrors) start() {
	for _, m := range ms.all {
		m.start()
	}
}

func (m *accountMirror) start() {
	runningMirrors.Lock()
	runningMirrors.by[m.target] = append(runningMirrors.by[m.target], m)
	runningMirrors.Unlock()
	m.logger.Warn("the account's real token is written into Redis, where the SDK looks for it: whoever can read that Redis can use it, and no caller's rules bind them")
	for _, t := range m.account.Kind.Tickets {
		m.among.tokens.tickets.acquire(m.account, t) // those in the store are mirrored, too
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.done = stop, make(chan struct{})
	go m.run(ctx)
}

// stop ends the mirrors. What is written stays: it is as good as before.
func (ms *accountMirrors) stop() {
	for _, m := range ms.all {
		if m.stop != nil {
			m.end()
		}
	}
}

func (m *accountMirror) end() {
	m.stop()
	<-m.done
	m.stop = nil
	runningMirrors.Lock()
	defer runningMirrors.Unlock()
	rest := slices.DeleteFunc(runningMirrors.by[m.target], func(other *accountMirror) bool { return other == m })
	if len(rest) == 0 {
		delete(runningMirrors.by, m.target)
		return
	}
	runningMirrors.by[m.target] = rest
	rest[len(rest)-1].poke() // its turn, as the reload has failed
}

// close closes the connections to Redis.
func (ms *accountMirrors) close() {
	for _, m := range ms.all {
		_ = m.client.Close() // nothing depends on it
	}
}

const (
	// mirrorEvery is how often everything is written again.
	mirrorEvery = mirror.RewriteWithin - 15*time.Second

	// mirrorRetry is when what could not be written is tried again.
	mirrorRetry = 5 * time.Second
)

// run writes at once, when it is woken, and again and again.
func (m *accountMirror) run(ctx context.Context) {
	defer close(m.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		if newestMirror(m) != m {
			timer.Reset(mirrorEvery)
			continue
		}
		next, err := m.write(ctx)
		if ctx.Err() != nil {
			return
		}
		m.tell(err)
		timer.Reset(next)
	}
}

// tell logs an error once, and its end.
func (m *accountMirror) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == m.trouble:
		return
	case err != nil:
		m.logger.Error("the account's mirror is not written", zap.Error(err))
	default:
		m.logger.Info("the account's mirror is written again")
	}
	m.trouble = text
}

// errMirrorOfHub is the error of a mirror of what is none of WeChat's.
var errMirrorOfHub = errors.New("the account's upstream is a proxy like this one, whose tokens are good for it alone and of no use to who calls WeChat: " +
	"write mirror there, for its account, and leave it out here")

// write writes all that the account has. It returns when to do so again.
func (m *accountMirror) write(ctx context.Context) (next time.Duration, err error) {
	next = mirrorEvery
	end, err := m.writeValue(ctx, mirror.AccessToken, m.account.Credential())
	for _, t := range m.account.Kind.Tickets {
		typ, known := mirroredTickets[t.Name]
		c := m.among.tokens.tickets.find(m.account, t)
		if !known || c == nil || err != nil {
			continue
		}
		_, err = m.writeValue(ctx, typ, c)
	}
	if left := end.Sub(m.among.tokens.credentials.Now()); !end.IsZero() && left < next {
		next = max(left, time.Second) // it must not be there any longer
	}
	if err != nil {
		next = min(next, mirrorRetry)
	}
	return next, err
}

// mirroredTickets are the types by their names.
var mirroredTickets = map[string]mirror.Type{
	wechat.JSAPITicket: mirror.JSAPITicket, wechat.CardTicket: mirror.CardTicket, wechat.SDKTicket: mirror.SDKTicket,
	wechat.AgentTicket: mirror.AgentTicket,
}

// writeValue writes a value, or removes it where there is none that can be used.
// Another process may have got a newer one in the meantime, and written it
// before: then that is written again. It returns when the value ends.
func (m *accountMirror) writeValue(ctx context.Context, t mirror.Type, c *credential.Credential) (end time.Time, err error) {
	manager := m.among.tokens.credentials
	manager.Look(ctx, c, 0)
	for {
		v, status := c.Peek(), manager.Status(c)
		switch {
		case v != nil && account.IsVirtualToken(v.Secret()):
			return end, errMirrorOfHub
		case v != nil && status.Usable:
			end = v.ExpiresAt()
			err = m.writer.Write(ctx, m.mirrored(), mirror.Value{Type: t, Text: v.Secret(), ExpiresAt: end})
		case m.written[t] || v != nil || status.State == credential.BackOff || status.State == credential.Refused:
			end, err = time.Time{}, m.writer.Remove(ctx, m.mirrored(), t)
		}
		if err != nil {
			return end, err
		}
		m.written[t] = v != nil && status.Usable
		manager.Look(ctx, c, 0)
		if c.Peek() == v && manager.Status(c).Usable == status.Usable {
			return end, nil
		}
	}
}

// mirrored is the account as the package mirror knows it.
func (m *accountMirror) mirrored() mirror.Account {
	of := mirror.Account{Kind: mirror.Official, ID: m.account.Credentials.ID, Secret: m.account.Credentials.Secret}
	if m.account.Kind == wechat.WeCom {
		of.Kind, of.AgentID = mirror.WeCom, m.account.AgentID
		of.SharedCorp = slices.ContainsFunc(m.among.all, func(other *accountMirror) bool {
			return other.place == m.place && other.account != m.account
		})
	}
	return of
}
