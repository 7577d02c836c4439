package http1

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// What is sent, byte by byte, but for the order of the header.
func TestRequestWire(t *testing.T) {
	hello := func() io.Reader { return newBody("hello") }
	noBody := func() io.Reader { return http.NoBody }
	tests := []struct {
		name   string
		method string
		path   string
		body   func() io.Reader
		edit   func(*http.Request)
		want   string // HOST is the server's address
	}{
		{name: "GET", method: "GET", path: "/", want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "empty method", method: "", path: "/", edit: func(r *http.Request) { r.Method = "" }, want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "HEAD", method: "HEAD", path: "/", want: crlf("HEAD / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "POST", method: "POST", path: "/", want: crlf("POST / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "PUT", method: "PUT", path: "/", want: crlf("PUT / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "PATCH", method: "PATCH", path: "/", want: crlf("PATCH / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "DELETE", method: "DELETE", path: "/", want: crlf("DELETE / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "OPTIONS", method: "OPTIONS", path: "/", want: crlf("OPTIONS / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "lower case method", method: "post", path: "/", want: crlf("post / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "method of one's own", method: "M-SEARCH", path: "/", want: crlf("M-SEARCH / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "GET with body", method: "GET", path: "/", body: hello, want: crlf("GET / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "HEAD with body", method: "HEAD", path: "/", body: hello, want: crlf("HEAD / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "POST with body", method: "POST", path: "/", body: hello, want: crlf("POST / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "PUT with body", method: "PUT", path: "/", body: hello, want: crlf("PUT / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "DELETE with body", method: "DELETE", path: "/", body: hello, want: crlf("DELETE / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "body in memory", method: "POST", path: "/", body: func() io.Reader { return strings.NewReader("hello") }, want: crlf("POST / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello")},
		{name: "POST with NoBody", method: "POST", path: "/", body: noBody, want: crlf("POST / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "GET with NoBody", method: "GET", path: "/", body: noBody, want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{
			name: "NoBody and a length", method: "POST", path: "/", body: noBody,
			edit: func(r *http.Request) { r.ContentLength = 5 },
			want: crlf("POST / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "NoBody and no known length", method: "POST", path: "/", body: noBody,
			edit: func(r *http.Request) { r.ContentLength = -1 },
			want: crlf("POST / HTTP/1.1", "Content-Length: 0", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "binary body", method: "POST", path: "/", body: func() io.Reader { return newBody("\x00\r\n\r\n\xff0\r\n\r\n") },
			want: crlf("POST / HTTP/1.1", "Content-Length: 11", "Host: HOST", "User-Agent: UA", "", "\x00\r\n\r\n\xff0\r\n\r\n"),
		},
		{name: "path and query", method: "GET", path: "/a/b?c=d&e", want: crlf("GET /a/b?c=d&e HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "no path", method: "GET", path: "", want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "query without path", method: "GET", path: "?a", want: crlf("GET /?a HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "fragment", method: "GET", path: "/a#b", want: crlf("GET /a HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "escaped path", method: "GET", path: "/a%2Fb%20c/%e4%bd%a0", want: crlf("GET /a%2Fb%20c/%e4%bd%a0 HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "two slashes", method: "GET", path: "//a//b", want: crlf("GET //a//b HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{
			name: "path to be escaped", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.Path = "/a b?c\r\nd你" },
			want: crlf("GET /a%20b%3Fc%0D%0Ad%E4%BD%A0 HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "RawPath that is not of Path", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b", "/x%2Fy" },
			want: crlf("GET /a/b HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "Path without slash", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.Path = "a" },
			want: crlf("GET a HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{name: "asterisk", method: "OPTIONS", path: "/", edit: func(r *http.Request) { r.URL.Path = "*" }, want: crlf("OPTIONS * HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{
			name: "opaque", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.Opaque, r.URL.RawQuery = "/op%61que", "q" },
			want: crlf("GET /op%61que?q HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "opaque with authority", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.Opaque = "//other/path" },
			want: crlf("GET http://other/path HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "odd bytes in the query", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.RawQuery = "a=%zz&\xff\"<>|你&&=" },
			want: crlf("GET /?a=%zz&\xff\"<>|你&&= HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{name: "ForceQuery", method: "GET", path: "/a?", want: crlf("GET /a? HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{
			name: "user info is not sent", method: "GET", path: "/",
			edit: func(r *http.Request) { r.URL.User = url.UserPassword("u", "p") },
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{name: "Host", method: "GET", path: "/", edit: func(r *http.Request) { r.Host = "api.example.com" }, want: crlf("GET / HTTP/1.1", "Host: api.example.com", "User-Agent: UA", "", "")},
		{name: "Host of the URL", method: "GET", path: "/", edit: func(r *http.Request) { r.Host = "" }, want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", "")},
		{name: "Host with a zone", method: "GET", path: "/", edit: func(r *http.Request) { r.Host = "[fe80::1%25en0]:80" }, want: crlf("GET / HTTP/1.1", "Host: [fe80::1]:80", "User-Agent: UA", "", "")},
		{name: "Host in Chinese", method: "GET", path: "/", edit: func(r *http.Request) { r.Host = "微信.com:81" }, want: crlf("GET / HTTP/1.1", "Host: xn--vuqz89a.com:81", "User-Agent: UA", "", "")},
		{
			name: "Host in the header does not count", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Header.Set("Host", "other") },
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "User-Agent", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Header["User-Agent"] = []string{" mine ", "second"} },
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: mine", "", ""),
		},
		{name: "User-Agent nil", method: "GET", path: "/", edit: func(r *http.Request) { r.Header["User-Agent"] = nil }, want: crlf("GET / HTTP/1.1", "Host: HOST", "", "")},
		{name: "User-Agent empty", method: "GET", path: "/", edit: func(r *http.Request) { r.Header.Set("User-Agent", "") }, want: crlf("GET / HTTP/1.1", "Host: HOST", "", "")},
		{
			name: "many values", method: "GET", path: "/",
			edit: func(r *http.Request) {
				r.Header["X-Multi"] = []string{"b", "a", "", "b"}
				r.Header["X-None"] = nil
			},
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "X-Multi: b", "X-Multi: a", "X-Multi: ", "X-Multi: b", "", ""),
		},
		{
			name: "keys that are not canonical", method: "GET", path: "/",
			edit: func(r *http.Request) {
				r.Header["x-lower"] = []string{"a"}
				r.Header["X-LOWER"] = []string{"b"}
			},
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "X-LOWER: b", "x-lower: a", "", ""),
		},
		{
			name: "values are trimmed", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Header["X"] = []string{" \ta\t b ", "\xff你"} },
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "X: a\t b", "X: \xff你", "", ""),
		},
		{
			name: "framing is not the header's", method: "POST", path: "/", body: hello,
			edit: func(r *http.Request) {
				r.Header.Set("Content-Length", "3")
				r.Header.Set("Transfer-Encoding", "chunked")
				r.Header.Set("Trailer", "X")
			},
			want: crlf("POST / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello"),
		},
		{
			name: "Close", method: "GET", path: "/", edit: func(r *http.Request) { r.Close = true },
			want: crlf("GET / HTTP/1.1", "Connection: close", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "Close and the header for it", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Close = true; r.Header.Set("Connection", "close") },
			want: crlf("GET / HTTP/1.1", "Connection: close", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "Connection of the header", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Header.Set("Connection", "keep-alive, X") },
			want: crlf("GET / HTTP/1.1", "Connection: keep-alive, X", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "Proto does not count", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 },
			want: crlf("GET / HTTP/1.1", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "no gzip of its own", method: "GET", path: "/",
			edit: func(r *http.Request) { r.Header.Set("Accept-Encoding", "br") },
			want: crlf("GET / HTTP/1.1", "Accept-Encoding: br", "Host: HOST", "User-Agent: UA", "", ""),
		},
		{
			name: "trailers without a chunked body", method: "POST", path: "/", body: hello,
			edit: func(r *http.Request) { r.Trailer = http.Header{"X": {"a"}} },
			want: crlf("POST / HTTP/1.1", "Content-Length: 5", "Host: HOST", "User-Agent: UA", "", "hello"),
		},
	}
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			for {
				if _, err := c.read(); err != nil {
					return
				}
				c.say("HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		c := tr.new(t, config{})
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				var body io.Reader
				if test.body != nil {
					body = test.body()
				}
				req := newRequest(t, test.method, s.url+test.path, body)
				if test.edit != nil {
					test.edit(req)
				}
				headerBefore := req.Header.Clone()
				before := *req
				res := c.send(t, req)
				readAll(t, res)
				want := strings.ReplaceAll(test.want, "HOST", s.addr)
				want = strings.Replace(want, "UA\r\n", "Go-http-client/1.1\r\n", 1)
				if got := s.last(t).sorted(); got != want {
					t.Errorf("sent\n%q, want\n%q", got, want)
				}
				if res.Request != req {
					t.Error("the answer is of another request")
				}
				// A RoundTripper does not change the request.
				if req.Method != before.Method || req.Host != before.Host || req.ContentLength != before.ContentLength || req.Close != before.Close {
					t.Errorf("the request is changed: %+v", req)
				}
				if len(req.Header) != len(headerBefore) {
					t.Errorf("the header is changed: %v", req.Header)
				}
				if b, ok := body.(*requestBody); ok {
					b.done(t)
				}
			})
		}
	})
}

// What is refused before a byte is sent, with the request body closed.
func TestRequestRefused(t *testing.T) {
	tests := []struct {
		name string
		edit func(*http.Request)
		sent func(transport) bool // if set: whether this one sends it after all
	}{
		{name: "nil URL", edit: func(r *http.Request) { r.URL = nil }},
		{name: "nil header", edit: func(r *http.Request) { r.Header = nil }},
		{name: "no scheme", edit: func(r *http.Request) { r.URL.Scheme = "" }},
		{name: "other scheme", edit: func(r *http.Request) { r.URL.Scheme = "ftp" }},
		{name: "scheme in capitals", edit: func(r *http.Request) { r.URL.Scheme = "HTTP" }},
		{name: "no host", edit: func(r *http.Request) { r.URL.Host = "" }},
		{name: "method with space", edit: func(r *http.Request) { r.Method = "GET /x" }},
		{name: "method with line end", edit: func(r *http.Request) { r.Method = "GET\r\nX:" }},
		{name: "method not ASCII", edit: func(r *http.Request) { r.Method = "GÉT" }},
		{name: "method with colon", edit: func(r *http.Request) { r.Method = "A:" }},
		{name: "header name with line end", edit: func(r *http.Request) { r.Header["A\r\nB"] = []string{"x"} }},
		{name: "header name with LF", edit: func(r *http.Request) { r.Header["A\nB"] = []string{"x"} }},
		{name: "header name with NUL", edit: func(r *http.Request) { r.Header["A\x00"] = []string{"x"} }},
		{name: "header name with space", edit: func(r *http.Request) { r.Header["A B"] = []string{"x"} }},
		{name: "header name with colon", edit: func(r *http.Request) { r.Header["A:"] = []string{"x"} }},
		{name: "header name empty", edit: func(r *http.Request) { r.Header[""] = []string{"x"} }},
		{name: "header name not ASCII", edit: func(r *http.Request) { r.Header["Ä"] = []string{"x"} }},
		{name: "header name without value", edit: func(r *http.Request) { r.Header["A B"] = nil }},
		{name: "header value with line end", edit: func(r *http.Request) { r.Header["A"] = []string{"x\r\nB: y"} }},
		{name: "header value with CR", edit: func(r *http.Request) { r.Header["A"] = []string{"x\rB"} }},
		{name: "header value with LF", edit: func(r *http.Request) { r.Header["A"] = []string{"x\nB"} }},
		{name: "header value with NUL", edit: func(r *http.Request) { r.Header["A"] = []string{"x\x00"} }},
		{name: "header value with DEL", edit: func(r *http.Request) { r.Header["A"] = []string{"x\x7f"} }},
		{name: "header value with escape", edit: func(r *http.Request) { r.Header["A"] = []string{"x\x1b"} }},
		{name: "second header value with LF", edit: func(r *http.Request) { r.Header["A"] = []string{"x", "x\nB"} }},
		{name: "header value ends in LF", edit: func(r *http.Request) { r.Header["A"] = []string{"x\n"} }},
		{name: "User-Agent with LF", edit: func(r *http.Request) { r.Header["User-Agent"] = []string{"x\nB"} }},
		{name: "excluded header with LF", edit: func(r *http.Request) { r.Header["Content-Length"] = []string{"x\nB"} }},
		{name: "trailer with LF", edit: func(r *http.Request) { r.Trailer = http.Header{"A": {"x\nB"}} }},
		{name: "Host with line end", edit: func(r *http.Request) { r.Host = "a\r\nB: c" }, sent: func(tr transport) bool { return tr.emptiesHost }},
		{name: "Host with LF", edit: func(r *http.Request) { r.Host = "a\nB: c" }, sent: func(tr transport) bool { return tr.emptiesHost }},
		{name: "Host with NUL", edit: func(r *http.Request) { r.Host = "a\x00" }, sent: func(tr transport) bool { return tr.emptiesHost }},
		{name: "Host with space", edit: func(r *http.Request) { r.Host = "a b" }, sent: func(tr transport) bool { return tr.emptiesHost }},
		{name: "Host with slash", edit: func(r *http.Request) { r.Host = "a/b" }, sent: func(tr transport) bool { return tr.emptiesHost }},
		{name: "URL host with line end", edit: func(r *http.Request) { r.Host, r.URL.Host = "", "127.0.0.1\r\nB: c" }},
		{name: "URL host with space", edit: func(r *http.Request) { r.Host, r.URL.Host = "", "a b" }},
		{name: "control byte in the query", edit: func(r *http.Request) { r.URL.RawQuery = "a\x01" }},
		{name: "line end in the query", edit: func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nB: c" }},
		{name: "NUL in the query", edit: func(r *http.Request) { r.URL.RawQuery = "\x00" }},
		{name: "DEL in the query", edit: func(r *http.Request) { r.URL.RawQuery = "\x7f" }},
		{name: "space in the query", edit: func(r *http.Request) { r.URL.RawQuery = "a b" }},
		{name: "line end in Opaque", edit: func(r *http.Request) { r.URL.Opaque = "/a\r\nB: c" }},
		{name: "length without body", edit: func(r *http.Request) { r.Body.Close(); r.Body = nil }},
		{name: "unknown length without body", edit: func(r *http.Request) { r.Body.Close(); r.Body, r.ContentLength = nil, -1 }},
		{name: "unknown length", edit: func(r *http.Request) { r.ContentLength = -1 }, sent: func(tr transport) bool { return tr.chunks }},
		{name: "CONNECT", edit: func(r *http.Request) { r.Method = "CONNECT" }, sent: func(tr transport) bool { return tr.connects }},
	}
	// net/http's check leaves out the space: it is one more the server takes
	// for the end of the target. Neither is required to refuse it.
	lenient := map[string]bool{"space in the query": true}

	each(t, func(t *testing.T, tr transport) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				s := newServer(t, ok)
				c := tr.new(t, config{})
				body := newBody("hello")
				req := newRequest(t, "POST", s.url+"/", body)
				test.edit(req)
				res, err := c.RoundTrip(req)
				if err == nil {
					res.Body.Close()
				}
				body.done(t)
				if lenient[test.name] {
					return
				}
				if test.sent != nil && test.sent(tr) {
					if err != nil {
						t.Errorf("refused: %v", err)
					}
					return
				}
				if err == nil {
					t.Fatal("not refused")
				}
				c.CloseIdleConnections()
				// A connection may have been made, but nothing came on it.
				eventually(t, "connections end", func() bool { return s.open.Load() == 0 })
				if n := s.bytes.Load(); n != 0 {
					t.Errorf("%d bytes were sent", n)
				}
				if body.count() != 0 && !tr.chunks {
					t.Error("the body was read")
				}
			})
		}
	})
}

// A Host that is not valid never reaches the server as such.
func TestRequestInvalidHost(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, ok)
		c := tr.new(t, config{})
		req := newRequest(t, "GET", s.url, nil)
		req.Host = "a\r\nB: c"
		if !tr.emptiesHost {
			c.refuse(t, req)
			return
		}
		readAll(t, c.send(t, req))
		if got := s.last(t).header("Host"); len(got) != 1 || got[0] != "" {
			t.Errorf("Host is %q", got)
		}
	})
}

// Content-Length and Transfer-Encoding under another key would be second ones:
// two lengths of one request are how requests are smuggled.
func TestRequestFramingInOtherCase(t *testing.T) {
	for _, header := range []string{"content-length", "transfer-encoding", "CONTENT-LENGTH", "host"} {
		t.Run(header, func(t *testing.T) {
			each(t, func(t *testing.T, tr transport) {
				s := newServer(t, ok)
				c := tr.new(t, config{})
				body := newBody("hello")
				req := newRequest(t, "POST", s.url, body)
				req.Header[header] = []string{"3"}
				res, err := c.RoundTrip(req)
				body.done(t)
				if err != nil {
					if tr.writesFraming {
						t.Fatal(err)
					}
					return
				}
				readAll(t, res)
				if got := s.last(t).header(header); (len(got) > 0) != tr.writesFraming {
					t.Errorf("%s: %q", header, got)
				}
			})
		})
	}
}

// A body whose length nobody knows.
func TestRequestUnknownLength(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			t.Run(method, func(t *testing.T) {
				s := newServer(t, ok)
				c := tr.new(t, config{})
				body := newBody("hello")
				req := newRequest(t, method, s.url, body)
				req.ContentLength = -1
				req.Trailer = http.Header{"X-Sum": {"1"}}
				if !tr.chunks {
					c.refuse(t, req)
					body.done(t)
					if body.count() != 0 || s.bytes.Load() != 0 {
						t.Error("something was read or sent")
					}
					return
				}
				readAll(t, c.send(t, req))
				body.done(t)
				got := s.last(t)
				if te := got.header("Transfer-Encoding"); len(te) != 1 || te[0] != "chunked" {
					t.Errorf("Transfer-Encoding is %q", te)
				}
				want := "hello"
				if tr.trailers {
					want += "X-Sum: 1\r\n"
				}
				if got.body != want {
					t.Errorf("sent %q", got.body)
				}
			})
		}
	})
}

// A body with ContentLength 0 is "unknown" to net/http, and none to http1.
func TestRequestBodyWithoutLength(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, ok)
		c := tr.new(t, config{})
		body := newBody("hello")
		req := newRequest(t, "POST", s.url, body)
		req.ContentLength = 0
		readAll(t, c.send(t, req))
		body.done(t)
		got := s.last(t)
		if tr.chunks {
			if got.body != "hello" {
				t.Errorf("sent %q", got.body)
			}
			return
		}
		if l := got.header("Content-Length"); len(l) != 1 || l[0] != "0" || got.body != "" || body.count() != 0 {
			t.Errorf("sent %q, %d reads", got.head+got.body, body.count())
		}
	})
}

var errBody = errors.New("the body cannot be read")

// failing gives s, and then err.
type failing struct {
	s   string
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.s == "" {
		return 0, f.err
	}
	n := copy(p, f.s)
	f.s = f.s[n:]
	return n, nil
}

// withLast gives s together with err.
type withLast struct {
	s   string
	err error
}

func (w *withLast) Read(p []byte) (int, error) {
	n := copy(p, w.s)
	if w.s = w.s[n:]; w.s == "" {
		return n, w.err
	}
	return n, nil
}

// Bodies that are not what their length says. The connection is lost: the
// server waits for the rest on it.
func TestRequestBodyWrong(t *testing.T) {
	tests := []struct {
		name string
		body func() io.Reader
		size int
		is   error
	}{
		{"shorter", func() io.Reader { return strings.NewReader("hello") }, 10, nil},
		{"shorter and large", func() io.Reader { return repeat(200 << 10) }, 300 << 10, nil},
		{"empty", func() io.Reader { return strings.NewReader("") }, 10, nil},
		{"error at once", func() io.Reader { return &failing{"", errBody} }, 10, errBody},
		{"error after some", func() io.Reader { return &failing{"hello", errBody} }, 10, errBody},
		{"error with some", func() io.Reader { return &withLast{"hello", errBody} }, 10, errBody},
		{"error after much", func() io.Reader { return io.MultiReader(repeat(200<<10), &failing{"", errBody}) }, 300 << 10, errBody},
		{"error for a deadline", func() io.Reader { return &failing{"hello", context.DeadlineExceeded} }, 10, context.DeadlineExceeded},
		{"unexpected EOF", func() io.Reader { return &failing{"hello", io.ErrUnexpectedEOF} }, 10, io.ErrUnexpectedEOF},
	}
	each(t, func(t *testing.T, tr transport) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				s := newServer(t, numbered)
				c := tr.new(t, config{})
				if got := c.get(t, s.url); got != "1" {
					t.Fatalf("on connection %s", got)
				}
				body := newBodyReader(test.body(), test.size)
				err := c.refuse(t, newRequest(t, "POST", s.url, body))
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("got %v, want %v", err, test.is)
				}
				body.done(t)
				if n := len(s.requests()); n != 1 {
					t.Errorf("%d requests arrived", n-1)
				}
				if got := c.get(t, s.url); got != "2" {
					t.Errorf("the next request is on connection %s", got)
				}
			})
		}
	})
}

// An error that comes after the last byte is one, and so is one more byte. The
// server may have the whole request by then: its answer waits, since either
// could be first.
func TestRequestBodyErrorAtEnd(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, test := range []struct {
			name string
			body func() io.Reader
			is   error
		}{
			{"error", func() io.Reader { return &failing{"hello", errBody} }, errBody},
			{"longer", func() io.Reader { return strings.NewReader("hello!") }, nil},
			{"longer, byte by byte", func() io.Reader { return oneByte{strings.NewReader("hello!")} }, nil},
		} {
			t.Run(test.name, func(t *testing.T) {
				s := newServer(t, func(c *serverConn) {
					if c.n > 1 {
						numbered(c)
						return
					}
					c.read()
					c.drain()
				})
				c := tr.new(t, config{})
				body := newBodyReader(test.body(), 5)
				err := c.refuse(t, newRequest(t, "POST", s.url, body))
				if test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("got %v", err)
				}
				body.done(t)
				if got := c.get(t, s.url); got != "2" {
					t.Errorf("the next request is on connection %s", got)
				}
			})
		}
	})
}

// Readers may be as odd as io.Reader allows.
func TestRequestBodyReaders(t *testing.T) {
	const hello = "hello, world"
	tests := []struct {
		name string
		r    func() io.Reader
	}{
		{"EOF with the last byte", func() io.Reader { return &withLast{hello, io.EOF} }},
		{"byte by byte", func() io.Reader { return oneByte{strings.NewReader(hello)} }},
		{"nothing now and then", func() io.Reader { return &hesitant{r: oneByte{strings.NewReader(hello)}} }},
		{"slow", func() io.Reader { return &slow{r: oneByte{strings.NewReader(hello)}, pause: 5 * time.Millisecond} }},
	}
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		c := tr.new(t, config{})
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				body := newBodyReader(test.r(), len(hello))
				if got := c.do(t, newRequest(t, "POST", s.url, body)); got != "1" {
					t.Errorf("on connection %s", got)
				}
				if got := s.last(t).body; got != hello {
					t.Errorf("sent %q", got)
				}
				body.done(t)
			})
		}
	})
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

// hesitant reads nothing every other time.
type hesitant struct {
	r   io.Reader
	odd bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.odd = !h.odd; h.odd {
		return 0, nil
	}
	return h.r.Read(p)
}

// slow waits before each read.
type slow struct {
	r     io.Reader
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.r.Read(p)
}

// A server does not wait for a request for as long as a client may take for its
// body.
func TestRequestBodySlowerThanServer(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := c.br.Peek(1); err != nil {
				return
			}
			c.SetReadDeadline(time.Time{})
			ok(c)
		})
		body := newBodyReader(&slow{r: strings.NewReader("hello"), pause: 300 * time.Millisecond}, 5)
		c := tr.new(t, config{})
		c.do(t, newRequest(t, "POST", s.url, body))
		if got := s.last(t).body; got != "hello" {
			t.Errorf("sent %q", got)
		}
		body.done(t)
	})
}

func TestRequestBodyLarge(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, numbered)
		c := tr.new(t, config{})
		for _, size := range []int{1 << 10, 4 << 10, 32 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 8 << 20} {
			body := newBodyReader(repeat(size), size)
			if got := c.do(t, newRequest(t, "POST", s.url, body)); got != "1" {
				t.Errorf("%d bytes: on connection %s", size, got)
			}
			body.done(t)
			if got := s.last(t).body; len(got) != size || strings.Trim(got, "x") != "" {
				t.Errorf("%d bytes of %d arrived", len(got), size)
			}
		}
	})
}

// The server answers before it has the whole body: the caller gets the answer.
func TestRequestEarlyAnswer(t *testing.T) {
	const tooLarge = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large"
	const keeps = "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large"
	servers := []struct {
		name   string
		handle func(c *serverConn)
	}{
		{"closes", func(c *serverConn) {
			c.readHead()
			c.say(tooLarge)
			c.fin()
			c.drain() // else a reset could overtake the answer
		}},
		{"reads on", func(c *serverConn) { c.readHead(); c.say(keeps); c.drain() }},
		{"never reads", func(c *serverConn) { c.readHead(); c.say(keeps); c.park() }},
		{"never reads, wants to close", func(c *serverConn) { c.readHead(); c.say(tooLarge); c.park() }},
	}
	each(t, func(t *testing.T, tr transport) {
		for _, server := range servers {
			t.Run(server.name, func(t *testing.T) {
				check := func(t *testing.T, body *requestBody, end func()) {
					s := newServer(t, server.handle)
					c := tr.new(t, config{})
					res := c.send(t, newRequest(t, "POST", s.url, body))
					if got := readAll(t, res); res.StatusCode != 413 || got != "too large" {
						t.Errorf("got %d, %q", res.StatusCode, got)
					}
					end()
					body.done(t)
				}
				t.Run("8 MB", func(t *testing.T) {
					check(t, newBodyReader(repeat(8<<20), 8<<20), func() {})
				})
				t.Run("stalled", func(t *testing.T) {
					// Closing the body does not end a Read of another kind of
					// body, so that the test has to end it.
					pr, pw := io.Pipe()
					go pw.Write([]byte("some")) // ends with the pipe
					check(t, newBodyReader(pr, 1<<20), func() { pw.CloseWithError(io.ErrClosedPipe) })
				})
				t.Run("stalled from the beginning", func(t *testing.T) {
					pr, pw := io.Pipe()
					check(t, newBodyReader(pr, 1<<20), func() { pw.CloseWithError(io.ErrClosedPipe) })
				})
			})
		}
	})
}

// After an early answer, the rest of the body is nothing the next request's
// connection sees: a connection either takes all of it, or is not used again.
func TestRequestAfterEarlyAnswer(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			if c.n > 1 {
				numbered(c)
				return
			}
			c.readHead()
			c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
			c.park()
		})
		c := tr.new(t, config{})
		body := newBodyReader(repeat(8<<20), 8<<20)
		readAll(t, c.send(t, newRequest(t, "POST", s.url, body)))
		if got := c.get(t, s.url); got != "2" {
			t.Errorf("on connection %s", got)
		}
		body.done(t)
	})
}

// The server's end of the connection while the body is sent is an error.
func TestRequestServerGone(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		for _, way := range []string{"fin", "reset"} {
			t.Run(way, func(t *testing.T) {
				s := newServer(t, func(c *serverConn) {
					c.readHead()
					if way == "reset" {
						c.reset()
					}
				})
				c := tr.new(t, config{})
				body := newBodyReader(repeat(8<<20), 8<<20)
				c.refuse(t, newRequest(t, "POST", s.url, body))
				body.done(t)
				if n := s.accepted(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		}
	})
}

// Expect: 100-continue. Nobody waits for the 100, as with net/http's
// ExpectContinueTimeout of 0, and it does no harm if it comes.
func TestRequestExpectContinue(t *testing.T) {
	each(t, func(t *testing.T, tr transport) {
		s := newServer(t, func(c *serverConn) {
			for {
				r, err := c.read()
				if err != nil {
					return
				}
				c.say("HTTP/1.1 100 Continue\r\n\r\n")
				c.sayNumber(r)
			}
		})
		c := tr.new(t, config{})
		for range 3 {
			body := newBody("hello")
			req := newRequest(t, "POST", s.url, body)
			req.Header.Set("Expect", "100-continue")
			if got := c.do(t, req); got != "1" {
				t.Errorf("on connection %s", got)
			}
			if got := s.last(t); got.body != "hello" || len(got.header("Expect")) != 1 {
				t.Errorf("sent %q", got.head+got.body)
			}
			body.done(t)
		}
	})
}
