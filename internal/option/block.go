package option

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Block is a block of options in a Caddyfile.
type Block struct {
	Of      string   // as errors call it, such as "account shop"
	Options []Option // in the order in which errors list them

	// Positions are where to remember where its options stand. Default: nowhere
	Positions *Positions

	// Unknown may say more of an option that is none of these, or return nil.
	Unknown func(d *caddyfile.Dispenser) error
}

// Option is an option of a block. Parse is called where its name stands.
type Option struct {
	Name  string
	Parse func(d *caddyfile.Dispenser) error
}

// Parse parses the block that follows, if there is one.
func (b Block) Parse(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		parse := b.parser(d.Val())
		if b.Positions != nil {
			b.Positions.Remember(d, b.Of, d.Val())
		}
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// parser returns what parses an option.
func (b Block) parser(name string) func(d *caddyfile.Dispenser) error {
	names := make([]string, len(b.Options))
	for i, o := range b.Options {
		if o.Name == name {
			return o.Parse
		}
		names[i] = o.Name
	}
	return func(d *caddyfile.Dispenser) error {
		if b.Unknown != nil {
			if err := b.Unknown(d); err != nil {
				return err
			}
		}
		return Unknown(d, b.Of, names...)
	}
}

// Checked returns the option with a check of what was parsed.
func (o Option) Checked(check func() error) Option {
	return Option{o.Name, func(d *caddyfile.Dispenser) error {
		if err := o.Parse(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.Err(err.Error())
		}
		return nil
	}}
}

// String returns an option that takes one argument.
func String(name string, value *string, example string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error { return ParseString(d, value, example) }}
}

// Value returns an option that takes one argument, which may have placeholders.
func Value(name string, value *string, example string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error { return ParseValue(d, value, example) }}
}

// List returns an option that takes any number of arguments.
func List(name string, values *[]string, example string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error { return ParseList(d, values, example) }}
}

// Size returns an option that takes a number of bytes.
func Size(name string, size *int64, example string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error { return parseSize(d, size, example) }}
}

// Duration returns an option that takes a duration.
func Duration(name string, duration *caddy.Duration, example string) Option {
	return Option{name, func(d *caddyfile.Dispenser) error { return parseDuration(d, duration, example) }}
}

// Flag returns an option that takes no value.
func Flag(name string, is *bool) Option {
	return Option{name, func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.Errf("%s takes no value, but there is %s", name, d.Val())
		}
		*is = true
		return nil
	}}
}

// OnceFlag returns an option that takes no value, and is not to be repeated.
func OnceFlag(name string, is *bool) Option {
	flag := Flag(name, is)
	return Option{name, func(d *caddyfile.Dispenser) error {
		if *is {
			return d.Errf("%s is given twice: leave one out", name)
		}
		return flag.Parse(d)
	}}
}
