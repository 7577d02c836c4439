package weixin

import (
	"fmt"

	"github.com/caddy-weixin/caddy-weixin/internal/option"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// resolvers are the DNS servers that a configuration has.
type resolvers struct {
	all     []*upstream.Resolver          // each once
	byOwner map[string]*upstream.Resolver // such as "account shop"
}

// add has an owner's upstream be looked up at an address, "" for the system's DNS.
func (r *resolvers) add(values option.Values, owner, address string) error {
	if address == "" {
		return nil
	}
	address, err := values.Resolve(owner, "resolver", address)
	if err != nil {
		return err
	}
	parsed, err := upstream.ParseResolver(address)
	if err != nil {
		return values.Wrong(owner, "resolver", fmt.Errorf("resolver %s %w", address, err))
	}
	if r.byOwner == nil {
		r.byOwner = make(map[string]*upstream.Resolver)
	}
	r.byOwner[owner] = r.once(parsed)
	return nil
}

// once returns the resolver of the same address that there is already, or this one.
func (r *resolvers) once(parsed *upstream.Resolver) *upstream.Resolver {
	for _, known := range r.all {
		if known.String() == parsed.String() {
			return known
		}
	}
	r.all = append(r.all, parsed)
	return parsed
}

// resolverOption is that of the app, an account or a platform.
func resolverOption(address *string) option.Option {
	return option.String("resolver", address, "223.5.5.5").Checked(func() error {
		if option.HasPlaceholder(*address) {
			return nil // resolved when the configuration is loaded
		}
		if _, err := upstream.ParseResolver(*address); err != nil {
			return fmt.Errorf("resolver %s %w", *address, err)
		}
		return nil
	})
}
