package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver is a DNS server that is asked for upstreams' addresses, in place of
// what the system would say: not the hosts file, and not the system's DNS. Both
// may lead WeChat's names to this proxy, which would call itself.
type Resolver struct {
	server netip.AddrPort
	dialer net.Dialer
}

const dnsPort = 53

// ParseResolver parses the address of a DNS server, <ip[:port]>.
func ParseResolver(s string) (*Resolver, error) {
	server, err := netip.ParseAddrPort(s)
	if err != nil {
		addr, addrErr := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		if addrErr != nil {
			return nil, errors.New("is no IP: write the DNS server's, with a port if it is another than 53, such as 223.5.5.5 or [2400:3200::1]:53")
		}
		server = netip.AddrPortFrom(addr, dnsPort)
	}
	if server.Port() == 0 || server.Addr().IsUnspecified() || server.Addr().IsMulticast() {
		return nil, errors.New("is no address of a DNS server: write one such as 223.5.5.5 or 223.5.5.5:53")
	}
	return &Resolver{server: server, dialer: net.Dialer{KeepAlive: keepAlive}}, nil
}

// String returns the server's address.
func (r *Resolver) String() string { return r.server.String() }

// DialContext connects to a host and port. Errors are those of a net.Dialer.
func (r *Resolver) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return r.dialer.DialContext(ctx, network, addr)
	}
	addrs, err := r.lookup(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	for i, addr := range addrs {
		var conn net.Conn
		conn, err = r.dialOne(ctx, network, net.JoinHostPort(addr.String(), port), len(addrs)-i)
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// dialOne connects to one of several addresses, which have the rest of the time
// among them.
func (r *Resolver) dialOne(ctx context.Context, network, addr string, addrs int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && addrs > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(addrs))
		defer cancel()
	}
	return r.dialer.DialContext(ctx, network, addr)
}

// secondAnswerWait is how long an answer with IPv4 addresses waits for the one
// with IPv6 addresses, as in RFC 8305.
const secondAnswerWait = 50 * time.Millisecond

// lookup returns a host's addresses, those of IPv4 first.
func (r *Resolver) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	host = strings.TrimSuffix(host, ".")
	if lower := strings.ToLower(host); lower == "localhost" || strings.HasSuffix(lower, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil // RFC 6761
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		addrs []netip.Addr
		err   error
	}
	ask := func(t addressType) <-chan result {
		answer := make(chan result, 1)
		go func() {
			addrs, err := r.ask(ctx, host, t)
			answer <- result{addrs, err}
		}()
		return answer
	}
	six := ask(ipv6)
	four := <-ask(ipv4)
	var enough <-chan time.Time
	if len(four.addrs) > 0 {
		enough = time.After(secondAnswerWait)
	}
	select {
	case second := <-six:
		if len(four.addrs) == 0 && len(second.addrs) == 0 {
			return nil, four.err
		}
		return append(four.addrs, second.addrs...), nil
	case <-enough:
		return four.addrs, nil
	}
}
