package weixin

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
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
	accounts map[*issuedTokens]*Account
	keys     []string // of realTokenPool
	looked   atomic.Int64
}

// add has an account's real tokens be recognised.
func (r *realIssuers) add(account *Account) error {
	key := accountID(account.Credentials, account.Source, account.Upstream)
	value, _, err := realTokenPool.LoadOrNew(key, func() (caddy.Destructor, error) { return new(issuedTokens), nil })
	if err != nil {
		return err
	}
	r.keys = append(r.keys, key)
	issued := value.(*issuedTokens)
	r.accounts[issued] = account
	account.watcher = realTokenWatcher{account.watcher, issued}
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

// realTokenWatcher sees the tokens that WeChat hands out.
type realTokenWatcher struct {
	accountObserver
	issued *issuedTokens
}

func (w realTokenWatcher) Fetched(token *Token) {
	w.issued.note(token.Secret())
	w.accountObserver.Fetched(token)
}

// note remembers the token that an account has now.
func (r *realIssuers) note(account *Account, token *Token) {
	if w, ok := account.watcher.(realTokenWatcher); ok && token != nil {
		w.issued.note(token.Secret())
	}
}

// owner returns the account whose current or last real token this is, or nil.
func (r *realIssuers) owner(accessToken string) *Account {
	digest := tokenDigest(sha256.Sum256([]byte(accessToken)))
	find := func() *Account {
		realTokens.RLock()
		defer realTokens.RUnlock()
		return r.accounts[realTokens.owners[digest]]
	}
	if account := find(); account != nil || !r.look(time.Now()) {
		return account
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
	for issued, account := range r.accounts {
		if token := account.current(); token != nil {
			issued.note(token.Secret())
		}
	}
	return true
}

// realTokenOwner returns the account whose real token a request carries, or nil.
// likely is the account that the request otherwise means, or nil.
func (app *App) realTokenOwner(ctx context.Context, accessToken string, likely *Account) *Account {
	if len(app.realIssuers.accounts) == 0 {
		return nil
	}
	if likely != nil && app.issue[likely.Name] == issueReal && likely.current() == nil {
		// After a restart the token has not been looked for yet. Where there is
		// none, the request fails for that.
		token, _ := app.tokens.Token(ctx, likely)
		app.realIssuers.note(likely, token)
	}
	return app.realIssuers.owner(accessToken)
}

// callerOfRealToken returns the caller that must have sent an account's real
// token, which names none: the only one that may use the account, where nothing
// is kept from it that it could do with the token at WeChat itself.
func (app *App) callerOfRealToken(account *Account) (*caller, *proxyError) {
	var found []*caller
	var names []string
	for _, c := range app.callers {
		if c.mayUse(account) {
			found, names = append(found, c), append(names, c.name)
		}
	}
	const cure = ": send the caller's key as Authorization: Bearer, or write issue virtual in account "
	switch {
	case len(found) == 0:
		return nil, forbidden("no caller may use account " + account.Name + ": add it to the accounts of one")
	case len(found) > 1:
		return nil, forbidden("the real token of account " + account.Name + " does not tell which of the callers " +
			strings.Join(names, ", ") + " has sent it" + cure + account.Name)
	case found[0].allow != nil:
		return nil, forbidden("the real token of account " + account.Name + " is not enough for caller " +
			names[0] + ", which has allow" + cure + account.Name)
	}
	return found[0], nil
}

// warnOfRealTokens warns of rules that do not bind those who hold an account's
// real token.
func (app *App) warnOfRealTokens() {
	for _, c := range app.callers {
		if c.allow == nil && c.ips == nil {
			continue
		}
		for _, name := range sortedKeys(app.accounts) {
			if app.issue[name] == issueReal && c.mayUse(app.accounts[name]) {
				app.logger.Warn("allow and ips do not bind a caller that gets the account's real token: it may call WeChat directly: "+
					"write issue virtual, or take the account from the caller",
					zap.String("account", name), zap.String("caller", c.name))
			}
		}
	}
}
