package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// say answers with these very bytes, and keeps the connection until the test is
// over or the other side ends it.
func say(t *testing.T, rw http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}

// eachForm runs f with the handler and the transport module, with each round
// tripper.
func eachForm(t *testing.T, w *weChat, options string, f func(t *testing.T, p *caddy)) {
	t.Helper()
	for _, form := range []struct{ name, site string }{
		{"handler", "weixin {\n %s\n }"},
		{"net_http", "weixin {\n round_tripper net_http\n %s\n }"},
		{"transport", "reverse_proxy UPSTREAM {\n transport weixin shop {\n %s\n }\n }"},
		{"transport net_http", "reverse_proxy UPSTREAM {\n transport weixin shop {\n round_tripper net_http\n %s\n }\n }"},
	} {
		t.Run(form.name, func(t *testing.T) {
			w.answer(nil)
			f(t, startCaddy(t, w, config{site: fmt.Sprintf(form.site, options)}))
		})
	}
}

const apiPath = "/cgi-bin/user/get"

// An answer that stalls where it is judged is waited for as long as for its
// header, and no longer.
func TestAnswerStalls(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	eachForm(t, w, "timeout 500ms", func(t *testing.T, p *caddy) {
		for _, text := range []string{
			"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"errcode\":4",
			"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"errcode\":40001",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"errcode\":40001,  }\r\n",
			"HTTP/1.1 200 OK\r\n\r\n{",
		} {
			w.answer(func(rw http.ResponseWriter, _ *http.Request) { say(t, rw, text) })
			start := time.Now()
			if a := get(t, p.url+apiPath); a.status != http.StatusGatewayTimeout || time.Since(start) > 5*time.Second {
				t.Errorf("%q: got %s after %v", text, a, time.Since(start))
			}
		}
		// What is not judged may take its time.
		w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, "a picture")
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(time.Second)
			_, _ = io.WriteString(rw, " with a pause")
		})
		if a := get(t, p.url+apiPath); a.status != http.StatusOK || a.body != "a picture with a pause" {
			t.Errorf("got %s", a)
		}
	})
}

// Answers that no server may give end in 502.
func TestAnswersThatCannotBe(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	eachForm(t, w, "timeout 5s", func(t *testing.T, p *caddy) {
		for name, text := range map[string]string{
			"000":     "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
			"007":     "HTTP/1.1 007 Bond\r\nContent-Length: 2\r\n\r\n{}",
			"099":     "HTTP/1.1 099 Almost\r\nContent-Length: 0\r\n\r\n",
			"101":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
			"600":     "HTTP/1.1 600 Beyond\r\nContent-Length: 2\r\n\r\n{}",
			"999":     "HTTP/1.1 999 Far beyond\r\nContent-Length: 2\r\n\r\n{}",
			"1xx":     strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 100_000) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
			"fields":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + manyFields(1001) + "\r\n{}",
			"same":    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + strings.Repeat("A:\r\n", 1001) + "\r\n{}",
			"endless": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + strings.Repeat("A:\r\n", 200_000) + "\r\n{}",
		} {
			for _, path := range []string{apiPath, "/sns/userinfo"} {
				w.answer(func(rw http.ResponseWriter, _ *http.Request) { say(t, rw, text) })
				if a := get(t, p.url+path); a.status != http.StatusBadGateway {
					t.Errorf("%s at %s: got %.200s", name, path, a)
				}
			}
		}
		w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			// With the length, and Date which nobody has set.
			say(t, rw, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n"+manyFields(999)+"\r\n"+strings.Repeat("{}\n", 1000))
		})
		if a := get(t, p.url+apiPath); a.status != http.StatusOK || a.header.Get("F998") != "x" || len(a.body) != 3000 {
			t.Errorf("1,000 fields: got %.200s", a)
		}
	})
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "F%d: x\r\n", i)
	}
	return b.String()
}

// hints collects the 1xx answers to a request.
type hints struct {
	mu   sync.Mutex
	seen []string
}

func (h *hints) trace(req *http.Request) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.seen = append(h.seen, fmt.Sprint(code, header))
			return nil
		},
	}))
}

// 1xx answers follow the rules of final ones.
func TestHints(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	eachForm(t, w, "timeout 5s", func(t *testing.T, p *caddy) {
		var attempts atomic.Int32
		w.answer(func(rw http.ResponseWriter, req *http.Request) {
			token := req.URL.Query().Get("access_token")
			hint := "HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nLocation: /a?access_token=" + token +
				fmt.Sprintf("\r\nX-Attempt: %d\r\n\r\n", attempts.Add(1))
			body := `{"errcode":0,"errmsg":"ok"}`
			if req.URL.Query().Get("refuse") != "" && attempts.Load() == 1 {
				w.revoke()
				body = `{"errcode":40001,"errmsg":"invalid credential"}`
			}
			say(t, rw, strings.Repeat(hint, 15)+fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		})
		for _, path := range []string{apiPath, apiPath + "?refuse=1", "/sns/userinfo"} {
			attempts.Store(0)
			var h hints
			wantOK(t, do(t, h.trace(newRequest(t, http.MethodGet, p.url+path, nil))))
			if len(h.seen) != 10 {
				t.Errorf("%s: %d 1xx answers", path, len(h.seen))
			}
			for _, seen := range h.seen {
				if strings.Contains(seen, "Connection:") || strings.Contains(seen, "X-Hop:") || strings.Contains(seen, "Keep-Alive") ||
					strings.Contains(path, "refuse") && !strings.Contains(seen, "X-Attempt:[2]") {
					t.Errorf("%s: %s", path, strings.ReplaceAll(seen, w.currentToken(), "TOKEN"))
				}
				for _, token := range w.issuedTokens() {
					if strings.Contains(seen, token) {
						t.Errorf("%s: the token is in a 1xx answer", path)
					}
				}
			}
			attempts.Store(0)
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", path)
			if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.0 200") || strings.Contains(string(got), " 103 ") {
				t.Errorf("%s: a client with HTTP/1.0 got %.100q", path, got)
			}
		}
	})
}

// A client with HTTP/2 would lose the whole request to a field of the connection
// in a 1xx answer, or in an answer that comes early.
func TestHintsAndEarlyAnswersOverHTTP2(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{options: "servers {\n protocols h1 h2c\n }", site: "weixin {\n body_limit 1MiB\n }"})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 20 * time.Second}
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		say(t, rw, "HTTP/1.1 103 Early Hints\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nLink: </a>\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
	})
	var h hints
	for range 3 {
		res, err := c.Do(h.trace(newRequest(t, http.MethodPost, p.url+apiPath, strings.NewReader("x"))))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
			t.Errorf("got %s %s", res.Proto, res.Status)
		}
		res, err = c.Post(p.url+"/cgi-bin//a", "text/plain", io.LimitReader(zeros{}, 3<<20))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest || res.Header.Get("Connection") != "" {
			t.Errorf("got %s, Connection %q", res.Status, res.Header["Connection"])
		}
	}
	if len(h.seen) != 3 {
		t.Errorf("1xx answers: %v", h.seen)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
