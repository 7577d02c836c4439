package http1

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

var testCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "conformance"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		DNSNames:              []string{"a.example", "xn--vuqz89a.com"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// serverTLS is the TLS configuration of a server that a.example is.
func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{testCert()}}
}

// clientTLS trusts serverTLS.
func clientTLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(testCert().Leaf)
	return &tls.Config{RootCAs: pool}
}

// dialTo dials addr whatever it is asked for.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
}

func TestTLS(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newTLSServer(t, serverTLS(), numbered)
		cfg := clientTLS()
		c := tr.new(t, config{tls: cfg})
		for range 3 {
			res := c.send(t, newRequest(t, "GET", s.url, nil))
			if got := readAll(t, res); got != "1" {
				t.Errorf("on connection %s", got)
			}
			if res.TLS == nil || !res.TLS.HandshakeComplete || len(res.TLS.PeerCertificates) != 1 || res.TLS.Version < tls.VersionTLS12 {
				t.Errorf("TLS is %+v", res.TLS)
			}
		}
		if cfg.ServerName != "" || cfg.NextProtos != nil {
			t.Errorf("the configuration is changed: %q, %q", cfg.ServerName, cfg.NextProtos)
		}
		body := newBodyReader(repeat(1<<20), 1<<20)
		if got := c.do(t, newRequest(t, "POST", s.url, body)); got != "1" || len(s.last(t).body) != 1<<20 {
			t.Errorf("on connection %s", got)
		}
		body.done(t)
	})
}

// A server whose certificate is not good gets nothing to see.
func TestTLSVerification(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newTLSServer(t, serverTLS(), ok)
		refuse := func(t *testing.T, url string, cfg *tls.Config) error {
			body := newBody("hello")
			err := tr.new(t, config{tls: cfg, dial: dialTo(s.addr)}).refuse(t, newRequest(t, "POST", url, body))
			body.done(t)
			if body.count() > 0 {
				t.Error("the body was read")
			}
			return err
		}
		t.Run("untrusted", func(t *testing.T) {
			for _, cfg := range []*tls.Config{nil, {}, {RootCAs: x509.NewCertPool()}} {
				var want *tls.CertificateVerificationError
				if err := refuse(t, "https://a.example", cfg); !errors.As(err, &want) {
					t.Errorf("got %v", err)
				}
			}
		})
		t.Run("wrong name", func(t *testing.T) {
			var want x509.HostnameError
			if err := refuse(t, "https://b.example", clientTLS()); !errors.As(err, &want) {
				t.Errorf("got %v", err)
			}
		})
		t.Run("own check", func(t *testing.T) {
			errOwn := errors.New("not this one")
			cfg := clientTLS()
			cfg.VerifyConnection = func(tls.ConnectionState) error { return errOwn }
			if err := refuse(t, "https://a.example", cfg); !errors.Is(err, errOwn) {
				t.Errorf("got %v", err)
			}
		})
		if n := len(s.requests()); n != 0 {
			t.Errorf("%d requests arrived", n)
		}
		t.Run("ServerName of the configuration", func(t *testing.T) {
			cfg := clientTLS()
			cfg.ServerName = "a.example"
			readAll(t, tr.new(t, config{tls: cfg, dial: dialTo(s.addr)}).send(t, newRequest(t, "GET", "https://b.example", nil)))
		})
		t.Run("Host is not the name", func(t *testing.T) {
			req := newRequest(t, "GET", "https://a.example", nil)
			req.Host = "b.example"
			readAll(t, tr.new(t, config{tls: clientTLS(), dial: dialTo(s.addr)}).send(t, req))
			if got := s.last(t).header("Host"); got[0] != "b.example" {
				t.Errorf("Host is %q", got)
			}
		})
	})
}

// A server that speaks no TLS, and one that does where none is expected.
func TestTLSMismatch(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		plain := newServer(t, func(c *serverConn) { c.say("HTTP/1.1 400 Bad Request\r\n\r\n"); c.drain() })
		c := tr.new(t, config{tls: clientTLS()})
		c.refuse(t, newRequest(t, "GET", "https://"+plain.addr, nil))
		s := newTLSServer(t, serverTLS(), ok)
		c.refuse(t, newRequest(t, "GET", "http://"+s.addr, nil))
	})
}

// What is dialed, what name is asked for and what Host is sent.
func TestTLSNames(t *testing.T) {
	tests := []struct {
		url, addr, sni, host string
	}{
		{"https://a.example", "a.example:443", "a.example", "a.example"},
		{"https://a.example:8443", "a.example:8443", "a.example", "a.example:8443"},
		{"https://a.example:443", "a.example:443", "a.example", "a.example:443"},
		{"https://A.Example", "A.Example:443", "A.Example", "A.Example"},
		{"https://a.example.", "a.example.:443", "a.example", "a.example."},
		{"https://微信.com", "xn--vuqz89a.com:443", "xn--vuqz89a.com", "xn--vuqz89a.com"},
		{"https://[::1]", "[::1]:443", "", "[::1]"},
		{"https://[::1]:8443", "[::1]:8443", "", "[::1]:8443"},
		{"https://127.0.0.1", "127.0.0.1:443", "", "127.0.0.1"},
		{"https://a.example:", "a.example:443", "a.example", "a.example"},
		{"http://a.example", "a.example:80", "", "a.example"},
		{"http://a.example:", "a.example:80", "", "a.example"},
		{"http://a.example.", "a.example.:80", "", "a.example."},
		{"http://a.example:443", "a.example:443", "", "a.example:443"},
		{"http://微信.com:81", "xn--vuqz89a.com:81", "", "xn--vuqz89a.com:81"},
		{"http://[::1]:81", "[::1]:81", "", "[::1]:81"},
		{"http://[fe80::1%25lo]", "[fe80::1%lo]:80", "", "[fe80::1]"},
		{"http://a_b.example", "a_b.example:80", "", "a_b.example"},
	}
	each(t, func(t *testing.T, tr transport) {
		for _, test := range tests {
			t.Run(test.url, func(t *testing.T) {
				var sni, dialed string
				var s *server
				if test.url[:5] == "https" {
					cfg := serverTLS()
					cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
						sni = h.ServerName
						if slices.Contains(h.SupportedProtos, "h2") || len(h.SupportedProtos) > 1 {
							t.Errorf("ALPN is %q", h.SupportedProtos)
						}
						return nil, nil
					}
					s = newTLSServer(t, cfg, ok)
				} else {
					s = newServer(t, ok)
				}
				c := tr.new(t, config{tls: clientTLS(), dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					dialed = addr
					return dialTo(s.addr)(ctx, network, addr)
				}})
				readAll(t, c.send(t, newRequest(t, "GET", test.url, nil)))
				if dialed != test.addr {
					t.Errorf("dialed %s, want %s", dialed, test.addr)
				}
				if sni != test.sni {
					t.Errorf("asked for %q, want %q", sni, test.sni)
				}
				if got := s.last(t).header("Host"); len(got) != 1 || got[0] != test.host {
					t.Errorf("Host is %q, want %q", got, test.host)
				}
			})
		}
	})
}

// HTTP/2 is not offered even where the configuration has it. net/http does that,
// and goes on in HTTP/1.1 whatever the server took.
func TestTLSNoHTTP2(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		cfg := serverTLS()
		cfg.NextProtos = []string{"h2", "http/1.1"}
		s := newTLSServer(t, cfg, ok)
		client := clientTLS()
		client.NextProtos = []string{"h2", "http/1.1"}
		res := tr.new(t, config{tls: client}).send(t, newRequest(t, "GET", s.url, nil))
		readAll(t, res)
		if p := res.TLS.NegotiatedProtocol; tr.keepsNextProtos && p != "h2" || !tr.keepsNextProtos && p == "h2" {
			t.Errorf("negotiated %q", p)
		}
		if got := fmt.Sprint(client.NextProtos); got != "[h2 http/1.1]" {
			t.Errorf("the configuration is changed: %s", got)
		}
	})
}

// Sessions are resumed from one connection to the next.
func TestTLSResumption(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				var mu sync.Mutex
				var resumed []bool
				cfg := serverTLS()
				cfg.MaxVersion = version
				s := newTLSServer(t, cfg, func(c *serverConn) {
					r, err := c.read()
					if err != nil {
						return
					}
					mu.Lock()
					resumed = append(resumed, c.Conn.(*tls.Conn).ConnectionState().DidResume)
					mu.Unlock()
					c.sayNumber(r)
				})
				client := clientTLS()
				client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				c := tr.new(t, config{tls: client})
				for range 3 {
					req := newRequest(t, "GET", s.url, nil)
					req.Close = true
					res := c.send(t, req)
					readAll(t, res)
				}
				mu.Lock()
				defer mu.Unlock()
				if got := fmt.Sprint(resumed); got != "[false true true]" {
					t.Errorf("resumed: %s", got)
				}
			})
		}
	})
}

// An answer until the end of the connection ought to be complete only with
// close_notify, but crypto/tls takes any end between records for one: many
// servers send none.
func TestTLSTruncation(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, notify := range []bool{true, false} {
			s := newTLSServer(t, serverTLS(), func(c *serverConn) {
				c.read()
				c.say("HTTP/1.1 200 OK\r\n\r\nhello")
				if notify {
					c.fin()
				}
				c.Conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
				c.drain()
			})
			res := tr.new(t, config{tls: clientTLS()}).send(t, newRequest(t, "GET", s.url, nil))
			b, err := io.ReadAll(res.Body)
			if string(b) != "hello" || err != nil {
				t.Errorf("close_notify %v: got %q, %v", notify, b, err)
			}
			res.Body.Close()
		}
	})
}

func TestTLSHandshakeTimeout(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		gone := make(chan struct{})
		s := newServer(t, func(c *serverConn) { c.drain(); close(gone) })
		c := tr.new(t, config{tls: clientTLS(), tlsHandshakeTimeout: 50 * time.Millisecond})
		body := newBody("hello")
		err := c.refuse(t, newRequest(t, "POST", "https://"+s.addr, body))
		if !isTimeout(err) {
			t.Errorf("got %v", err)
		}
		body.done(t)
		wait(t, "the connection ends", gone)
	})
}

// The handshake's time is no other time.
func TestTLSHandshakeTimeoutOver(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		const timeout = 1500 * time.Millisecond // the handshake has to do with that
		s := newTLSServer(t, serverTLS(), func(c *serverConn) {
			r, _ := c.read()
			time.Sleep(timeout + 200*time.Millisecond)
			c.sayNumber(r)
			c.drain()
		})
		c := tr.new(t, config{tls: clientTLS(), tlsHandshakeTimeout: timeout})
		if got := c.do(t, newRequest(t, http.MethodPost, s.url, newBody("hello"))); got != "1" {
			t.Errorf("on connection %s", got)
		}
	})
}
