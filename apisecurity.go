package weixin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/apisecurity"
)

// APISecurityConfig is what an account has set up in WeChat's console for calls
// that are encrypted and signed (服务端API签名与加密). Algorithms are AES256_GCM
// and RSAwithSHA256.
type APISecurityConfig struct {
	// The number of the symmetric key, as the console shows it. Placeholders are
	// resolved when the configuration is loaded. Required.
	KeySN string `json:"key_sn,omitempty"`

	// The symmetric key, AES256_GCM: 32 bytes in base64, as the console shows
	// them. Write it as a placeholder, such as `{env.API_KEY}`: placeholders are
	// resolved when the configuration is loaded, and the key itself appears
	// nowhere. Required.
	Key string `json:"key,omitempty"`

	// The number of the private key. It is part of nothing that is signed.
	// Default: none, as RSA needs none.
	SignSN string `json:"sign_sn,omitempty"`

	// The application's RSA private key in PEM, PKCS#1 or PKCS#8, that requests
	// are signed with. Write it as a placeholder, such as
	// `{file./run/secrets/api.pem}`. Required.
	Sign string `json:"sign,omitempty"`

	// The platform's certificates in PEM, that answers are verified with, by their
	// numbers, which the console shows beside them. Both may be placeholders, such
	// as `{file./etc/wechat.pem}`. While the platform's certificate changes, there
	// are two. Required.
	Verify map[string]string `json:"verify,omitempty"`

	// The paths whose requests are encrypted, as in Caddy's path matcher.
	// Default: those whose documentation says that they support it
	Paths []string `json:"paths,omitempty"`

	// Whether answers are taken that are neither encrypted nor an error, from APIs
	// that do not support it. Default: false; they are answered with status 502.
	PlainAnswers bool `json:"plain_answers,omitempty"`
}

var apiSecurityForms = optionForms{
	"key_sn":        `"fa05fe1e5bcc79b81ad5ad4b58acf787"`,
	"key":           `"{env.API_KEY}"`,
	"sign_sn":       `"97845f6ed842ea860df6fdf65941ff56"`,
	"sign":          `"{file./run/secrets/api.pem}"`,
	"verify":        `{"79ba700ea147819f640941bceb38b1d1": "{file./etc/wechat.pem}"}`,
	"paths":         `["/wxa/getuserriskrank"]`,
	"plain_answers": `true`,
}

// UnmarshalJSON decodes the options of API security.
func (c *APISecurityConfig) UnmarshalJSON(data []byte) error {
	type plain APISecurityConfig
	err := decodeOptions(data, (*plain)(c), apiSecurityForms)
	if wrong, ok := errors.AsType[*optionError](err); ok {
		return &optionError{optionAPISecurity + ": " + wrong.text}
	}
	return err
}

// Options of an account's API security.
const (
	optionAPISecurity = "api_security"
	optionSign        = "sign"
	optionVerify      = "verify"
)

// check refuses a configuration in which something is missing.
func (c *APISecurityConfig) check() error {
	switch {
	case c.Key == "" || c.KeySN == "":
		return errors.New("api_security has no key: write key <sn> {env.API_KEY}, with the number of the symmetric key in the console")
	case c.Sign == "":
		return errors.New("api_security has no private key: write sign {file./run/secrets/api.pem}, for example")
	case len(c.Verify) == 0:
		return errors.New("api_security has no certificate of the platform: write verify <number> {file./etc/wechat.pem}, with the certificate's number in the console")
	}
	return checkSecuredPaths(c.Paths)
}

// checkSecuredPaths refuses patterns that match no path of WeChat's.
func checkSecuredPaths(paths []string) error {
	for _, path := range paths {
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "*") {
			return fmt.Errorf("paths %s matches no path: write it with a leading slash, like /wxa/getuserriskrank", path)
		}
	}
	return nil
}

// newAPISecurity returns the API security of an account, nil where there is none.
func (app *App) newAPISecurity(name string, appID string, c *APISecurityConfig) (*account.APISecurity, error) {
	if c == nil {
		return nil, nil
	}
	owner := apiSecurityOf(name)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w%s", err, app.positions.of("account "+name, optionAPISecurity))
	}
	resolved, err := app.resolveAPISecurity(owner, c)
	if err != nil {
		return nil, err
	}
	resolved.AppID = appID
	keys, err := apisecurity.NewKeys(*resolved)
	if wrong, ok := errors.AsType[*apisecurity.KeyError](err); ok {
		return nil, fmt.Errorf("api_security: %w%s", wrong, app.positions.of(owner, wrong.Option))
	}
	if err != nil {
		return nil, err
	}
	if _, _, err := keys.Seal(time.Now(), "/", "", nil); err != nil {
		return nil, fmt.Errorf("api_security: sign is a key that nothing can be signed with: write one of 2048 bits, as the console makes them%s", app.positions.of(owner, optionSign))
	}
	app.warnOfLiteral(owner, optionKey, c.Key)
	app.warnOfLiteral(owner, optionSign, c.Sign)
	paths := slices.Clone(caddyhttp.MatchPath(apisecurity.Paths))
	if len(c.Paths) > 0 {
		paths = slices.Clone(caddyhttp.MatchPath(c.Paths))
	}
	matches := func(req *http.Request) bool {
		_, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer) // the matcher needs it
		return ok && paths.Match(req)
	}
	return &account.APISecurity{Keys: keys, Matches: matches}, paths.Provision(caddy.Context{})
}

// resolveAPISecurity returns the configuration with its placeholders replaced.
func (app *App) resolveAPISecurity(owner string, c *APISecurityConfig) (*apisecurity.Config, error) {
	resolved := &apisecurity.Config{Verify: make(map[string]string, len(c.Verify)), PlainAnswers: c.PlainAnswers}
	for _, o := range []struct {
		option, value string
		target        *string
		isNumber      bool
	}{
		{optionKey, c.KeySN, &resolved.KeySerial, true},
		{optionKey, c.Key, &resolved.Key, false},
		{optionSign, c.SignSN, &resolved.SignSerial, true},
		{optionSign, c.Sign, &resolved.SignKey, false},
	} {
		if o.value == "" {
			continue // the private key may have no number
		}
		var err error
		if *o.target, err = resolveOption(o.option, o.value); err == nil && o.isNumber {
			err = checkCharacters("the number of "+o.option, *o.target)
		}
		if err != nil {
			return nil, fmt.Errorf("api_security: %w%s", err, app.positions.of(owner, o.option))
		}
	}
	for _, number := range sortedKeys(c.Verify) {
		at := app.positions.of(owner, verifyOption(number))
		resolvedNumber, err := resolveOption(optionVerify, number)
		if err != nil {
			return nil, fmt.Errorf("api_security: %w%s", err, at)
		}
		if _, ok := resolved.Verify[resolvedNumber]; ok {
			return nil, fmt.Errorf("api_security: verify %.64q is given twice: give each certificate its own number%s", resolvedNumber, at)
		}
		if resolved.Verify[resolvedNumber], err = resolveOption(optionVerify, c.Verify[number]); err != nil {
			return nil, fmt.Errorf("api_security: %w%s", err, at)
		}
	}
	return resolved, nil
}

// apiSecurityOf is the owner of options in their positions.
func apiSecurityOf(account string) string { return "api_security of account " + account }

// verifyOption is what a certificate's line is called in errors and positions.
func verifyOption(number string) string { return fmt.Sprintf("verify %.64q", number) }

// parseAPISecurity parses the block of an account, which may be of a kind that has
// none: whether the block is complete is checked when that is known. Syntax:
//
//	api_security {
//		key    <sn> <key>
//		sign   [<sn>] <private key>
//		verify <number> <certificate>
//		paths  <paths...>
//		plain_answers
//	}
func (app *App) parseAPISecurity(d *caddyfile.Dispenser, account string, target **APISecurityConfig) error {
	if *target != nil {
		return d.Err("api_security is given twice: put everything into one block")
	}
	if d.NextArg() {
		return d.Err("api_security takes no value: write its options in a block, api_security { key <sn> {env.API_KEY} … }")
	}
	c := new(APISecurityConfig)
	*target = c
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		at := option
		var err error
		switch option {
		case optionKey:
			err = parseNumbered(d, &c.KeySN, &c.Key, "key <sn> {env.API_KEY}")
		case optionSign:
			err = c.parseSign(d)
		case optionVerify:
			at, err = c.parseVerify(d)
		case "paths":
			if err = parseList(d, &c.Paths, "/wxa/getuserriskrank"); err == nil {
				if pathErr := checkSecuredPaths(c.Paths); pathErr != nil {
					err = d.Err(pathErr.Error())
				}
			}
		case "plain_answers":
			err = c.parsePlainAnswers(d)
		default:
			return unknownOption(d, optionAPISecurity, optionKey, optionSign, optionVerify, "paths", "plain_answers")
		}
		if err != nil {
			return err
		}
		app.positions.remember(d, apiSecurityOf(account), at)
	}
	app.positions.remember(d, apiSecurityOf(account), endOfBlock)
	return nil
}

// endOfBlock is where something is missing in a block.
const endOfBlock = "}"

// parseNumbered parses a number and what it is the number of. Errors repeat
// neither: they may be in the wrong order.
func parseNumbered(d *caddyfile.Dispenser, number, value *string, form string) error {
	option := d.Val()
	if *value != "" {
		return d.Errf("%s is given twice", option)
	}
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return d.Errf("%s takes a number and a value: write %s, for example", option, form)
	}
	for _, arg := range args {
		if err := checkValue(d, option, arg); err != nil {
			return err
		}
	}
	*number, *value = args[0], args[1]
	return nil
}

func (c *APISecurityConfig) parseSign(d *caddyfile.Dispenser) error {
	const form = "sign {file./run/secrets/api.pem}"
	if args := *d; args.CountRemainingArgs() != 1 {
		return parseNumbered(d, &c.SignSN, &c.Sign, form)
	}
	return parseValue(d, &c.Sign, "{file./run/secrets/api.pem}")
}

// parseVerify returns as well what the line is called.
func (c *APISecurityConfig) parseVerify(d *caddyfile.Dispenser) (at string, err error) {
	var number, certificate string
	if err := parseNumbered(d, &number, &certificate, "verify <number> {file./etc/wechat.pem}"); err != nil {
		return "", err
	}
	if _, ok := c.Verify[number]; ok {
		return "", d.Errf("verify %.64q is given twice: give each certificate its own number", number)
	}
	if c.Verify == nil {
		c.Verify = make(map[string]string)
	}
	c.Verify[number] = certificate
	return verifyOption(number), nil
}

func (c *APISecurityConfig) parsePlainAnswers(d *caddyfile.Dispenser) error {
	switch {
	case c.PlainAnswers:
		return d.Err("plain_answers is given twice")
	case d.NextArg():
		return d.Errf("plain_answers takes no value, but there is %s", d.Val())
	}
	c.PlainAnswers = true
	return nil
}
