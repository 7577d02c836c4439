package proxy

import (
	"sync"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
)

// nestedRequests counts requests that are under way and may be nested.
type nestedRequests struct {
	mu    sync.Mutex
	count map[nestedRequest]int
}

// nestedRequest is what stays the same as a request goes round.
type nestedRequest struct {
	method, path, query, client string
	length                      int64
}

// maxNested bounds requests that are the same, at a time.
const maxNested = 128

// nested are those of the process.
var nested = nestedRequests{count: make(map[nestedRequest]int)}

// enter counts a request if it has the looks of one that a proxy has sent. It
// returns what to do at its end.
func (n *nestedRequests) enter(r *Request) (func(), error) {
	if encodings := r.Header["Accept-Encoding"]; len(encodings) != 1 || encodings[0] != identityEncoding[0] {
		return func() {}, nil
	}
	key := nestedRequest{
		method: r.Method, path: r.URL.Path, client: r.Client.String(), length: r.ContentLength,
		query: setParams(r.URL.RawQuery, r.TokenParams, ""),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count[key] >= maxNested {
		return nil, answer.LoopDetected(upstream.ErrNestedRequests)
	}
	n.count[key]++
	return func() { n.leave(key) }, nil
}

func (n *nestedRequests) leave(key nestedRequest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count[key]--; n.count[key] == 0 {
		delete(n.count, key)
	}
}
