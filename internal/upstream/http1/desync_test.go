package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
)

// gathered is a connection that writes everything at once when it is told to.
type gathered struct {
	net.Conn
	held *bytes.Buffer // nil while it writes at once
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.held != nil {
		return g.held.Write(p)
	}
	return g.Conn.Write(p)
}

// An answer that nobody has asked for, in a TLS record of its own that came
// together with the one before, is in the TLS connection and not in the socket.
// It must not be taken for the answer to the next request.
func TestAnswerInTheNextRecord(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	t.Cleanup(func() { ln.Close() })
	var accepted atomic.Int32
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			n := accepted.Add(1)
			go func() {
				defer nc.Close()
				g := &gathered{Conn: nc}
				c := tls.Server(g, serverTLS())
				for br := bufio.NewReader(c); ; {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					g.held = new(bytes.Buffer)
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"))
					if n == 1 {
						_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
					}
					held := g.held.Bytes()
					g.held = nil
					_, _ = g.Write(held)
				}
			}()
		}
	}()
	tr := &Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	for range 3 {
		res, err := tr.RoundTrip(newRequest(t, "GET", "https://"+ln.Addr().String(), nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, res); got != "good" {
			t.Fatalf("got %q", got)
		}
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

var errBrokenWire = errors.New("the wire is broken")

// breaking is a TCP connection on which a later write gets no further than some
// bytes.
type breaking struct {
	*net.TCPConn
	left   int // writes that go well
	passes int // bytes of the next
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left--; b.left >= 0 {
		return b.TCPConn.Write(p)
	}
	n, err := b.TCPConn.Write(p[:b.passes])
	if err == nil {
		err = errBrokenWire
	}
	b.TCPConn.Close()
	return n, err
}

// A request of which nothing was written on a kept connection goes out on
// another. One of which some was written does not, whatever its method.
func TestRequestWrittenInPart(t *testing.T) {
	for _, test := range []struct {
		passes int
		want   string // connection; "" is an error
	}{{0, "2"}, {1, ""}, {20, ""}} {
		for _, method := range []string{"GET", "POST"} {
			s := newServer(t, numbered)
			dials := 0
			tr := &Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				if dials++; dials > 1 {
					return nc, nil
				}
				return &breaking{TCPConn: nc.(*net.TCPConn), left: 1, passes: test.passes}, nil
			}}
			t.Cleanup(tr.CloseIdleConnections)
			send := func() (string, error) {
				res, err := tr.RoundTrip(newRequest(t, method, s.url, newBody("hello")))
				if err != nil {
					return "", err
				}
				return readAll(t, res), nil
			}
			if got, err := send(); got != "1" || err != nil {
				t.Fatalf("on connection %s, %v", got, err)
			}
			if got, err := send(); got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%s after %d bytes: on connection %q, %v", method, test.passes, got, err)
			}
		}
	}
}
