package weixin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// CallerConfig is an application that may use the proxy. Once there is a
// caller, nothing passes without the key of one.
type CallerConfig struct {
	// The key by which the application proves itself: as the `secret` it asks
	// for a token with, or in a header `Authorization: Bearer <key>`. Write it
	// as a placeholder, such as `{env.ORDERS_KEY}` or
	// `{file./run/secrets/orders}`: placeholders are resolved when the
	// configuration is loaded, and the key itself appears nowhere. Required.
	Key string `json:"key,omitempty"`

	// The names of the accounts it may use. Default: all.
	Accounts []string `json:"accounts,omitempty"`

	// The paths it may call, as in Caddy's path matcher. Tokens it may always
	// ask for. Default: every path.
	Allow []string `json:"allow,omitempty"`

	// The addresses it may call from, as IPs or CIDR ranges; `private_ranges`
	// stands for all loopback and private ranges. Default: anywhere.
	IPs []string `json:"ips,omitempty"`
}

// caller is a caller whose configuration was resolved.
type caller struct {
	name      string
	id        virtualID
	keyDigest [sha256.Size]byte
	accounts  []string
	allow     caddyhttp.MatchPath
	ips       []netip.Prefix
}

// addCaller resolves one caller.
func (app *App) addCaller(ctx caddy.Context, name string, cfg *CallerConfig) error {
	if err := checkName(name); err != nil {
		return err
	}
	if cfg == nil {
		cfg = new(CallerConfig)
	}
	owner := "caller " + name
	key, err := app.resolve(owner, optionKey, cfg.Key)
	if err != nil {
		return err
	}
	if err := app.checkKey(key); err != nil {
		return fmt.Errorf("%w%s", err, app.positions.of(owner, optionKey))
	}
	c := &caller{name: name, id: newVirtualID("caller", name), keyDigest: sha256.Sum256([]byte(key)), accounts: cfg.Accounts}
	for _, other := range app.callers {
		if other.keyDigest == c.keyDigest {
			return fmt.Errorf("its key is that of caller %s already: give every caller a key of its own%s", other.name, app.positions.of(owner, optionKey))
		}
	}
	for option, values := range map[string][]string{"accounts": cfg.Accounts, "allow": cfg.Allow, "ips": cfg.IPs} {
		if values != nil && len(values) == 0 {
			return fmt.Errorf("%s is empty: name some, or leave it out for all", option)
		}
	}
	app.warnOfLiteral(owner, optionKey, cfg.Key)
	for _, account := range cfg.Accounts {
		if _, ok := app.accounts[account]; !ok {
			return fmt.Errorf("there is no account %s: write one of %s%s", account,
				strings.Join(sortedKeys(app.accounts), ", "), app.positions.of(owner, "accounts"))
		}
	}
	if err := checkPathPatterns(cfg.Allow); err != nil {
		return err
	}
	c.allow = slices.Clone(caddyhttp.MatchPath(cfg.Allow))
	if err := c.allow.Provision(ctx); err != nil {
		return err
	}
	if c.ips, err = parseRanges(cfg.IPs); err != nil {
		return fmt.Errorf("ips: %w", err)
	}
	app.callers = append(app.callers, c)
	app.callersByID[c.id] = c
	return nil
}

// checkKey refuses keys that could be guessed, or are worth more than a key.
func (app *App) checkKey(key string) error {
	for _, name := range sortedKeys(app.accounts) {
		if app.accounts[name].Credentials.AppSecret == key {
			return fmt.Errorf("its key is the AppSecret of account %s: give the caller a key of its own, such as `openssl rand -hex 16` gives", name)
		}
	}
	return checkKey(key)
}

// checkPathPatterns refuses patterns that match no path of WeChat's.
func checkPathPatterns(patterns []string) error {
	for _, pattern := range patterns {
		if !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "*") {
			return fmt.Errorf("allow %s matches no path: write it with a leading slash, like /cgi-bin/message/*", pattern)
		}
		if i := strings.IndexFunc(pattern, isFullWidth); i >= 0 {
			r, _ := utf8.DecodeRuneInString(pattern[i:])
			return fmt.Errorf("allow %s has the full-width character %q, which no path has: write it in ASCII", pattern, r)
		}
		if strings.Contains(pattern, "?") && strings.Contains(pattern, "=") {
			return fmt.Errorf("allow %s has a query, which is no part of a path: write the path alone, like /cgi-bin/message/*", pattern)
		}
	}
	return nil
}

// callerByKey returns whose key this is, or nil. It takes as long for every key.
func (app *App) callerByKey(key string) *caller {
	digest := sha256.Sum256([]byte(key))
	var found *caller
	for _, c := range app.callers {
		if subtle.ConstantTimeCompare(digest[:], c.keyDigest[:]) == 1 {
			found = c
		}
	}
	return found
}

func (c *caller) mayUse(account *Account) bool {
	return c.accounts == nil || slices.Contains(c.accounts, account.Name)
}

// check says whether the caller may make a request. The error names the caller
// and the rule.
func (c *caller) check(req *http.Request, account *Account, tokenEndpoint bool) *proxyError {
	switch {
	case !c.mayUse(account):
		return forbidden(fmt.Sprintf("caller %s may not use account %s: its accounts are %s",
			c.name, account.Name, strings.Join(c.accounts, ", ")))
	case c.ips != nil && !containsClient(c.ips, req):
		return forbidden(fmt.Sprintf("caller %s may not call from this address: add it to its ips", c.name))
	case c.allow != nil && !tokenEndpoint && !c.allow.Match(req):
		return forbidden(fmt.Sprintf("caller %s may not call %s: its allow does not have it", c.name, req.URL.Path))
	}
	return nil
}
