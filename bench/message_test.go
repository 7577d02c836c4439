package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestParseFields(t *testing.T) {
	tests := []struct {
		lines string
		want  fields
		bad   bool
	}{
		{lines: "\r\n", want: fields{length: -1}},
		{lines: "Content-Length: 12\r\n\r\n", want: fields{length: 12}},
		{lines: "content-length:0\r\nX: y: z\r\n\r\n", want: fields{}},
		{lines: "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", want: fields{length: -1, chunked: true}},
		{lines: "CONNECTION: Close\r\nExpect: 100-continue\r\n\r\n", want: fields{length: -1, closes: true, expects: true}},
		{lines: "Content-Length: -1\r\n\r\n", bad: true},
		{lines: "Content-Length: 1x\r\n\r\n", bad: true},
		{lines: "Content-Length: 99999999999999999999\r\n\r\n", bad: true},
		{lines: "no field\r\n\r\n", bad: true},
		{lines: "A: b\r\n", bad: true},
		{lines: "", bad: true},
	}
	for _, test := range tests {
		got, err := parseFields([]byte(test.lines))
		if (err != nil) != test.bad || !test.bad && got != test.want {
			t.Errorf("%q: %+v, %v", test.lines, got, err)
		}
	}
}

func TestFirstLines(t *testing.T) {
	path, query, lines, err := splitRequest([]byte("GET /a/b?c=d?e HTTP/1.1\r\nHost: x\r\n\r\n"))
	if string(path) != "/a/b" || string(query) != "c=d?e" || string(lines) != "Host: x\r\n\r\n" || err != nil {
		t.Errorf("%q, %q, %q, %v", path, query, lines, err)
	}
	for _, head := range []string{"", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"} {
		if _, _, _, err := splitRequest([]byte(head)); err == nil {
			t.Errorf("%q is a request", head)
		}
	}
	status, lines, err := splitAnswer([]byte("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"))
	if status != 404 || string(lines) != "A: b\r\n\r\n" || err != nil {
		t.Errorf("%d, %q, %v", status, lines, err)
	}
	for _, head := range []string{"", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/2 200 OK\r\n\r\n"} {
		if _, _, err := splitAnswer([]byte(head)); err == nil {
			t.Errorf("%q is an answer", head)
		}
	}
}

// Messages are found however they arrive.
func TestWire(t *testing.T) {
	body := strings.Repeat("0123456789", 20)
	stream := "first: head\r\n\r\nsmall" + "second\r\n\r\n" + body + "third\r\n\r\n"
	for name, src := range map[string]io.Reader{
		"at once":         strings.NewReader(stream),
		"byte by byte":    iotest.OneByteReader(strings.NewReader(stream)),
		"in halves":       iotest.HalfReader(strings.NewReader(stream)),
		"with the error":  iotest.DataErrReader(strings.NewReader(stream)),
		"in seven pieces": &pieces{strings.NewReader(stream), len(stream)/7 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{src: src, buf: make([]byte, 32)}
			head(t, w, "first: head\r\n\r\n")
			if b, err := w.bytes(5); string(b) != "small" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			head(t, w, "second\r\n\r\n")
			var got strings.Builder
			if err := w.pass(int64(len(body)), func(b []byte) { got.Write(b) }); got.String() != body || err != nil {
				t.Errorf("%q, %v", got.String(), err)
			}
			head(t, w, "third\r\n\r\n")
			if _, err := w.head(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}

	w := &wire{src: strings.NewReader("broken"), buf: make([]byte, 32)}
	if _, err := w.head(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a head: %v", err)
	}
	w = &wire{src: strings.NewReader(strings.Repeat("x", 100)), buf: make([]byte, 32)}
	if _, err := w.head(); !errors.Is(err, errTooLong) {
		t.Errorf("a head without end: %v", err)
	}
}

func head(t *testing.T, w *wire, want string) {
	t.Helper()
	if got, err := w.head(); string(got) != want || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

type pieces struct {
	r    io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }

// The client understands whatever a server of Go's answers.
func TestClient(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 16<<10)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(large)))
		_, _ = io.WriteString(w, large)
	})
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-End")
		for i := range 4 {
			_, _ = io.WriteString(w, large[i*len(large)/4:(i+1)*len(large)/4])
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("X-End", "yes")
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "small")
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "small")
	})
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "the cause", http.StatusBadGateway) })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := httptest.NewServer(mux)
	defer server.Close()
	c := newClient(dialTCP(strings.TrimPrefix(server.URL, "http://")))
	defer c.close()

	tests := []struct {
		path, want, err string
	}{
		{path: "/small", want: "small"},
		{path: "/large", want: large},
		{path: "/chunks", want: large},
		{path: "/close", want: "small"},
		{path: "/early", want: "small"},
		{path: "/small", want: "other", err: "not the expected answer: small"},
		{path: "/small", want: "longer", err: "5 bytes instead of 6"},
		{path: "/error", want: "small", err: "status 502: the cause"},
		{path: "/abort", want: "small", err: "EOF"},
		{path: "/small", want: "small"},
	}
	for _, test := range tests {
		for _, compared := range []bool{true, false} {
			if !compared && test.want == "other" {
				continue
			}
			call := newCall(http.MethodGet, test.path, "", nil, "")
			call.length = int64(len(test.want))
			if compared {
				call.body = []byte(test.want)
			}
			err := c.do(t.Context(), &call)
			if test.err == "" && err != nil {
				t.Errorf("%s: %v", test.path, err)
			}
			// What was not asked for is not read.
			if want, _, _ := strings.Cut(test.err, ":"); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v", test.path, err)
			}
		}
	}
}

func TestClientAllocatesNothing(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		answer := okAnswer(jsonType, userList)
		buf := make([]byte, 1<<10)
		for {
			if _, err := there.Read(buf); err != nil {
				return
			}
			_, _ = there.Write(answer)
		}
	}()
	c := newClient(func(context.Context) (net.Conn, error) { return here, nil })
	call := getCall("")
	n := testing.AllocsPerRun(100, func() {
		if err := c.do(t.Context(), &call); err != nil {
			t.Fatal(err)
		}
	})
	if n > 6 { // those of net.Pipe's deadlines
		t.Errorf("%v allocations", n)
	}
}

// newTestStage starts an upstream in this process.
func newTestStage(t *testing.T) *stage {
	t.Helper()
	certificates, err := newCertificates(t.TempDir(), net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(certificates.certificate, certificates.key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		_ = serveUpstream(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	}()
	return &stage{certificates: certificates, upstream: l.Addr().String()}
}

// A client other than ours understands the upstream.
func TestUpstream(t *testing.T) {
	s := newTestStage(t)
	h := &http.Client{Transport: &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: s.certificates.pool},
		ExpectContinueTimeout: 10 * time.Second,
	}}
	defer h.CloseIdleConnections()
	connections := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			connections++
		}
	}})
	send := func(method, target string, body io.Reader, change func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, "https://"+s.upstream+target, body)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(req)
		}
		res, err := h.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		return res.StatusCode, string(b)
	}
	expect := func(req *http.Request) { req.Header.Set("Expect", "100-continue") }
	token := "?access_token=" + staticToken
	fetched := makeToken(1)

	tests := []struct {
		name, method, target, body string
		change                     func(*http.Request)
		want                       string
	}{
		{"get", "GET", getPath + token, "", nil, string(userList)},
		{"post", "POST", postPath + token, `{"a":1}`, nil, string(echo([]byte(`{"a":1}`)))},
		{"download", "GET", downloadPath + token, "", nil, string(download)},
		{"upload", "POST", uploadPath + token, string(upload), nil, string(uploaded(uploadSize))},
		{"an upload that waits", "POST", uploadPath + token, string(upload), expect, string(uploaded(uploadSize))},
		{"an empty upload", "POST", uploadPath + token, "", nil, string(uploaded(0))},
		{"a token", "POST", "/cgi-bin/stable_token", `{"grant_type":"client_credential"}`, nil, `{"access_token":"` + fetched + `","expires_in":7200}`},
		{"the fetched token", "GET", getPath + "?a=b&access_token=" + fetched + "&c=d", "", nil, string(userList)},
		{"no token", "POST", uploadPath, string(upload), nil, "40001"},
		{"another token", "GET", getPath + token + "x", "", nil, "40001"},
		{"two tokens", "GET", getPath + token + "&access_token=" + staticToken, "", nil, "40001"},
		{"a revocation", "POST", revokePath, "", nil, `{"generation":2,"fetches":1}`},
		{"a revoked token", "GET", getPath + "?access_token=" + fetched, "", nil, "40001"},
		{"no such path", "GET", "/" + token, "", nil, "no such path"},
	}
	for _, test := range tests {
		status, body := send(test.method, test.target, strings.NewReader(test.body), test.change)
		if status != http.StatusOK || !strings.Contains(body, test.want) || test.want[0] == '{' && body != test.want {
			t.Errorf("%s: %d, %.200s", test.name, status, body)
		}
	}
	if connections != 1 {
		t.Errorf("%d connections", connections)
	}
	status, _ := send("POST", postPath+token, io.MultiReader(strings.NewReader("{}")), nil)
	if status != http.StatusPreconditionFailed {
		t.Errorf("chunks: %d", status)
	}
	if status, body := send("GET", getPath+token, nil, func(req *http.Request) { req.Close = true }); status != http.StatusOK || body != string(userList) {
		t.Errorf("a last request: %d, %s", status, body)
	}
}

func TestNumbers(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "12": 12, "1048576": 1 << 20, "": -1, "a": -1, "-1": -1, "+1": -1, "1 ": -1} {
		if n, ok := parseInt([]byte(s), 10); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d, %v", s, n, ok)
		}
	}
	if n, ok := parseInt([]byte("fF0"), 16); n != 0xff0 || !ok {
		t.Errorf("%x, %v", n, ok)
	}
	if _, ok := parseInt([]byte(fmt.Sprint(math.MaxInt64)), 10); ok {
		t.Error("a body of any length")
	}
}
