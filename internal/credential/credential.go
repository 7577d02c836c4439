// Package credential keeps secrets alive that expire: access tokens, the tokens
// and tickets they are fetched with, and whatever else is asked for again and
// again and shared by many processes.
//
// A Credential is what a configuration knows of one such secret, a Value what
// requests use, and a Runner what the process knows of it, across reloads. A
// Manager does the work on behalf of one configuration. All that processes
// share is one sealed record a credential in a store; records are merged, never
// overwritten.
//
// The package knows no HTTP, no WeChat and no Caddy: how a secret is fetched,
// what a refusal means and how long to wait come to it as data and functions.
package credential

import (
	"context"
	"fmt"
	"io"
	"time"
)

// A Credential is one secret that expires, as one configuration has it. It is
// not changed once it is bound to a Runner.
type Credential struct {
	// ID says which secret it is.
	ID ID

	// Name and Method are what log lines call the credential's owner and the
	// way in which it is fetched.
	Name, Method string

	// Source is where values come from.
	Source Source

	// Parent is the credential whose value is needed to fetch this one, or nil.
	Parent *Credential

	// Policy says how the source wants to be used.
	Policy *Policy

	// Durability says what a store that fails means.
	Durability Durability

	// Former returns where earlier releases kept the record. It may be nil.
	Former func(*Credential) Former

	// Observer is told what happens, or nil.
	Observer Observer

	// Advisor knows what to do about troubles, for log lines; or nil.
	Advisor Advisor

	runner  *Runner
	manager *Manager
}

// Runner returns what the credential was bound to.
func (c *Credential) Runner() *Runner { return c.runner }

// Peek returns the value there is, which may have expired or been rejected, or
// nil.
func (c *Credential) Peek() *Value { return c.runner.value.Load() }

// IsOf reports whether the credential is bound to a manager.
func (c *Credential) IsOf(m *Manager) bool { return c.manager == m }

// Current returns the value if it can be used without a look at anything else:
// no lock is taken and nothing is allocated. It returns nil where something has
// to be done first, even if it is no more than to begin a renewal.
func (c *Credential) Current(now time.Time) *Value {
	if now.UnixNano() >= c.runner.useUntil.Load() {
		return nil
	}
	return c.runner.value.Load()
}

// String returns the credential's identity.
func (c Credential) String() string { return c.ID.Identity }

// Format prints the credential's identity, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.ID.Identity) }

// ID says which secret a credential is: where its record is kept, and what the
// record is sealed with. What makes for another secret makes for another ID.
type ID struct {
	// Identity names the credential among all that share a store. It consists
	// of what can stand in a file's name.
	Identity string

	// Upstream is where the secret belongs. A value of one upstream is never
	// shown to another, though the identity be the same.
	Upstream string

	// Secret seals the record: who does not know it cannot read the value.
	Secret string `json:"-"`
}

// String returns the identity alone.
func (id ID) String() string { return id.Identity }

// Format prints the identity alone, whatever the verb.
func (id ID) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, id.Identity) }

// Durability says what a store that fails means.
type Durability uint8

const (
	// BestEffort goes on without the store, which gets the value when it is back.
	// It is for what can be fetched again.
	BestEffort Durability = iota

	// BeforeUse neither uses nor acknowledges a value that is not in the store.
	// It is for what is lost with the process: a pushed ticket, say.
	BeforeUse
)

// A Source is where a credential's values come from.
type Source interface {
	// Fetch asks for a value. parent is the parent's, nil where there is none;
	// kept is the secret that an earlier Grant gave to keep. With force a new
	// value is asked for though the old one has not expired. A refusal is a
	// *Failure; any other error means that there was no answer. No error holds a
	// secret.
	Fetch(ctx context.Context, parent *Value, kept string, force bool) (Grant, error)

	// Check makes a harmless call with a value, and returns what the answer says
	// of it.
	Check(ctx context.Context, v *Value) Verdict
}

// A Grant is what a source hands out.
type Grant struct {
	Value     string
	ExpiresIn time.Duration // from the moment the answer came

	// Kept is a second secret, for the next fetches; "" leaves what there is.
	Kept string
}

// String says nothing of the secrets.
func (g Grant) String() string { return "grant for " + g.ExpiresIn.String() }

// Format says nothing of the secrets, whatever the verb.
func (g Grant) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.String()) }

// Verdict is what a check says of a value.
type Verdict uint8

const (
	// Unknown is no answer, or one that says nothing.
	Unknown Verdict = iota
	// Good is a value that was accepted.
	Good
	// Rejected is a value that was refused.
	Rejected
)
