package weixin

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/credential"
)

// runnerPool holds what the process knows about its accounts' tokens, so that a
// reload loses none of it.
var runnerPool = caddy.NewUsagePool()

// runners are what one configuration holds of it.
type runners struct{ keys []string }

// of returns what the process knows of a credential, across configurations.
func (r *runners) of(key string) (*credential.Runner, error) {
	runner, _, err := runnerPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return credential.NewRunner(), nil
	})
	if err != nil {
		return nil, err
	}
	r.keys = append(r.keys, key)
	return runner.(*credential.Runner), nil
}

// close gives them back.
func (r *runners) close() error {
	for _, key := range r.keys {
		if _, err := runnerPool.Delete(key); err != nil {
			return err
		}
	}
	r.keys = nil
	return nil
}

// isKnown reports whether the process knows of a credential.
func isKnown(key string) bool {
	_, known := runnerPool.References(key)
	return known
}
