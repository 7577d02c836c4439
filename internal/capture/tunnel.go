package capture

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Tunnel is a connection that an application has asked for with CONNECT. To the
// site it looks like one that the application opened to it.
type Tunnel struct {
	net.Conn
	host   string        // canonical: what the application asked for
	early  *bufio.Reader // what came right behind the CONNECT request; nil once it is read
	remote net.Addr
	local  net.Addr
}

// NewTunnel returns the tunnel to a host over a connection. client is the
// application's address and local the proxy's.
func NewTunnel(conn net.Conn, early *bufio.Reader, host string, client, local net.Addr) *Tunnel {
	t := &Tunnel{Conn: conn, host: host, early: early, remote: client, local: local}
	// Where a client names no host in its TLS handshake, as it is with IPs, the
	// certificate is chosen by this address.
	if addr, err := netip.ParseAddr(host); err == nil {
		t.local = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 443))
	}
	return t
}

// Read reads what came behind the CONNECT request, and then from the connection.
func (t *Tunnel) Read(p []byte) (int, error) {
	if t.early != nil {
		if n := t.early.Buffered(); n > 0 {
			return t.early.Read(p[:min(n, len(p))])
		}
		t.early = nil
	}
	return t.Conn.Read(p)
}

// RemoteAddr returns the application's address.
func (t *Tunnel) RemoteAddr() net.Addr { return t.remote }

// LocalAddr returns the address that the application reached.
func (t *Tunnel) LocalAddr() net.Addr { return t.local }

// listener accepts the tunnels that it is handed.
type listener struct {
	tunnels chan *Tunnel
	done    chan struct{}
	close   sync.Once
}

func newListener() *listener {
	return &listener{tunnels: make(chan *Tunnel), done: make(chan struct{})}
}

// hand reports whether the tunnel was accepted.
func (l *listener) hand(t *Tunnel) bool {
	select {
	case l.tunnels <- t:
		return true
	case <-l.done:
		return false
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case t := <-l.tunnels:
		return t, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It may be called more than once.
func (l *listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return pipeAddr{} }

// pipeAddr is the address of what is on no network.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "tunnel" }
func (pipeAddr) String() string  { return "tunnel" }

// ErrClosed is returned for a tunnel to sites of a configuration that is over.
var ErrClosed = errors.New("capture: the sites are no longer served")
