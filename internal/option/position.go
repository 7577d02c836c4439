package option

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Positions are where options stood in a Caddyfile, so that what is found out
// only when the configuration is loaded, such as an empty placeholder, is
// reported with file and line. They are no part of the configuration, which
// Caddy hands on as JSON; so they are found again by it, where both happen in
// one process, as in caddy validate and caddy run.
type Positions map[Position]string // to "<file>:<line>"

// Position is an option of an owner, such as "account shop".
type Position struct{ Owner, Option string }

// Remember notes where the dispenser is.
func (p *Positions) Remember(d *caddyfile.Dispenser, owner, option string) {
	if *p == nil {
		*p = make(Positions)
	}
	(*p)[Position{owner, option}] = fmt.Sprintf("%s:%d", d.File(), d.Line())
}

// Of returns ", at <file>:<line>", or nothing.
func (p Positions) Of(owner, option string) string {
	if at, ok := p[Position{owner, option}]; ok {
		return ", at " + at
	}
	return ""
}

// adapted are the positions of the configurations that were adapted last.
var adapted struct {
	sync.Mutex
	configs []adaptedConfig
}

type adaptedConfig struct {
	digest    [sha256.Size]byte
	positions Positions
}

// adaptedMax is how many configurations are remembered: one is being loaded, and
// some more may be adapted meanwhile.
const adaptedMax = 8

// KeepPositions remembers the positions of a configuration.
func KeepPositions(config []byte, p Positions) {
	adapted.Lock()
	defer adapted.Unlock()
	digest := configDigest(config)
	adapted.configs = slices.DeleteFunc(adapted.configs, func(c adaptedConfig) bool { return c.digest == digest })
	if len(adapted.configs) == adaptedMax {
		adapted.configs = slices.Delete(adapted.configs, 0, 1)
	}
	adapted.configs = append(adapted.configs, adaptedConfig{digest, p})
}

// PositionsOf returns the positions of a configuration, or nil.
func PositionsOf(config []byte) Positions {
	adapted.Lock()
	defer adapted.Unlock()
	digest := configDigest(config)
	for _, c := range adapted.configs {
		if c.digest == digest {
			return c.positions
		}
	}
	return nil
}

// configDigest is the same however the configuration's JSON is written.
func configDigest(config []byte) [sha256.Size]byte {
	var value any
	if json.Unmarshal(config, &value) == nil {
		config, _ = json.Marshal(value) // what was decoded can be encoded
	}
	return sha256.Sum256(config)
}
