package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-weixin/caddy-weixin/internal/dnstest"
)

func TestParseResolver(t *testing.T) {
	for in, want := range map[string]string{
		"223.5.5.5":           "223.5.5.5:53",
		"223.5.5.5:5353":      "223.5.5.5:5353",
		"2400:3200::1":        "[2400:3200::1]:53",
		"[2400:3200::1]":      "[2400:3200::1]:53",
		"[2400:3200::1]:5353": "[2400:3200::1]:5353",
	} {
		if got, err := ParseResolver(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "dns.example", "dns.example:53", "localhost", "223.5.5", "223.5.5.5:", "223.5.5.5:0", "223.5.5.5:65536", "223.5.5.5:x", "0.0.0.0", "::", "224.0.0.1", "udp://223.5.5.5", "223.5.5.5/32", "223.5.5.5 "} {
		if got, err := ParseResolver(in); err == nil || !strings.Contains(err.Error(), "223.5.5.5") {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func resolverOf(t *testing.T, s *dnstest.Server) *Resolver {
	t.Helper()
	r, err := ParseResolver(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResolverLookup(t *testing.T) {
	known := map[string][]string{"wx.test": {"192.0.2.1", "2001:db8::1"}, "six.test": {"2001:db8::6"}, "empty.test": {}}
	for i := range 40 { // too much for UDP
		known["many.test"] = append(known["many.test"], fmt.Sprintf("192.0.2.%d", i+1))
	}
	hostname, err := os.Hostname() // which the hosts file knows
	if err != nil {
		t.Fatal(err)
	}
	known[strings.TrimSuffix(hostname, ".")] = []string{"192.0.2.99"}
	s := dnstest.StartFunc(t, func(network string, query dnsmessage.Message) []dnsmessage.Message {
		m := dnstest.Answer(query, known)
		q := query.Questions[0]
		forged := dnstest.Answer(query, map[string][]string{strings.TrimSuffix(q.Name.String(), "."): {"203.0.113.1"}})
		switch q.Name.String() {
		case "many.test.":
			if network == "udp" {
				m.Truncated, m.Answers = true, m.Answers[:0]
			}
		case "forged.test.":
			forged.ID++
			other := dnstest.Answer(query, map[string][]string{"forged.test": {"203.0.113.2"}})
			other.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.test."), Type: q.Type, Class: q.Class}}
			good := dnstest.Answer(query, map[string][]string{"forged.test": {"192.0.2.2"}})
			query.Response = false
			return []dnsmessage.Message{forged, other, query, good}
		case "alias.test.":
			m = dnstest.Answer(query, map[string][]string{"alias.test": {"192.0.2.3"}})
			cname := dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
				Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("target.test.")},
			}
			m.Answers = append([]dnsmessage.Resource{cname}, m.Answers...)
		case "silent6.test.":
			if q.Type == dnsmessage.TypeAAAA {
				return nil
			}
			return []dnsmessage.Message{dnstest.Answer(query, map[string][]string{"silent6.test": {"192.0.2.4"}})}
		case "fails.test.":
			m.RCode = dnsmessage.RCodeServerFailure
		case "refuses-udp.test.":
			m = dnstest.Answer(query, map[string][]string{"refuses-udp.test": {"192.0.2.5"}})
			if network == "udp" {
				m.RCode = dnsmessage.RCodeRefused
			}
		}
		return []dnsmessage.Message{m}
	})
	r := resolverOf(t, s)
	for _, c := range []struct {
		host string
		want string // the error, where it has no dot
	}{
		{"wx.test", "192.0.2.1 2001:db8::1"},
		{"WX.test.", "no such host"}, // this server minds
		{"wx.test.", "192.0.2.1 2001:db8::1"},
		{"six.test", "2001:db8::6"},
		{"forged.test", "192.0.2.2"},
		{"alias.test", "192.0.2.3"},
		{"silent6.test", "192.0.2.4"},
		{"refuses-udp.test", "192.0.2.5"},
		{hostname, "192.0.2.99"},
		{"localhost", "127.0.0.1 ::1"},
		{"wx.LOCALHOST", "127.0.0.1 ::1"},
		{"empty.test", "no such host"},
		{"unknown.test", "no such host"},
		{"fails.test", "server misbehaving"},
		{strings.Repeat("x", 64) + ".test", "no such host"},
		{strings.Repeat("x.", 200) + "test", "no such host"},
		{"", "no such host"},
	} {
		addrs, err := r.lookup(t.Context(), c.host)
		got := strings.Trim(fmt.Sprint(addrs), "[]")
		if err != nil {
			dnsErr, ok := errors.AsType[*net.DNSError](err)
			if !ok || dnsErr.Server != s.Addr || dnsErr.IsNotFound != (c.want == "no such host") {
				t.Errorf("%.20s: %#v", c.host, err)
				continue
			}
			got = dnsErr.Err
		}
		if got != c.want {
			t.Errorf("%.20s: %s, want %s", c.host, got, c.want)
		}
	}
	if addrs, err := r.lookup(t.Context(), "many.test"); err != nil || len(addrs) != 40 || !slices.Contains(s.Asked(), "tcp A many.test.") {
		t.Errorf("%v, %v", addrs, err)
	}
}

// Nothing goes on when nobody waits any more.
func TestResolverTimeout(t *testing.T) {
	s := dnstest.StartFunc(t, func(string, dnsmessage.Message) []dnsmessage.Message { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := resolverOf(t, s).DialContext(ctx, "tcp", "wx.test:80")
	opErr, ok := errors.AsType[*net.OpError](err)
	if !ok || opErr.Op != "dial" || !opErr.Timeout() || time.Since(start) > time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

// Of several addresses the first that answers is taken.
func TestResolverDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := resolverOf(t, dnstest.Start(t, map[string][]string{"wx.test": {"127.0.0.2", "127.0.0.3"}, "down.test": {"127.0.0.2"}}))
	for _, addr := range []string{"wx.test:" + port, l.Addr().String()} {
		conn, err := r.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	for _, addr := range []string{"down.test:" + port, "unknown.test:1", "wx.test"} {
		_, err := r.DialContext(t.Context(), "tcp", addr)
		if opErr, ok := errors.AsType[*net.OpError](err); !ok || opErr.Op != "dial" {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// Requests with different resolvers share no connection, even to one name.
func TestResolving(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.WriteString(w, req.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
	})
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(echo)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var resolvers []*Resolver
	for _, addr := range []string{"127.0.0.2", "127.0.0.3"} {
		resolvers = append(resolvers, resolverOf(t, dnstest.Start(t, map[string][]string{"wx.test": {addr}})))
	}
	for _, name := range []string{HTTP1, NetHTTP} {
		base := NewTransport(time.Minute)
		rt, err := NewResolving(base, resolvers, func(t *http.Transport) (RoundTripper, error) { return NewRoundTripper(name, t) })
		if err != nil {
			t.Fatal(err)
		}
		send := func(r *Resolver, host string) string {
			req, err := http.NewRequestWithContext(WithResolver(t.Context(), r), http.MethodGet, "http://"+host+":"+port+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := rt.RoundTrip(req)
			if err != nil {
				return err.Error()
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			return strings.TrimSuffix(string(body), ":"+port)
		}
		for range 2 {
			if two, three := send(resolvers[0], "wx.test"), send(resolvers[1], "wx.test"); two != "127.0.0.2" || three != "127.0.0.3" {
				t.Errorf("%s: %s and %s", name, two, three)
			}
			if own := send(nil, "127.0.0.4"); own != "127.0.0.4" {
				t.Errorf("%s without: %s", name, own)
			}
		}
		// A proxy is found as ever, and finds the upstream.
		base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.5:" + port) }
		if rt, err = NewResolving(base, resolvers, func(t *http.Transport) (RoundTripper, error) { return NewRoundTripper(name, t) }); err != nil {
			t.Fatal(err)
		}
		if via := send(resolvers[0], "wx.test"); via != "127.0.0.5" {
			t.Errorf("%s through a proxy: %s", name, via)
		}
		rt.CloseIdleConnections()
	}
}

// FuzzParseAnswer: whatever is sent, there are addresses or an error.
func FuzzParseAnswer(f *testing.F) {
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("wx.test."), Type: ipv4, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{question}}
	answer := dnstest.Answer(query, map[string][]string{"wx.test": {"192.0.2.1"}})
	packed, err := answer.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)-3])
	f.Fuzz(func(t *testing.T, answer []byte) {
		addrs, err := parseAnswer(answer, 1, question)
		if (err == nil) != (len(addrs) > 0) || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.Is4() }) {
			t.Errorf("%v, %v", addrs, err)
		}
	})
}
