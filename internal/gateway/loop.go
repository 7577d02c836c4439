package gateway

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// WatchLoops returns a request as it may go on, and what to do at its end, or the
// answer that refuses it because it comes from this proxy.
func (r *Registry) WatchLoops(req *http.Request) (*http.Request, func(), error) {
	local, _ := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if upstream.IsOwn(req.RemoteAddr, local) {
		return nil, nil, answer.LoopDetected(upstream.ErrLoop)
	}
	if req.UserAgent() == wechat.UserAgent && r.handsOutTokens(req.URL.Path) {
		ctx, cancel := context.WithTimeoutCause(req.Context(), nestedFetchTimeout, upstream.ErrNestedFetch)
		return req.WithContext(ctx), cancel, nil
	}
	return req, func() {}, nil
}

// nestedFetchTimeout bounds the wait of a proxy for a token that is issued real.
// Its own fetch takes three times as long to end.
const nestedFetchTimeout = 3 * time.Second
