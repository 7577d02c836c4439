package upstream

import (
	"context"
	"net"
	"slices"
	"sync"
)

// own are the connections that this process has open to upstreams, of all
// configurations. An upstream that leads back here is found out by them.
var own = ownConnections{remotes: make(map[string][]string)}

// ownConnections holds both ends of connections. A port of this machine may be
// used for several connections at a time, to different ends.
type ownConnections struct {
	mu      sync.RWMutex
	remotes map[string][]string // by the local end
}

// IsOwn reports whether a connection that a server has accepted is one that this
// process has opened. The ends are those that the server sees.
func IsOwn(remote string, local net.Addr) bool {
	own.mu.RLock()
	ends := own.remotes[remote]
	own.mu.RUnlock()
	return len(ends) > 0 && local != nil && slices.Contains(ends, local.String())
}

// ownConn is a connection that is known as long as it is open.
type ownConn struct {
	*net.TCPConn // with what it can do beside net.Conn
	local        string
	remote       string
	forget       sync.Once
}

// Close implements net.Conn.
func (c *ownConn) Close() error {
	c.forget.Do(func() { own.remove(c.local, c.remote) })
	return c.TCPConn.Close()
}

func (o *ownConnections) add(local, remote string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remotes[local] = append(o.remotes[local], remote)
}

func (o *ownConnections) remove(local, remote string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// A slice that was handed out must not change.
	ends := slices.Clone(o.remotes[local])
	if i := slices.Index(ends, remote); i >= 0 {
		ends = slices.Delete(ends, i, i+1)
	}
	if len(ends) == 0 {
		delete(o.remotes, local)
		return
	}
	o.remotes[local] = ends
}

// dialOwn makes a dialer's connections known.
func dialOwn(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		c := &ownConn{TCPConn: tcp, local: tcp.LocalAddr().String(), remote: tcp.RemoteAddr().String()}
		own.add(c.local, c.remote)
		return c, nil
	}
}
