package weixin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/apisecurity"
	"github.com/caddy-weixin/caddy-weixin/internal/option"
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

var apiSecurityForms = option.Forms{
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
	err := option.Decode(data, (*plain)(c), apiSecurityForms)
	if wrong, ok := errors.AsType[*option.Error](err); ok {
		return option.Errorf("%s: %v", optionAPISecurity, wrong)
	}
	return err
}

const optionAPISecurity = "api_security"

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
func newAPISecurity(values option.Values, name, appID string, c *APISecurityConfig) (*account.APISecurity, error) {
	if c == nil {
		return nil, nil
	}
	owner := apiSecurityOf(name)
	if err := c.check(); err != nil {
		return nil, values.Wrong("account "+name, optionAPISecurity, err)
	}
	resolved, err := c.resolve(values, owner)
	if err != nil {
		return nil, err
	}
	resolved.AppID = appID
	keys, err := apisecurity.NewKeys(*resolved)
	if wrong, ok := errors.AsType[*apisecurity.KeyError](err); ok {
		return nil, values.Wrong(owner, wrong.Option, fmt.Errorf("api_security: %w", wrong))
	}
	if err != nil {
		return nil, err
	}
	if _, _, err := keys.Seal(time.Now(), "/", "", nil); err != nil {
		return nil, values.Wrong(owner, option.Sign, errors.New("api_security: sign is a key that nothing can be signed with: write one of 2048 bits, as the console makes them"))
	}
	values.WarnOfLiteral(owner, option.Key, c.Key)
	values.WarnOfLiteral(owner, option.Sign, c.Sign)
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

// resolve returns the configuration with its placeholders replaced.
func (c *APISecurityConfig) resolve(values option.Values, owner string) (*apisecurity.Config, error) {
	resolved := &apisecurity.Config{Verify: make(map[string]string, len(c.Verify)), PlainAnswers: c.PlainAnswers}
	for _, o := range []struct {
		name, value string
		target      *string
		isNumber    bool
	}{
		{option.Key, c.KeySN, &resolved.KeySerial, true},
		{option.Key, c.Key, &resolved.Key, false},
		{option.Sign, c.SignSN, &resolved.SignSerial, true},
		{option.Sign, c.Sign, &resolved.SignKey, false},
	} {
		if o.value == "" {
			continue // the private key may have no number
		}
		var err error
		if *o.target, err = option.Resolve(o.name, o.value); err == nil && o.isNumber {
			err = option.CheckCharacters("the number of "+o.name, *o.target)
		}
		if err != nil {
			return nil, values.Wrong(owner, o.name, fmt.Errorf("api_security: %w", err))
		}
	}
	for _, number := range slices.Sorted(maps.Keys(c.Verify)) {
		at := values.Positions.Of(owner, verifyOption(number))
		resolvedNumber, err := option.Resolve(option.Verify, number)
		if err != nil {
			return nil, fmt.Errorf("api_security: %w%s", err, at)
		}
		if _, ok := resolved.Verify[resolvedNumber]; ok {
			return nil, fmt.Errorf("api_security: verify %.64q is given twice: give each certificate its own number%s", resolvedNumber, at)
		}
		if resolved.Verify[resolvedNumber], err = option.Resolve(option.Verify, c.Verify[number]); err != nil {
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
func parseAPISecurity(d *caddyfile.Dispenser, account string, target **APISecurityConfig, at *option.Positions) error {
	if *target != nil {
		return d.Err("api_security is given twice: put everything into one block")
	}
	if d.NextArg() {
		return d.Err("api_security takes no value: write its options in a block, api_security { key <sn> {env.API_KEY} … }")
	}
	c := new(APISecurityConfig)
	*target = c
	owner := apiSecurityOf(account)
	block := option.Block{Of: optionAPISecurity, Options: []option.Option{
		{Name: option.Key, Parse: func(d *caddyfile.Dispenser) error {
			at.Remember(d, owner, option.Key)
			return parseNumbered(d, &c.KeySN, &c.Key, "key <sn> {env.API_KEY}")
		}},
		{Name: option.Sign, Parse: func(d *caddyfile.Dispenser) error {
			at.Remember(d, owner, option.Sign)
			return c.parseSign(d)
		}},
		{Name: option.Verify, Parse: func(d *caddyfile.Dispenser) error {
			number, err := c.parseVerify(d)
			at.Remember(d, owner, verifyOption(number))
			return err
		}},
		option.List("paths", &c.Paths, "/wxa/getuserriskrank").Checked(func() error { return checkSecuredPaths(c.Paths) }),
		{Name: "plain_answers", Parse: c.parsePlainAnswers},
	}}
	if err := block.Parse(d); err != nil {
		return err
	}
	at.Remember(d, owner, endOfBlock)
	return nil
}

// endOfBlock is where something is missing in a block.
const endOfBlock = "}"

// parseNumbered parses a number and what it is the number of. Errors repeat
// neither: they may be in the wrong order.
func parseNumbered(d *caddyfile.Dispenser, number, value *string, form string) error {
	name := d.Val()
	if *value != "" {
		return d.Errf("%s is given twice", name)
	}
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		return d.Errf("%s takes a number and a value: write %s, for example", name, form)
	}
	for _, arg := range args {
		if err := option.CheckValue(d, name, arg); err != nil {
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
	return option.ParseValue(d, &c.Sign, "{file./run/secrets/api.pem}")
}

// parseVerify returns as well the certificate's number.
func (c *APISecurityConfig) parseVerify(d *caddyfile.Dispenser) (number string, err error) {
	var certificate string
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
	return number, nil
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
