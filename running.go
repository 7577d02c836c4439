package weixin

import (
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// running is what the configurations serve that have been started, the newest
// last. The admin endpoint and the metrics are asked without a configuration of
// theirs.
var running struct {
	sync.Mutex
	all []*served
}

// setRunning notes that a configuration was started, or is stopped.
func (s *served) setRunning(is bool) {
	running.Lock()
	defer running.Unlock()
	running.all = slices.DeleteFunc(running.all, func(other *served) bool { return other == s })
	if is {
		running.all = append(running.all, s)
	}
}

// runningNow returns what the newest configuration serves.
func runningNow() (*served, error) {
	running.Lock()
	defer running.Unlock()
	if len(running.all) == 0 {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no weixin app is running")}
	}
	return running.all[len(running.all)-1], nil
}
