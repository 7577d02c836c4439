package account

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Directory finds the accounts of a configuration. It is filled before it is
// used, and not changed then.
type Directory struct {
	names       []string // sorted
	byName      map[string]*Account
	byID        map[string]*Account // by AppID or corpid; nil where several have it
	byVirtualID map[VirtualID]*Account
	kinds       []*wechat.Kind
	hosts       map[string]bool // of the upstreams, in small letters
}

// NewDirectory returns a directory of accounts that are bound.
func NewDirectory(accounts ...*Account) (*Directory, error) {
	d := &Directory{
		byName:      make(map[string]*Account, len(accounts)),
		byID:        make(map[string]*Account, len(accounts)),
		byVirtualID: make(map[VirtualID]*Account, len(accounts)),
		hosts:       make(map[string]bool),
	}
	byIdentity := make(map[string]*Account, len(accounts))
	for _, a := range accounts {
		identity := a.identity()
		if other, ok := byIdentity[identity]; ok {
			return nil, &DuplicateError{a, other}
		}
		byIdentity[identity] = a
		d.add(a)
	}
	d.names = slices.Sorted(maps.Keys(d.byName))
	return d, nil
}

// DuplicateError is that two accounts are the same.
type DuplicateError struct{ Account, Other *Account }

// Error tells what they have in common.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%s %s is that of account %s already: give every account an %[1]s of its own",
		e.Account.Kind.ID, e.Account.Credentials.ID, e.Other.Name)
}

func (d *Directory) add(a *Account) {
	d.byName[a.Name], d.byVirtualID[a.virtualID] = a, a
	if _, ok := d.byID[a.Credentials.ID]; ok {
		d.byID[a.Credentials.ID] = nil
	} else {
		d.byID[a.Credentials.ID] = a
	}
	if !slices.Contains(d.kinds, a.Kind) {
		d.kinds = append(d.kinds, a.Kind)
	}
	d.hosts[strings.ToLower(a.Upstream.Hostname())] = true
}

// Len returns how many accounts there are.
func (d *Directory) Len() int { return len(d.names) }

// Names returns the accounts' names in order.
func (d *Directory) Names() []string { return d.names }

// All returns the accounts in the order of their names.
func (d *Directory) All() iter.Seq[*Account] {
	return func(yield func(*Account) bool) {
		for _, name := range d.names {
			if !yield(d.byName[name]) {
				return
			}
		}
	}
}

// Named returns the account of that name, or nil.
func (d *Directory) Named(name string) *Account { return d.byName[name] }

// WithID returns the account with an AppID or a corpid, or nil where there is none
// or several have it.
func (d *Directory) WithID(id string) *Account { return d.byID[id] }

// WithVirtualID returns the account that a virtual token names, or nil.
func (d *Directory) WithVirtualID(id VirtualID) *Account { return d.byVirtualID[id] }

// Only returns the account if there is but one, or else nil.
func (d *Directory) Only() *Account {
	if len(d.names) != 1 {
		return nil
	}
	return d.byName[d.names[0]]
}

// OnlyOf returns the account of a kind if there is but one, or else nil.
func (d *Directory) OnlyOf(kind *wechat.Kind) *Account {
	var only *Account
	if len(d.kinds) == 1 {
		return d.Only()
	}
	for _, a := range d.byName {
		if a.Kind != kind {
			continue
		}
		if only != nil {
			return nil
		}
		only = a
	}
	return only
}

// Kinds returns the kinds of the accounts.
func (d *Directory) Kinds() []*wechat.Kind { return d.kinds }

// KindOfPath returns the kind of accounts that alone has the API at a path, or
// nil.
func (d *Directory) KindOfPath(path string) *wechat.Kind {
	for _, kind := range d.kinds {
		if kind.HasAlone(path) {
			return kind
		}
	}
	return nil
}

// HandsOutTokens reports whether a path is a token endpoint of any account's kind.
func (d *Directory) HandsOutTokens(path string) bool {
	return slices.ContainsFunc(d.kinds, func(k *wechat.Kind) bool { return k.Route(path).Takes == wechat.TakesTokenRequest })
}

// HasUpstream reports whether a host in small letters is that of an upstream.
func (d *Directory) HasUpstream(host string) bool { return d.hosts[host] }
