package weixin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// checkStore refuses stores that there are not, and a URL of Redis that is not
// there or is none for what is around it.
func (app *App) checkStore() error {
	var options storeOptions
	_ = json.Unmarshal(app.StoreRaw, &options) // the module's name comes first
	if err := checkStoreName(options.Module); err != nil {
		return err
	}
	if forms, ok := storeForms[options.Module]; ok {
		if err := decodeOptions(app.StoreRaw, new(storeOptions), forms); err != nil {
			return fmt.Errorf("store %s: %w", options.Module, err)
		}
	}
	if options.Module == "redis" && options.URL != "" {
		if _, err := app.resolve("store redis", "url", options.URL); err != nil {
			return fmt.Errorf("store redis: %w", err)
		}
	}
	return nil
}

// checkStoreName refuses names that are none of a store.
func checkStoreName(name string) error {
	if _, err := caddy.GetModule("weixin.stores." + name); err != nil {
		return fmt.Errorf("there is no store %s, as there is no module weixin.stores.%s: write store storage or store redis redis://127.0.0.1:6379/0", name, name)
	}
	return nil
}

// upstreamOf returns the upstream of an account or a platform.
func (app *App) upstreamOf(owner string, kind *wechat.Kind, configured string) (*url.URL, error) {
	if configured == "" {
		owner = "weixin"
	}
	base, err := app.resolve(owner, "upstream", cmp.Or(configured, app.upstreamFor(kind), kind.Host))
	if err != nil {
		return nil, err
	}
	u, err := upstream.ParseURL(base)
	if err == nil {
		err = checkUpstreamPath(u)
	}
	if err != nil {
		// It may hold a password, so it is not repeated.
		return nil, fmt.Errorf("upstream %w%s", err, app.positions.of(owner, "upstream"))
	}
	return u, nil
}

// upstreamFor returns the app's upstream if it is the kind's.
func (app *App) upstreamFor(kind *wechat.Kind) string {
	if kind.Host != wechat.Official.Host {
		return ""
	}
	return app.Upstream
}

// resolve returns an option's value with its placeholders replaced. Its errors
// say where the option stands.
func (app *App) resolve(owner, option, value string) (string, error) {
	resolved, err := resolveOption(option, value)
	if err != nil {
		return "", fmt.Errorf("%w%s", err, app.positions.of(owner, option))
	}
	return resolved, nil
}

// resolveOption returns an option's value with its placeholders replaced. A
// placeholder that stands for nothing is an error: the proxy would otherwise
// start with a secret that is missing. Errors repeat no value.
func resolveOption(option, value string) (string, error) {
	if value == "" {
		return "", fmt.Errorf("%s is missing: write %s {env.…}, for example", option, option)
	}
	if err := checkPlaceholders(option, value); err != nil {
		return "", err
	}
	resolved, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	// A file may end with line breaks, and begin with a byte order mark.
	if resolved = strings.TrimSpace(strings.TrimPrefix(resolved, "\ufeff")); err == nil && resolved != "" {
		return resolved, checkCharacters(option, resolved)
	}
	placeholder := strings.TrimSuffix(strings.TrimPrefix(value, "{"), "}")
	if len(placeholder) != len(value)-2 || strings.ContainsAny(placeholder, "{}") {
		// What stands beside a placeholder may be secret.
		return "", fmt.Errorf("a placeholder of %s is empty or unknown: %s", option, cureOf(firstPlaceholder(value)))
	}
	return "", fmt.Errorf("%s %s is empty: %s", option, value, cureOf(placeholder))
}

// cureOf says how a placeholder gets a value.
func cureOf(placeholder string) string {
	if name, ok := strings.CutPrefix(placeholder, "env."); ok {
		return "set the environment variable " + name + ", for example in a file for --envfile"
	}
	if name, ok := strings.CutPrefix(placeholder, "file."); ok {
		return "write it into the file " + name
	}
	return "Caddy knows nothing by this name here, so write {env.NAME} or {file./path/of/it}"
}

// firstPlaceholder returns the first placeholder in a value that stands for
// nothing, without its braces, or "".
func firstPlaceholder(value string) string {
	for _, match := range placeholderName.FindAllStringSubmatch(value, -1) {
		if resolved, err := caddy.NewReplacer().ReplaceOrErr(match[0], true, true); err != nil || resolved == "" {
			return match[1]
		}
	}
	return ""
}

var placeholderName = regexp.MustCompile(`\{(env\.\w+|file\.[^{}]+)\}`)

// mistakenPlaceholders are how other programs write the value of an environment
// variable. Its name is what the first group matches.
var mistakenPlaceholders = [...]*regexp.Regexp{
	regexp.MustCompile(`\$\{(?:env\.)?([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`\{\{? ?\$?\.?([A-Za-z_]\w*) ?\}`),
	regexp.MustCompile(`\{(?:ENV|Env)[.:]([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`\{env:([A-Za-z_]\w*)\}`),
	regexp.MustCompile(`^%([A-Za-z_]\w*)%$`),
	// A dollar sign may be part of a key or a password.
	regexp.MustCompile(`(?:^|[/:@])\$([A-Z_][A-Z0-9_]*)(?:$|[/:@?])`),
}

// looksLikeVariable is for names that can be shown.
var looksLikeVariable = regexp.MustCompile(`^(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*|[a-z][a-z0-9]*(?:_[a-z0-9]+)+)$`)

var (
	brokenPlaceholder = regexp.MustCompile(`\{(?:env|file)\.[^{}]*(?:$|\}\})`)
	bareVariable      = regexp.MustCompile(`^(?:env\.\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)$`)
	barePath          = regexp.MustCompile(`^@?/(?:run|etc|var|home|root|secrets|opt|tmp)/[^{}]+$`)
	inBrackets        = regexp.MustCompile(`^<.*>$`)
)

// anyDollar is for an AppID, which never has a dollar sign.
var anyDollar = regexp.MustCompile(`\$([A-Za-z_]\w*)`)

// checkPlaceholders refuses what is meant as a placeholder and is none.
func checkPlaceholders(option, value string) error {
	refuse := func(match []string) error {
		name := match[1]
		if !looksLikeVariable.MatchString(name) {
			name = "NAME" // it may be a secret with a brace or a dollar sign
		}
		return fmt.Errorf("%s has no placeholder of Caddy's, but one of another program's: write {env.%s}", option, name)
	}
	for _, pattern := range mistakenPlaceholders {
		if match := pattern.FindStringSubmatch(value); match != nil {
			return refuse(match)
		}
	}
	if brokenPlaceholder.MatchString(value) {
		return fmt.Errorf("%s has a placeholder with a brace too few or too many: write {env.NAME} or {file./path/of/it}", option)
	}
	switch option {
	case optionAppID, optionCorpID, optionSecret, optionPushToken, optionPushAESKey:
		switch {
		case bareVariable.MatchString(value):
			return fmt.Errorf("%s is the name of a variable: write {env.%s}", option, strings.TrimPrefix(value, "env."))
		case barePath.MatchString(value):
			return fmt.Errorf("%s is a path: write {file.%s}", option, strings.TrimPrefix(value, "@"))
		case inBrackets.MatchString(value):
			return fmt.Errorf("%s is in angle brackets, as what is to be filled in: write the value itself, or {env.NAME}", option)
		}
	}
	if option == optionAppID || option == optionCorpID {
		if match := anyDollar.FindStringSubmatch(value); match != nil {
			return refuse(match)
		}
	}
	return nil
}

// Options whose values have a form of WeChat's.
const (
	optionKind    = "kind"
	optionAppID   = "appid"
	optionCorpID  = "corpid"
	optionAgentID = "agentid"
	optionSecret  = "secret"
	optionKey     = "key"
)

// quotes are what values are put into where they come from.
const quotes = "\"'`“”„‘’「」『』＂＇"

// checkCharacters refuses a value with characters that came in on its way: with
// quotes around it, or of a Chinese keyboard.
func checkCharacters(option, value string) error {
	first, _ := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	begins, ends := strings.ContainsRune(quotes, first), strings.ContainsRune(quotes, last)
	// A caller's key may be anything, and so may the secret for a hub, which is a
	// caller's key there.
	isKey := option == optionKey || option == optionSecret
	if begins && ends && utf8.RuneCountInString(value) > 1 || !isKey && (begins || ends) {
		return fmt.Errorf("%s is in quotes, which are taken for a part of it: write it without them", option)
	}
	if option == optionKey || option == optionSign || option == optionVerify { // PEM has lines
		return nil
	}
	for _, r := range value {
		switch {
		case gateway.IsFullWidth(r):
			return fmt.Errorf("%s has the full-width character %q: write it in ASCII", option, r)
		case isKey:
		case r > unicode.MaxASCII && (option == optionAppID || option == optionCorpID), unicode.IsSpace(r), unicode.IsControl(r):
			return fmt.Errorf("%s has a space, or a character that is not ASCII: leave it out", option)
		}
	}
	return nil
}

var (
	looksLikeAppID  = regexp.MustCompile(`^(?i:wx[0-9a-f]{16})$`)
	looksLikeSecret = regexp.MustCompile(`^(?i:[0-9a-f]{32})$`)
)

// checkNotSwapped refuses an AppSecret in place of the AppID, and the reverse.
func checkNotSwapped(appID, secret string) error {
	if looksLikeSecret.MatchString(appID) && looksLikeAppID.MatchString(secret) {
		return errors.New("appid and secret are swapped: write the one that begins with wx as appid")
	}
	return nil
}

// checkAppID refuses what is another of the things that WeChat's console shows.
func checkAppID(appID string) error {
	switch {
	case looksLikeSecret.MatchString(appID):
		return errors.New("appid has the form of an AppSecret: write the AppID, which begins with wx")
	case strings.HasPrefix(appID, "gh_"):
		return errors.New("appid is the account's original ID: write its AppID, which begins with wx")
	case gateway.HasPlaceholder(appID):
		return nil
	}
	if i := strings.IndexFunc(appID, isNoAppIDCharacter); i >= 0 {
		r, _ := utf8.DecodeRuneInString(appID[i:])
		return fmt.Errorf("appid has the character %q, which no AppID has: leave it out, and write it like wx0123456789abcdef", r)
	}
	return nil
}

func isNoAppIDCharacter(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
}

// checkUpstreamPath refuses a base URL that ends in what requests' paths begin
// with.
func checkUpstreamPath(u *url.URL) error {
	if strings.Contains(strings.ToLower(u.Path)+"/", "/cgi-bin/") {
		return errors.New("has /cgi-bin in it, with which paths begin already: leave it out, and all that follows")
	}
	return nil
}

// minKeyLength is how many characters a caller's key has at least.
const minKeyLength = 16

// checkKey refuses keys that could be guessed.
func checkKey(key string) error {
	if scheme, _, ok := strings.Cut(key, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return errors.New("key has Bearer before it, which callers write in their requests: leave it out")
	}
	if n := utf8.RuneCountInString(key); n < minKeyLength {
		return fmt.Errorf("key has %d characters, and could be guessed: write one of %d at least, such as `openssl rand -hex 16` gives", n, minKeyLength)
	}
	return nil
}
