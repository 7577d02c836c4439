package option

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// ParseName parses the name of an account, a platform or a caller.
func ParseName(d *caddyfile.Dispenser) (string, error) {
	kind := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s needs a name: write %s <name> { … }", kind, kind)
	}
	name := d.Val()
	if bare, ok := strings.CutSuffix(name, "{"); ok && bare != "" {
		return "", d.Errf("%s %s has no space before the brace: write %s %s {", kind, name, kind, bare)
	}
	if err := CheckName(name); err != nil {
		return "", d.Err(err.Error())
	}
	if d.NextArg() {
		return "", d.Errf("%s takes one name, but there is also %s", kind, d.Val())
	}
	return name, nil
}

// ParseList sets an option that takes any number of arguments.
func ParseList(d *caddyfile.Dispenser, values *[]string, example string) error {
	option := d.Val()
	if *values != nil {
		return d.Errf("%s is given twice: put everything on one line", option)
	}
	if *values = d.RemainingArgs(); len(*values) == 0 {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	for _, value := range *values {
		if strings.ContainsAny(value, Separators) {
			return d.Errf("%s %s has a comma or a semicolon: write a space between values, and nothing else", option, value)
		}
	}
	return nil
}

// ParseString sets an option that takes one argument.
func ParseString(d *caddyfile.Dispenser, value *string, example string) error {
	option := d.Val()
	if *value != "" {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if !d.NextArg() || d.Val() == "" {
		return d.Errf("%s has no value: write %s %s, for example", option, option, example)
	}
	*value = d.Val()
	if d.NextArg() {
		return d.Errf("%s takes one value, but there is also another: write it without spaces, =, : and comments, like %s %s", option, option, example)
	}
	return nil
}

// ParseValue sets an option that may have placeholders.
func ParseValue(d *caddyfile.Dispenser, value *string, example string) error {
	option := d.Val()
	if err := ParseString(d, value, example); err != nil {
		return err
	}
	return CheckValue(d, option, *value)
}

// CheckValue refuses what is seen to be wrong with a value as it stands there.
func CheckValue(d *caddyfile.Dispenser, option, value string) error {
	err := CheckPlaceholders(option, value)
	if err == nil && !HasPlaceholder(value) {
		err = CheckCharacters(option, value)
	}
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// parseQuantity parses a number with its unit. Between the two some write a space.
func parseQuantity(d *caddyfile.Dispenser, text *string, example string) error {
	option := d.Val()
	if args := *d; args.CountRemainingArgs() == 2 {
		parts := args.RemainingArgs()
		if strings.Trim(parts[0], "0123456789.") == "" {
			return d.Errf("%s %s %s has a space before the unit: write %s %s%s", option, parts[0], parts[1], option, parts[0], parts[1])
		}
	}
	return ParseString(d, text, example)
}

func parseSize(d *caddyfile.Dispenser, size *int64, example string) error {
	option := d.Val()
	var text string
	if *size != 0 {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if err := parseQuantity(d, &text, example); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > 1<<62 {
		return d.Errf("%s %s is no size: write it like %s", option, text, example)
	}
	*size = int64(n)
	return nil
}

func parseDuration(d *caddyfile.Dispenser, duration *caddy.Duration, example string) error {
	option := d.Val()
	var text string
	if *duration != 0 {
		return d.Errf("%s is given twice: leave one out", option)
	}
	if err := parseQuantity(d, &text, example); err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(text)
	if err != nil || dur <= 0 {
		return d.Errf("%s %s is no duration above 0: write it like %s", option, text, example)
	}
	*duration = caddy.Duration(dur)
	return nil
}
