package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// addressType is a kind of address that DNS is asked for.
type addressType = dnsmessage.Type

const (
	ipv4 addressType = dnsmessage.TypeA
	ipv6 addressType = dnsmessage.TypeAAAA
)

// attempts are the ways to ask, one after the other, while there is no answer.
var attempts = []struct {
	network string
	timeout time.Duration
}{
	{"udp", 1500 * time.Millisecond},
	{"udp", 2500 * time.Millisecond},
	{"tcp", 3 * time.Second},
}

var (
	errTruncated   = errors.New("the answer is too long for UDP")
	errMisbehaving = errors.New("server misbehaving")
	errNoHost      = errors.New("no such host")
	errNoAnswer    = errors.New("no answer")
)

// ask returns a host's addresses of one type. There is an error where there are
// none; it is a *net.DNSError.
func (r *Resolver) ask(ctx context.Context, host string, t addressType) ([]netip.Addr, error) {
	failure := &net.DNSError{Name: host, Server: r.String()}
	name, err := dnsmessage.NewName(host + ".")
	if err != nil {
		failure.Err, failure.IsNotFound = errNoHost.Error(), true
		return nil, failure
	}
	truncated := false
	for _, a := range attempts {
		if truncated && a.network == "udp" {
			continue
		}
		var addrs []netip.Addr
		addrs, err = r.attempt(ctx, a.network, a.timeout, name, t)
		if len(addrs) > 0 {
			return addrs, nil
		}
		if errors.Is(err, errNoHost) || ctx.Err() != nil {
			break
		}
		truncated = errors.Is(err, errTruncated)
	}
	var timeout net.Error
	failure.Err = err.Error()
	failure.IsNotFound = errors.Is(err, errNoHost)
	failure.IsTimeout = errors.As(err, &timeout) && timeout.Timeout()
	failure.IsTemporary = !failure.IsNotFound
	return nil, failure
}

// attempt asks once.
func (r *Resolver) attempt(ctx context.Context, network string, timeout time.Duration, name dnsmessage.Name, t addressType) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// A socket of its own, so that an answer cannot be guessed.
	conn, err := r.dialer.DialContext(ctx, network, r.server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	id := uint16(rand.Uint32()) // from ChaCha8, which cannot be guessed
	question := dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{question},
	}
	packed, err := query.Pack()
	if err != nil {
		return nil, errNoHost // a label is too long
	}
	addrs, err := exchange(conn, network, packed, id, question)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err() // or else it would be that of the closed socket
	}
	return addrs, err
}

// exchange sends a query and reads its answer.
func exchange(conn net.Conn, network string, query []byte, id uint16, question dnsmessage.Question) ([]netip.Addr, error) {
	if network == "tcp" {
		framed := binary.BigEndian.AppendUint16(nil, uint16(len(query)))
		if _, err := conn.Write(append(framed, query...)); err != nil {
			return nil, err
		}
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return nil, err
		}
		answer := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, answer); err != nil {
			return nil, err
		}
		return parseAnswer(answer, id, question)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	answer := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return nil, err
		}
		addrs, err := parseAnswer(answer[:n], id, question)
		if errors.Is(err, errNoAnswer) {
			continue // somebody else's
		}
		return addrs, err
	}
}

// maxDatagram is more than a server sends that is not told of more than the 512
// bytes that DNS has had from the beginning.
const maxDatagram = 4096

// parseAnswer returns the addresses in the answer to a question. What does not
// answer it is errNoAnswer.
func parseAnswer(answer []byte, id uint16, question dnsmessage.Question) ([]netip.Addr, error) {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil || !h.Response || h.ID != id {
		return nil, errNoAnswer
	}
	asked, err := p.Question()
	if err != nil || asked.Type != question.Type || asked.Class != question.Class ||
		!strings.EqualFold(asked.Name.String(), question.Name.String()) {
		return nil, errNoAnswer
	}
	switch {
	case h.RCode == dnsmessage.RCodeNameError:
		return nil, errNoHost
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, errMisbehaving
	case h.Truncated:
		return nil, errTruncated
	}
	if p.SkipAllQuestions() != nil {
		return nil, errMisbehaving
	}
	return parseAddresses(&p, question.Type)
}

// parseAddresses returns the addresses of one type. A server that was asked to
// follow aliases answers with those at their end.
func parseAddresses(p *dnsmessage.Parser, t addressType) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, errMisbehaving
		}
		switch {
		case h.Type == ipv4 && t == ipv4:
			var a dnsmessage.AResource
			a, err = p.AResource()
			addrs = append(addrs, netip.AddrFrom4(a.A))
		case h.Type == ipv6 && t == ipv6:
			var aaaa dnsmessage.AAAAResource
			aaaa, err = p.AAAAResource()
			addrs = append(addrs, netip.AddrFrom16(aaaa.AAAA))
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, errMisbehaving
		}
	}
	if len(addrs) == 0 {
		return nil, errNoHost
	}
	return addrs, nil
}
