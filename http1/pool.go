package http1

import (
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// connKey is where a connection leads to.
type connKey struct {
	tls  bool
	addr string // host and port
}

// keyOf returns where a request with this URL goes.
func keyOf(u *url.URL) connKey {
	key := connKey{tls: u.Scheme == "https"}
	host := u.Host
	if ascii, err := httpguts.PunycodeHostPort(host); err == nil {
		host = ascii
	}
	if u.Port() != "" {
		key.addr = host
		return key
	}
	port := "80"
	if key.tls {
		port = "443"
	}
	ascii := url.URL{Host: host}
	key.addr = net.JoinHostPort(ascii.Hostname(), port)
	return key
}

// sweepInterval is how often connections are looked at that nobody uses, so
// that those which the server has closed do not linger.
const sweepInterval = 10 * time.Second

// pool keeps connections that nobody uses. The one that was used last is used
// first, so that as many as are not needed grow old.
type pool struct {
	mu    sync.Mutex
	idle  map[connKey][]*conn // the oldest first
	done  bool                // none is kept, until the next is asked for
	timer *time.Timer         // of the next sweep; nil while nothing is kept
}

// take returns a connection that the server has not closed, or nil.
func (p *pool) take(key connKey) *conn {
	for {
		p.mu.Lock()
		p.done = false
		conns := p.idle[key]
		if len(conns) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := conns[len(conns)-1]
		conns[len(conns)-1] = nil
		p.idle[key] = conns[:len(conns)-1]
		p.mu.Unlock()
		if !c.expired(time.Now()) && c.alive() {
			c.kept = true
			return c
		}
		c.raw.Close()
	}
}

// put keeps a connection, or closes it if there are enough.
func (p *pool) put(c *conn) {
	c.idleSince = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.idle[c.key]
	if p.done || len(conns) >= c.transport.maxIdle() {
		c.raw.Close()
		return
	}
	if p.idle == nil {
		p.idle = make(map[connKey][]*conn)
	}
	p.idle[c.key] = append(conns, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(c.sweepIn(c.idleSince), p.sweep)
	}
}

// sweep closes the connections that are too old, or closed by the server.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, next := time.Now(), time.Duration(-1)
	for key, conns := range p.idle {
		conns = slices.DeleteFunc(conns, func(c *conn) bool {
			if c.expired(now) || !c.alive() {
				c.raw.Close()
				return true
			}
			return false
		})
		if len(conns) == 0 {
			delete(p.idle, key)
			continue
		}
		p.idle[key] = conns
		if d := conns[0].sweepIn(now); next < 0 || d < next {
			next = d
		}
	}
	p.timer = nil
	if next >= 0 {
		p.timer = time.AfterFunc(next, p.sweep)
	}
}

func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conns := range p.idle {
		for _, c := range conns {
			c.raw.Close()
		}
	}
	p.idle, p.done = nil, true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// expired says whether the connection has not been used for too long.
func (c *conn) expired(now time.Time) bool {
	timeout := c.transport.IdleConnTimeout
	return timeout > 0 && now.Sub(c.idleSince) >= timeout
}

// sweepIn returns when to look at the connection again.
func (c *conn) sweepIn(now time.Time) time.Duration {
	if timeout := c.transport.IdleConnTimeout; timeout > 0 {
		return min(sweepInterval, max(c.idleSince.Add(timeout).Sub(now), time.Millisecond))
	}
	return sweepInterval
}
