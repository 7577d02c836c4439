// Package dnstest is a DNS server for tests.
package dnstest

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Server answers over UDP and TCP on one port.
type Server struct {
	Addr string // host and port

	// Answer returns the answers to a query, in their order; none is silence.
	answer func(network string, query dnsmessage.Message) []dnsmessage.Message

	mu    sync.Mutex
	asked []string
}

// Start starts a server that knows these addresses by name, without a dot at the
// end. Other names do not exist.
func Start(t testing.TB, addrs map[string][]string) *Server {
	t.Helper()
	return StartFunc(t, func(_ string, query dnsmessage.Message) []dnsmessage.Message {
		return []dnsmessage.Message{Answer(query, addrs)}
	})
}

// Answer answers a query from the addresses.
func Answer(query dnsmessage.Message, addrs map[string][]string) dnsmessage.Message {
	q := query.Questions[0]
	known, ok := addrs[strings.TrimSuffix(q.Name.String(), ".")]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true},
		Questions: query.Questions,
	}
	if !ok {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, s := range known {
		addr := netip.MustParseAddr(s)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return m
}

// StartFunc starts a server that answers with what the function returns, which
// may be any number of messages.
func StartFunc(t testing.TB, answer func(network string, query dnsmessage.Message) []dnsmessage.Message) *Server {
	t.Helper()
	s := &Server{answer: answer}
	var packets net.PacketConn
	var listener net.Listener
	for range 100 { // until a port is free for both
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		s.Addr = packets.LocalAddr().String()
		if listener, err = net.Listen("tcp", s.Addr); err == nil {
			break
		}
		_ = packets.Close()
	}
	if listener == nil {
		t.Fatal("there is no free port")
	}
	var done sync.WaitGroup
	done.Go(func() { s.serveUDP(packets) })
	done.Go(func() { s.serveTCP(listener) })
	t.Cleanup(func() {
		_ = packets.Close()
		_ = listener.Close()
		done.Wait()
	})
	return s
}

// Asked returns what was asked for, as "udp A name.".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func (s *Server) answers(network string, packed []byte) [][]byte {
	var query dnsmessage.Message
	if query.Unpack(packed) != nil || len(query.Questions) != 1 {
		return nil
	}
	q := query.Questions[0]
	s.mu.Lock()
	s.asked = append(s.asked, network+" "+strings.TrimPrefix(q.Type.String(), "Type")+" "+q.Name.String())
	s.mu.Unlock()
	var all [][]byte
	for _, m := range s.answer(network, query) {
		if packed, err := m.Pack(); err == nil {
			all = append(all, packed)
		}
	}
	return all
}

func (s *Server) serveUDP(conn net.PacketConn) {
	buf := make([]byte, 512)
	for {
		n, client, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		for _, answer := range s.answers("udp", buf[:n]) {
			_, _ = conn.WriteTo(answer, client)
		}
	}
}

func (s *Server) serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		s.serveConn(conn)
	}
}

func (s *Server) serveConn(conn net.Conn) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	for _, answer := range s.answers("tcp", query) {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}
