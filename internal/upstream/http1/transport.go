// Package http1 is an HTTP/1.1 client that sends a request and reads its answer
// on the caller's goroutine.
//
// net/http's Transport hands every request to two further goroutines, which is
// most of what forwarding a small request costs. Here a goroutine is started
// only where one is needed: for a request body too large to be sent at once.
//
// What a Transport promises is what net/http's promises, and the tests run the
// same cases against both. The differences are deliberate:
//
//   - No request is sent again once the server may have seen any of it, whatever
//     its method. A connection that was kept is looked at before it is used; if
//     the server has closed it, or nothing could be written to it, the request
//     goes out on another.
//   - A request body has a known length. Requests are never chunked.
//   - A body of up to 32 KiB is read to its end before anything is sent. While
//     it is being read, the end of the request's context takes no effect.
//   - There is no CONNECT, no upgrade to another protocol, no Expect, and no
//     decompression. Of httptrace's hooks, Got1xxResponse is called.
//   - Requests through a proxy are left to another RoundTripper.
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Transport sends requests over connections that it keeps for the next. Its
// fields must not be changed once it is in use.
type Transport struct {
	// Proxy tells which proxy a request goes through. Where there is one, the
	// request is left to Fallback. Default: none.
	Proxy func(*http.Request) (*url.URL, error)

	// Fallback sends the requests that go through a proxy.
	Fallback http.RoundTripper

	// DialContext connects to a host and port. Default: a net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// TLSClientConfig is used for https. Default: the zero Config.
	TLSClientConfig *tls.Config

	// TLSHandshakeTimeout bounds the TLS handshake; 0 is no bound.
	TLSHandshakeTimeout time.Duration

	// ResponseHeaderTimeout bounds the wait for the header of the answer once
	// the request is written; 0 is no bound.
	ResponseHeaderTimeout time.Duration

	// IdleConnTimeout is how long a connection is kept that nobody uses; 0 is
	// as long as the server keeps it.
	IdleConnTimeout time.Duration

	// WarmFor is for how long after the last request to a host a connection to
	// it is kept ready, so that the next one does not have to wait for
	// handshakes: the last that is kept does not grow too old, and where the
	// server closes it, another takes its place, at most every half minute.
	// Default: not at all.
	WarmFor time.Duration

	// MaxIdleConnsPerHost is how many connections are kept that nobody uses.
	// Default: 1024.
	MaxIdleConnsPerHost int

	// MaxResponseHeaderBytes bounds the header of an answer, with all 1xx
	// answers before it. Default: 1 MiB.
	MaxResponseHeaderBytes int64

	// MaxResponseFields bounds the fields in the header of an answer. A field
	// takes many times the memory that it has bytes. Default: no bound.
	MaxResponseFields int

	pool pool
}

const (
	defaultMaxIdleConnsPerHost    = 1024
	defaultMaxResponseHeaderBytes = 1 << 20
)

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := check(req); err != nil {
		closeBody(req)
		return nil, err
	}
	if t.Proxy != nil {
		proxy, err := t.Proxy(req)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		if proxy != nil {
			return t.Fallback.RoundTrip(req)
		}
	}
	out, err := newOutgoing(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer out.release()
	key := keyOf(req.URL)
	for {
		c, err := t.connect(req.Context(), key)
		if err != nil {
			out.abandon()
			return nil, err
		}
		if out.hasSmallBody() {
			start := time.Now()
			if err := out.readSmallBody(); err != nil {
				c.raw.Close()
				out.abandon()
				return nil, err
			}
			// A server does not wait for long for a request on a new connection
			// either. The next one has the body at once.
			if c.syscall != nil && time.Since(start) > slowBody && !c.alive() {
				c.raw.Close()
				continue
			}
		}
		res, err := c.roundTrip(req, out)
		if errors.Is(err, errUnsent) && c.kept {
			continue
		}
		if err != nil {
			out.abandon()
		}
		return res, err
	}
}

// slowBody is how long a body may take before the connection it is for is looked
// at again.
const slowBody = 100 * time.Millisecond

// CloseIdleConnections closes the connections that nobody uses, Fallback's too
// if it has such a method.
func (t *Transport) CloseIdleConnections() {
	t.pool.closeIdle()
	if fallback, ok := t.Fallback.(interface{ CloseIdleConnections() }); ok {
		fallback.CloseIdleConnections()
	}
}

// Close closes the connections that nobody uses, and has none be kept any more,
// nor opened but for requests that are still under way, Fallback's
// too if it has such a method.
func (t *Transport) Close() {
	t.pool.closed.Store(true)
	t.CloseIdleConnections()
	if fallback, ok := t.Fallback.(interface{ Close() }); ok {
		fallback.Close()
	}
}

// connect returns a connection that was kept, or else a new one.
func (t *Transport) connect(ctx context.Context, key connKey) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if c := t.pool.take(key); c != nil {
		return c, nil
	}
	return t.dial(ctx, key)
}

var zeroDialer net.Dialer

func (t *Transport) dial(ctx context.Context, key connKey) (*conn, error) {
	dial := t.DialContext
	if dial == nil {
		dial = zeroDialer.DialContext
	}
	raw, err := dial(ctx, "tcp", key.addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	c := newConn(t, key, raw)
	if key.tls {
		if err := c.handshake(ctx); err != nil {
			raw.Close()
			return nil, err
		}
	}
	return c, nil
}

// timeoutError is a time limit that has run out.
type timeoutError string

func (e timeoutError) Error() string   { return "http1: " + string(e) }
func (e timeoutError) Timeout() bool   { return true }
func (e timeoutError) Temporary() bool { return true }

const (
	errHandshakeTimeout = timeoutError("the TLS handshake took too long")
	errHeaderTimeout    = timeoutError("the header of the answer took too long")
)

func (t *Transport) maxIdle() int {
	if t.MaxIdleConnsPerHost == 0 {
		return defaultMaxIdleConnsPerHost
	}
	return t.MaxIdleConnsPerHost
}

func (t *Transport) maxHeader() int64 {
	if t.MaxResponseHeaderBytes == 0 {
		return defaultMaxResponseHeaderBytes
	}
	return t.MaxResponseHeaderBytes
}

// outgoings are requests' buffers.
var outgoings = sync.Pool{New: func() any { return &outgoing{buf: make([]byte, 0, bufferSize)} }}

// bufferSize has room for most requests with their bodies.
const bufferSize = 8 << 10

var (
	_ http.RoundTripper = (*Transport)(nil)
	_ net.Error         = timeoutError("")
)
