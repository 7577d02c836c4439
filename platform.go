package weixin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/platform"
	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

// platforms are those of a configuration, by name.
type platforms struct {
	all       []*platform.Platform
	receivers map[*platform.Platform]*push.Receiver
	closed    bool
}

// named returns the platform of that name, or nil.
func (ps *platforms) named(name string) *platform.Platform {
	for _, of := range ps.all {
		if of.Component.Name == name {
			return of
		}
	}
	return nil
}

// names returns the platforms' names in order.
func (ps *platforms) names() []string {
	names := make([]string, len(ps.all))
	for i, of := range ps.all {
		names[i] = of.Component.Name
	}
	return names
}

// components returns the platforms' own accounts.
func (ps *platforms) components() []*account.Account {
	accounts := make([]*account.Account, len(ps.all))
	for i, of := range ps.all {
		accounts[i] = of.Component
	}
	return accounts
}

// add adds a platform, and what opens the pushes to it.
func (ps *platforms) add(p *platform.Platform, receiver *push.Receiver) {
	if ps.receivers == nil {
		ps.receivers = make(map[*platform.Platform]*push.Receiver)
	}
	ps.all = append(ps.all, p)
	ps.receivers[p] = receiver
}

// start begins to keep the platforms' tokens warm.
func (ps *platforms) start() {
	for _, of := range ps.all {
		of.KeepWarm()
	}
}

// release ends that, and waits for what is under way.
func (ps *platforms) release(ctx context.Context) {
	var wg sync.WaitGroup
	for _, of := range ps.all {
		wg.Go(func() { of.Release(ctx) })
	}
	wg.Wait()
}

// close gives back what the configuration holds of the process's knowledge.
func (ps *platforms) close() error {
	if ps.closed {
		return nil
	}
	ps.closed = true
	errs := make([]error, 0, len(ps.all))
	for _, of := range ps.all {
		errs = append(errs, of.Close())
	}
	return errors.Join(errs...)
}

// find returns the platform of that name, or the only one there is.
func (ps *platforms) find(name string) (*platform.Platform, error) {
	names := ps.names()
	switch {
	case len(names) == 0:
		return nil, errNoPlatform
	case name == "" && len(names) == 1:
		return ps.all[0], nil
	case name == "":
		return nil, fmt.Errorf("there are several platforms: write one of %s", strings.Join(names, ", "))
	}
	if p := ps.named(name); p != nil {
		return p, nil
	}
	return nil, noSuchPlatform(name, names)
}

var errNoPlatform = errors.New("no platform is configured: add platform <name> { … } to the weixin global option")

func noSuchPlatform(name string, names []string) error {
	return fmt.Errorf("there is no platform %s: write one of %s", name, strings.Join(names, ", "))
}
