package http1

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
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

// pool keeps connections that nobody uses.
type pool struct {
	mu     sync.Mutex
	hosts  map[connKey]*host
	done   bool        // none is kept, until the next is asked for
	closed atomic.Bool // none is kept for good
	timer  *time.Timer // of the next sweep; nil while nothing is kept

	pace time.Duration // in a test, instead of the two below
}

// sweepInterval is how often connections are looked at that nobody uses, so
// that those which the server has closed do not linger.
func (p *pool) sweepInterval() time.Duration { return cmp.Or(p.pace, 10*time.Second) }

// warmPause is how long a connection has to have lasted for another to take its
// place. A server that closes them sooner does not want them.
func (p *pool) warmPause() time.Duration { return cmp.Or(p.pace, 30*time.Second) }

// host is the part of a pool that leads to one server. The connection that was
// used last is used first, so that as many as are not needed grow old.
type host struct {
	idle    []*conn   // the oldest first
	usedAt  time.Time // when a connection was last asked for
	warming bool      // one is being opened in place of one that was closed
}

// take returns a connection that the server has not closed, or nil.
func (p *pool) take(key connKey) *conn {
	now := time.Now()
	for {
		p.mu.Lock()
		p.done = p.closed.Load()
		h := p.hosts[key]
		if h == nil {
			p.mu.Unlock()
			return nil
		}
		h.usedAt = now
		last := len(h.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		c := h.idle[last]
		h.idle[last] = nil
		h.idle = h.idle[:last]
		p.mu.Unlock()
		warm := last == 0 && c.transport.WarmFor > 0
		if (!c.expired(now) || warm) && c.alive() {
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
	h := p.hosts[c.key]
	if p.done || h != nil && len(h.idle) >= c.transport.maxIdle() {
		c.raw.Close()
		return
	}
	if h == nil {
		if p.hosts == nil {
			p.hosts = make(map[connKey]*host)
		}
		h = &host{usedAt: c.idleSince}
		p.hosts[c.key] = h
	}
	h.idle = append(h.idle, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(c.sweepIn(c.idleSince), p.sweep)
	}
}

// sweep closes the connections that are too old, or closed by the server.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil { // another may have been set meanwhile
		p.timer.Stop()
	}
	now, next := time.Now(), time.Duration(-1)
	for key, h := range p.hosts {
		var newest, lost *conn
		if n := len(h.idle); n > 0 {
			newest = h.idle[n-1]
		}
		h.idle = slices.DeleteFunc(h.idle, func(c *conn) bool {
			warm := c == newest && h.isWarm(c.transport, now)
			if c.alive() && (!c.expired(now) || warm) {
				return false
			}
			if warm {
				lost = c
			}
			c.raw.Close()
			return true
		})
		switch {
		case len(h.idle) > 0:
			if d := h.idle[0].sweepIn(now); next < 0 || d < next {
				next = d
			}
		case lost != nil && !h.warming && now.Sub(lost.idleSince) >= p.warmPause():
			h.warming = true
			go lost.transport.warm(key)
		case !h.warming:
			delete(p.hosts, key)
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
	for _, h := range p.hosts {
		for _, c := range h.idle {
			c.raw.Close()
		}
	}
	p.hosts, p.done = nil, true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// isWarm says whether a connection is to be kept ready.
func (h *host) isWarm(t *Transport, now time.Time) bool {
	return t.WarmFor > 0 && now.Sub(h.usedAt) < t.WarmFor
}

const (
	// warmTimeout bounds the opening of one.
	warmTimeout = 10 * time.Second

	// ticketWait is how long the server has to send what belongs to the TLS
	// handshake and comes after it. It must not be found in the connection later.
	ticketWait = time.Second
)

// warm opens a connection for the next request.
func (t *Transport) warm(key connKey) {
	ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
	defer cancel()
	c, err := t.dial(ctx, key)
	if err == nil && c.tls != nil {
		c.limit(time.Now().Add(ticketWait))
		if !c.isQuiet() {
			c.raw.Close()
			err = errClosedEarly
		}
	}
	p := &t.pool
	p.mu.Lock()
	h := p.hosts[key] // none where it was closed meanwhile
	if h != nil {
		h.warming = false
	}
	p.mu.Unlock()
	// Where it fails, the next request sees to it.
	if err != nil {
		return
	}
	if h == nil {
		c.raw.Close()
		return
	}
	p.put(c)
}

// expired says whether the connection has not been used for too long.
func (c *conn) expired(now time.Time) bool {
	timeout := c.transport.IdleConnTimeout
	return timeout > 0 && now.Sub(c.idleSince) >= timeout
}

// sweepIn returns when to look at the connection again.
func (c *conn) sweepIn(now time.Time) time.Duration {
	interval := c.transport.pool.sweepInterval()
	if timeout := c.transport.IdleConnTimeout; timeout > 0 && !c.expired(now) {
		return min(interval, c.idleSince.Add(timeout).Sub(now))
	}
	return interval
}
