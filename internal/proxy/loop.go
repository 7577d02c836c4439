package weixin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/upstream"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// An upstream may lead back to this proxy: it is the proxy's own address, or DNS
// leads WeChat's name here. Each request would then be the cause of another,
// until there are no more connections. Nothing that goes to WeChat may tell of
// the proxy, so there is no mark in requests by which that could be seen.
//
// What is certain is seen at once: a request that came over one of the process's
// own connections, and a token endpoint that hands out the proxy's own virtual
// token. Where others stand in between, such as a load balancer or a second
// proxy, the proxy would wait for itself. Then a fetch of a token by a proxy is
// not waited for as long as others, and so many requests that are the same and
// have the looks of the proxy's own are not served at a time. A proxy that has
// WeChat's own token is at the end of its chain, so this is only for requests
// that take no token, and for those with another proxy's.

// loopFound begins all messages about it, by which a proxy knows that another
// one, or it itself, has found the loop.
const loopFound = "upstream leads back to this proxy"

const loopCure = ": write upstream " + wechat.Official.Host + ", for example, and see that this machine does not resolve its name to the proxy's own address"

// errLoop is the error of a fetch that came back to where it started.
var errLoop = errors.New(loopFound + loopCure)

// errNestedFetch is the cause of the end of a proxy's fetch that waited too long.
var errNestedFetch = errors.New("a token is being fetched for so long that " + loopFound + ", perhaps" + loopCure)

// errNestedRequests is the cause of a refusal of one request of many.
var errNestedRequests = errors.New("so many requests are the same that " + loopFound + ", perhaps" + loopCure)

func loopDetected(cause error) *proxyError {
	return unavailable(http.StatusLoopDetected, cause.Error())
}

// tellsOfLoop reports whether a cause is a loop that was found, here or by who
// has answered.
func tellsOfLoop(message string) bool { return strings.Contains(message, loopFound) }

// watchLoops returns a request as it may go on, and what to do at its end, or
// the answer that refuses it.
func watchLoops(req *http.Request) (*http.Request, func(), *proxyError) {
	local, _ := req.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if upstream.IsOwn(req.RemoteAddr, local) {
		return nil, nil, loopDetected(errLoop)
	}
	if req.UserAgent() == wechat.UserAgent && wechat.KindOf(req.URL.Path) == wechat.TokenEndpoint {
		ctx, cancel := context.WithTimeoutCause(req.Context(), nestedFetchTimeout, errNestedFetch)
		return req.WithContext(ctx), cancel, nil
	}
	return req, func() {}, nil
}

// nestedFetchTimeout bounds the wait of a proxy for a token that is issued real.
// Its own fetch takes three times as long to end.
const nestedFetchTimeout = 3 * time.Second

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
func (n *nestedRequests) enter(req *http.Request) (func(), error) {
	if encodings := req.Header["Accept-Encoding"]; len(encodings) != 1 || encodings[0] != identityEncoding[0] {
		return func() {}, nil
	}
	key := nestedRequest{
		method: req.Method, path: req.URL.Path, client: clientAddr(req).String(), length: req.ContentLength,
		query: wechat.SetQueryParam(req.URL.RawQuery, wechat.Official.Parameter, ""),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count[key] >= maxNested {
		return nil, loopDetected(errNestedRequests)
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

// loopGuard is a token endpoint that may be the proxy itself.
type loopGuard struct {
	wechat.Source
	app *App
}

// Fetch implements wechat.Source. Another proxy's virtual token is as good as
// WeChat's: that proxy is a hub.
func (g loopGuard) Fetch(ctx context.Context, rt http.RoundTripper, base *url.URL, cred wechat.Credentials, force bool) (wechat.Grant, error) {
	grant, err := g.Source.Fetch(ctx, rt, base, cred, force)
	if err == nil && g.app.hasIssued(grant.AccessToken) {
		return wechat.Grant{}, errLoop
	}
	return grant, err
}

// hasIssued reports whether a token is a virtual one of this proxy's.
func (app *App) hasIssued(token string) bool {
	if !isVirtualToken(token) {
		return false
	}
	_, err := verifyVirtualToken(token, app.tokens.now(), app.virtualSecrets)
	return err == nil || errors.Is(err, errVirtualTokenExpired)
}

// checkUpstream refuses to give an account's token to another host than its own
// upstream.
func (t *Transport) checkUpstream(account *Account, target *url.URL) *proxyError {
	if t.TrustUpstream || sameOrigin(target, account.Upstream) {
		return nil
	}
	return unavailable(http.StatusBadGateway, "account "+account.Name+"'s token goes to its own upstream alone, not to "+target.Scheme+"://"+target.Host+
		": write reverse_proxy "+account.Upstream.Scheme+"://"+account.Upstream.Host+", or trust_upstream in the block of transport weixin")
}

// sameOrigin reports whether two URLs have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(strings.TrimSuffix(a.Hostname(), "."), strings.TrimSuffix(b.Hostname(), ".")) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// isHealthCheck reports whether reverse_proxy has made a request by itself: it
// has none of a client's variables.
func isHealthCheck(req *http.Request) bool { return req.Context().Value(caddyhttp.VarsCtxKey) == nil }
