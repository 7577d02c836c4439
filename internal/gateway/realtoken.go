package gateway

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
)

// Where an account's real token is issued, applications send it back. It is
// recognised, so that it names the account, and the caller where only one can
// have it. Tokens are known by their digests: how long a look-up takes tells
// nothing of them.

// issuedTokens are the digests of an account's current and last real token. The
// old and the new configuration share them during a reload.
type issuedTokens struct {
	current, last tokenDigest
}

type tokenDigest [sha256.Size]byte

// realTokens finds whose a real token is, among all accounts of the process.
var realTokens = struct {
	sync.RWMutex
	owners map[tokenDigest]*issuedTokens
}{owners: make(map[tokenDigest]*issuedTokens)}

// realTokenPool holds the issuedTokens by the account's ID.
var realTokenPool = caddy.NewUsagePool()

// note remembers a token as the account's current one.
func (i *issuedTokens) note(accessToken string) {
	digest := tokenDigest(sha256.Sum256([]byte(accessToken)))
	realTokens.Lock()
	defer realTokens.Unlock()
	if digest == i.current || digest == i.last {
		return
	}
	i.forgetLocked(i.last)
	i.current, i.last = digest, i.current
	realTokens.owners[digest] = i
}

func (i *issuedTokens) forgetLocked(digest tokenDigest) {
	if realTokens.owners[digest] == i {
		delete(realTokens.owners, digest)
	}
}

// Destruct forgets the tokens of an account that no configuration has any more.
func (i *issuedTokens) Destruct() error {
	realTokens.Lock()
	defer realTokens.Unlock()
	i.forgetLocked(i.current)
	i.forgetLocked(i.last)
	return nil
}

// realIssuers are the accounts of a configuration whose real tokens are issued.
type realIssuers struct {
	accounts map[*issuedTokens]*account.Account
	keys     []string // of realTokenPool
	looked   atomic.Int64
}

// add has an account's real tokens be recognised.
func (r *realIssuers) add(a *account.Account) error {
	key := a.ID()
	value, _, err := realTokenPool.LoadOrNew(key, func() (caddy.Destructor, error) { return new(issuedTokens), nil })
	if err != nil {
		return err
	}
	r.keys = append(r.keys, key)
	issued := value.(*issuedTokens)
	r.accounts[issued] = a
	a.Observer = realTokenObserver{a.Observer, issued}
	return nil
}

// release gives back what add took.
func (r *realIssuers) release() error {
	for _, key := range r.keys {
		if _, err := realTokenPool.Delete(key); err != nil {
			return err
		}
	}
	r.keys = nil
	return nil
}

// realTokenObserver sees the tokens that WeChat hands out.
type realTokenObserver struct {
	account.Observer
	issued *issuedTokens
}

func (o realTokenObserver) Fetched(token *account.Token) {
	o.issued.note(token.Secret())
	o.Observer.Fetched(token)
}

// note remembers the token that an account has now.
func (r *realIssuers) note(a *account.Account, token *account.Token) {
	if o, ok := a.Observer.(realTokenObserver); ok && token != nil {
		o.issued.note(token.Secret())
	}
}

// owner returns the account whose current or last real token this is, or nil.
func (r *realIssuers) owner(accessToken string) *account.Account {
	digest := tokenDigest(sha256.Sum256([]byte(accessToken)))
	find := func() *account.Account {
		realTokens.RLock()
		defer realTokens.RUnlock()
		return r.accounts[realTokens.owners[digest]]
	}
	if a := find(); a != nil || !r.look(time.Now()) {
		return a
	}
	return find()
}

// unknownTokenPause is how often the accounts are looked at because of tokens that are
// not known, whoever makes them up.
const unknownTokenPause = 100 * time.Millisecond

// look remembers the tokens that came from the store and not from WeChat: those
// of another process, or from before a restart. It reports whether it has looked.
func (r *realIssuers) look(now time.Time) bool {
	before := r.looked.Load()
	if now.UnixNano()-before < int64(unknownTokenPause) || !r.looked.CompareAndSwap(before, now.UnixNano()) {
		return false
	}
	for issued, a := range r.accounts {
		if token := a.CurrentToken(); token != nil {
			issued.note(token.Secret())
		}
	}
	return true
}

// realTokenOwner returns whose real token a request carries, or the zero subject.
// likely is the account that the request otherwise means, or nil.
func (r *Registry) realTokenOwner(ctx context.Context, accessToken string, likely *account.Account) subject {
	if len(r.issuers.accounts) == 0 {
		return subject{}
	}
	if likely != nil && likely.Issue == account.IssueReal && likely.CurrentToken() == nil {
		// After a restart the token has not been looked for yet. Where there is
		// none, the request fails for that.
		token, _ := likely.Token(ctx)
		r.issuers.note(likely, token)
	}
	for _, p := range r.platforms {
		if appID := p.issued.owner(accessToken); appID != "" {
			return p.of(appID)
		}
	}
	return r.subjectOf(r.issuers.owner(accessToken))
}

// callerOfRealToken returns the caller that must have sent an account's real
// token, which names none: the only one that may use the account, where nothing
// is kept from it that it could do with the token at WeChat itself.
func (r *Registry) callerOfRealToken(s subject) (*Caller, error) {
	var found []*Caller
	var names []string
	for _, c := range r.callers {
		if c.mayUse(s) {
			found, names = append(found, c), append(names, c.Name)
		}
	}
	const cure = ": send the caller's key as Authorization: Bearer, or write issue virtual in "
	switch {
	case len(found) == 0:
		return nil, answer.Forbidden("no caller may use account " + s.name() + ": add it to the accounts of one")
	case len(found) > 1:
		return nil, answer.Forbidden("the real token of account " + s.name() + " does not tell which of the callers " +
			strings.Join(names, ", ") + " has sent it" + cure + s.configured())
	case found[0].Allow != nil:
		return nil, answer.Forbidden("the real token of account " + s.name() + " is not enough for caller " +
			names[0] + ", which has allow" + cure + s.configured())
	}
	return found[0], nil
}

// WarnOfRealTokens warns of rules that do not bind those who hold an account's
// real token.
func (r *Registry) WarnOfRealTokens() {
	for _, c := range r.callers {
		if c.Allow == nil && c.IPs == nil {
			continue
		}
		for a := range r.all() {
			if s := r.subjectOf(a); a.Issue == account.IssueReal && (c.mayUse(s) || s.platform != nil && c.mayUseSomeOf(s.platform)) {
				r.logger.Warn("allow and ips do not bind a caller that gets the account's real token: it may call WeChat directly: "+
					"write issue virtual, or take the account from the caller",
					zap.String("account", a.Name), zap.String("caller", c.Name))
			}
		}
	}
}
