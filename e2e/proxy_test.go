package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Whatever the client sends in the way of a token, WeChat gets the account's,
// and every other byte of the query as it was.
func TestQuery(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	get(t, p.url+"/cgi-bin/user/get")
	token := "access_token=" + w.currentToken()
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"errcode":0}`) })
	for query, want := range map[string]string{
		"":                                 token,
		"access_token=mine":                token,
		"access_token=":                    token,
		"access_token":                     token,
		"next_openid=a%2Fb+c&x=%E4%BD%A0":  "next_openid=a%2Fb+c&x=%E4%BD%A0&" + token,
		"a=1&access_token=mine&b=2":        "a=1&" + token + "&b=2",
		"access_token=1&a&access_token=2":  token + "&a&" + token,
		"%61ccess_token=mine&a=%41":        token + "&a=%41",
		"a=1;b=2&&c=%zz":                   "a=1;b=2&&c=%zz&" + token,
		"my_access_token=1&access_token2=": "my_access_token=1&access_token2=&" + token,
	} {
		wantOK(t, get(t, p.url+"/cgi-bin/user/get?"+query))
		if got := w.last("/cgi-bin/user/get").URL.RawQuery; got != want {
			t.Errorf("?%s became ?%s", query, strings.ReplaceAll(got, w.currentToken(), "TOKEN"))
		}
	}
}

// WeChat sees what it has a use for, and nothing of the client's network.
func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, site := range map[string]string{
		"handler":   "weixin {\n forward_headers x-named COOKIE\n }",
		"transport": "reverse_proxy UPSTREAM {\n transport weixin {\n forward_headers x-named COOKIE\n }\n }",
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{site: site})
			req := newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
			for name, value := range map[string]string{
				"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x", "Forwarded": "for=1.2.3.4",
				"Via": "1.1 x", "Accept-Encoding": "gzip, br", "Connection": "close, X-Mine, If-Match", "X-Mine": "1", "Te": "trailers",
				"Upgrade": "websocket", "Keep-Alive": "timeout=5", "Proxy-Authorization": "Basic eA==", "Expect": "100-continue",
				"Idempotency-Key": "abc", "X-Other": "1", "Referer": "http://intranet.example/x", "X-Real-IP": "1.2.3.4",
				"CF-Connecting-IP": "1.2.3.4", "X-Api-Key": "k", "Traceparent": "00-1-2-3", "Authorization": "Basic eA==", "If-Match": "x",
			} {
				req.Header.Set(name, value)
			}
			kept := map[string]string{
				"Content-Type": "application/json", "Content-Encoding": "identity", "Content-Language": "zh", "Content-Disposition": "inline",
				"Accept": "application/json", "Accept-Language": "zh-CN", "User-Agent": "sdk/1.0", "Range": "bytes=0-1", "If-Range": "x",
				"If-None-Match": "x", "If-Modified-Since": "x", "If-Unmodified-Since": "x",
				"Wechatmp-Appid": appID, "Wechatmp-Signature": "s", "X-Named": "yes", "Cookie": "a=b",
			}
			for name, value := range kept {
				req.Header.Set(name, value)
			}
			wantOK(t, do(t, req))
			got := w.last("/cgi-bin/user/get")
			kept["Accept-Encoding"] = "identity"
			for name, want := range kept {
				if v := got.Header.Get(name); v != want {
					t.Errorf("WeChat saw %s: %q, want %q", name, v, want)
				}
			}
			for name, values := range got.Header {
				if _, ok := kept[name]; !ok && name != "Content-Length" {
					t.Errorf("WeChat saw %s: %q", name, values)
				}
			}
			if want := strings.TrimPrefix(w.URL, "http://"); got.Host != want {
				t.Errorf("WeChat saw host %s, want %s", got.Host, want)
			}

			// A client without a User-Agent stays one.
			req = newRequest(t, http.MethodGet, p.url+"/cgi-bin/user/get", nil)
			req.Header["User-Agent"] = nil
			wantOK(t, do(t, req))
			if v := w.last("/cgi-bin/user/get").Header.Get("User-Agent"); v != "" {
				t.Errorf("WeChat saw User-Agent: %s", v)
			}
		})
	}
}

// Fields that bind a client to WeChat's host stay here, wherever they stand.
func TestHostFieldsStayHere(t *testing.T) {
	t.Parallel()
	for name, site := range map[string]string{
		"handler": "weixin", "net_http": "weixin {\n round_tripper net_http\n }",
		"transport": "reverse_proxy UPSTREAM {\n transport weixin\n }",
	} {
		t.Run(name, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{site: site})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			w.answer(func(rw http.ResponseWriter, _ *http.Request) {
				bind := func() {
					rw.Header().Set("Alt-Svc", `h3=":443"`)
					rw.Header().Set("Set-Cookie", "a=b")
					rw.Header().Set("Set-Cookie2", "a=b")
				}
				bind()
				rw.Header().Set("Link", "<x>")
				rw.WriteHeader(http.StatusEarlyHints)
				bind()
				rw.Header().Set("Trailer", "Set-Cookie, X-Sum")
				rw.Header().Del("Set-Cookie")
				rw.WriteHeader(http.StatusOK)
				fmt.Fprint(rw, strings.Repeat("x", 100_000))
				rw.Header().Set("Set-Cookie", "late=1")
				rw.Header().Set("X-Sum", "1")
				rw.Header().Set(http.TrailerPrefix+"Alt-Svc", "h2")
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /cgi-bin/media/get HTTP/1.1\r\nHost: 127.0.0.1\r\nTE: trailers\r\nConnection: close\r\n\r\n")
			all, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(all), strings.Repeat("x", 1000), "")
			if !strings.Contains(text, "103 Early Hints") || !strings.Contains(text, "\r\nX-Sum: 1\r\n") {
				t.Errorf("the 1xx answer or the trailer is not there: %s", text)
			}
			for _, name := range []string{"Alt-Svc", "Set-Cookie"} {
				if strings.Contains(text, name) {
					t.Errorf("%s came through: %s", name, text)
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(rw, "%s %d %v %s", req.Method, req.ContentLength, req.TransferEncoding, body)
	})
	for _, c := range []struct {
		name, method string
		body         io.Reader
		want         string
	}{
		{"known length", http.MethodPost, strings.NewReader(`{"a":1}`), `POST 7 [] {"a":1}`},
		{"chunked", http.MethodPost, struct{ io.Reader }{strings.NewReader(`{"a":1}`)}, `POST 7 [] {"a":1}`},
		{"chunked and empty", http.MethodPost, struct{ io.Reader }{strings.NewReader("")}, "POST 0 [] "},
		{"none", http.MethodPost, nil, "POST 0 [] "},
		{"of a PUT", http.MethodPut, strings.NewReader("x"), "PUT 1 [] x"},
		{"of a DELETE", http.MethodDelete, strings.NewReader("x"), "DELETE 1 [] x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := do(t, newRequest(t, c.method, p.url+"/x", c.body)); a.body != c.want {
				t.Errorf("got %q, want %q", a.body, c.want)
			}
		})
	}
}

func TestPathKinds(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
	})
	for _, path := range []string{
		"/sns/userinfo", "/sns/auth", "/sns/oauth2/refresh_token",
		"/cgi-bin/component/api_query_auth", "/wxa/component/fastregisterweapp", "/sns/component/jscode2session",
	} {
		before := w.status().Fetches
		a := get(t, p.url+path+"?access_token=user-token&openid=o")
		if a.errcode() != 40001 || a.header.Get("X-Weixin-Replayed") != "" || w.count(path) != 1 {
			t.Errorf("%s: a refusal of another token was acted on: %s", path, a)
		}
		if got := w.last(path).URL.RawQuery; got != "access_token=user-token&openid=o" {
			t.Errorf("%s: the query became %s", path, got)
		}
		if w.status().Fetches != before {
			t.Errorf("%s: a token was fetched", path)
		}
	}
}

func TestPathTricks(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for _, path := range []string{
		"/cgi-bin/../sns/userinfo", "/cgi-bin/./user/get", "/cgi-bin//user/get", "//cgi-bin/user/get", "/cgi-bin%2fuser/get",
		"/cgi-bin/%2e%2e/sns/userinfo", "/cgi-bin/user/get/..", "/cgi-bin/user/get/.", "/cgi-bin%5Cuser/get", `/cgi-bin\user/get`,
		"/cgi-bin/user%252fget", "/cgi-bin/user/get%00", "/cgi-bin/token;x=1", "/cgi-bin/user%0d%0aget",
	} {
		res := raw(t, p, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(res, "HTTP/1.1 400 ") || !strings.Contains(res, `"errmsg":"weixin proxy: the path has `) {
			t.Errorf("%s: got %s", path, res)
		}
	}
	wantOK(t, get(t, p.url+"/cgi-bin/%75ser/get"))
	if got := w.last("/cgi-bin/user/get").URL.EscapedPath(); got != "/cgi-bin/%75ser/get" {
		t.Errorf("the path became %s", got)
	}
}

// Answers stream: the client has each piece before WeChat sends the next.
func TestStreaming(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for name, pieces := range map[string][]string{
		"binary":          {"\xff\xd8\xff", "more", "end"},
		"JSON":            {`{"data":[1`, `,2`, `]}`},
		"JSON, errcode 0": {`{"errcode":0,`, `"errmsg":"ok"`, `}`},
	} {
		for _, known := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, length known %v", name, known), func(t *testing.T) {
				next := make(chan struct{})
				w.answer(func(rw http.ResponseWriter, _ *http.Request) {
					if known {
						rw.Header().Set("Content-Length", fmt.Sprint(len(strings.Join(pieces, ""))))
					}
					for _, piece := range pieces {
						io.WriteString(rw, piece)
						_ = http.NewResponseController(rw).Flush()
						<-next
					}
				})
				res, err := client.Get(p.url + "/cgi-bin/media/get")
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				for _, piece := range pieces {
					buf := make([]byte, len(piece))
					if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != piece {
						t.Fatalf("got %q, %v", buf, err)
					}
					next <- struct{}{}
				}
			})
		}
	}
}

// A client that goes away cancels its request to WeChat.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	w.answer(func(_ http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-req.Context().Done()
		close(cancelled)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/x", nil)
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-arrived
	cancel()
	select {
	case <-cancelled:
	case <-time.After(10 * time.Second):
		t.Error("the request to WeChat went on")
	}
}

// What is not known to have had no effect is never sent twice.
func TestNothingElseIsReplayed(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin {\n timeout 500ms\n }"})
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		status  int
		errcode int
	}{
		{"system busy", func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(rw, `{"errcode":-1,"errmsg":"system error"}`)
		}, 200, -1},
		{"quota", func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(rw, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`)
		}, 200, 45009},
		{"user token", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"errcode":42007,"errmsg":"x"}`) }, 200, 42007},
		{"errcode further in", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"data":{"errcode":40001}}`) }, 200, 0},
		{"errcode as text", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"a":"\"errcode\":40001"}`) }, 200, 0},
		{"a long answer", func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw, `{"errcode":40001,"errmsg":"%s"}`, strings.Repeat("x", 10_000))
		}, 200, 40001},
		{"status 500", func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(rw, `{"errcode":40001,"errmsg":"x"}`)
		}, 500, 40001},
		{"status 503", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) }, 503, 0},
		{"connection lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, -1},
		{"no answer in time", func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
		}, 504, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.answer(c.answer)
			path := "/" + strings.ReplaceAll(c.name, " ", "-")
			a := post(t, p.url+path, `{"touser":"o"}`)
			if a.status != c.status || a.errcode() != c.errcode {
				t.Errorf("got %s", a)
			}
			if c.status == 502 || c.status == 504 {
				wantProxyError(t, a, c.status, -1, "")
			}
			if n := w.count(path); n != 1 {
				t.Errorf("WeChat got it %d times", n)
			}
		})
	}
	if n := w.status().Fetches; n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// A connection that was kept is closed after WeChat has read a request: it is
// sent once, whatever its method. One that was closed before is noticed, and
// the request goes out on another.
func TestKeptConnectionIsLost(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin {\n forward_headers Idempotency-Key\n }"})
	for _, path := range []string{"/x", "/sns/jscode2session"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodDelete} {
			for _, body := range []string{"", "{}"} {
				var lose atomic.Bool
				var received atomic.Int32
				w.answer(func(rw http.ResponseWriter, req *http.Request) {
					_, _ = io.Copy(io.Discard, req.Body)
					if lose.Load() {
						received.Add(1)
						panic(http.ErrAbortHandler)
					}
					if len(req.TransferEncoding) > 0 {
						t.Errorf("%s %s is chunked", method, path)
					}
					fmt.Fprint(rw, `{"errcode":0}`)
				})
				send := func() answer {
					req := newRequest(t, method, p.url+path, strings.NewReader(body))
					if body == "" {
						req = newRequest(t, method, p.url+path, nil)
					}
					req.Header.Set("Idempotency-Key", "1")
					return do(t, req)
				}
				for range 3 {
					if a := send(); a.status != http.StatusOK {
						t.Errorf("%s %s: got %s", method, path, a)
					}
				}
				lose.Store(true)
				if a := send(); a.status != http.StatusBadGateway {
					t.Errorf("%s %s: got %s", method, path, a)
				}
				if n := received.Load(); n != 1 {
					t.Errorf("%s %s: WeChat got it %d times", method, path, n)
				}
				lose.Store(false)
				send()
				w.CloseClientConnections()
				time.Sleep(50 * time.Millisecond) // until the proxy has noticed
				if a := send(); a.status != http.StatusOK {
					t.Errorf("%s %s after an idle connection was closed: got %s", method, path, a)
				}
			}
		}
	}
}

// The path is WeChat's as the client wrote it, needless or missing escapes
// included.
func TestPathBytes(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	var got string
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		got = req.RequestURI
		fmt.Fprint(rw, `{"errcode":0}`)
	})
	get(t, p.url+"/x")
	for _, path := range []string{"/a|b", `/a"b`, "/%75ser", "/a%7Cb", "/你", "/%e4%bd%a0", "/a:b@c,d=e+f$g!h*i'(j)", "/a/"} {
		res := raw(t, p, "GET "+path+"?b=|%7c HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(res, "HTTP/1.1 200 ") || got != path+"?b=|%7c&access_token="+w.currentToken() {
			t.Errorf("%s became %s: %.40s", path, strings.ReplaceAll(got, w.currentToken(), "TOKEN"), res)
		}
	}
}

// raw sends bytes and returns all that is answered.
func raw(t *testing.T, p *caddy, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(res)
}

// A redirect that repeats the request does not hand out the token.
func TestRedirectShowsNoToken(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		http.Redirect(rw, req, "https://elsewhere.example/?"+req.URL.RawQuery, http.StatusFound)
	})
	res := raw(t, p, "GET /x?a=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
	if !strings.Contains(res, "https://elsewhere.example/?a=1&access_token=REDACTED") || strings.Contains(strings.Split(res, "\r\n\r\n")[0], w.currentToken()) {
		t.Error("the redirect shows the token, or is none")
	}
}

// A client of HTTP/2 gets all of an answer that begins before its upload ends.
func TestAnswerWhileUploading(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{options: "servers {\n protocols h1 h2c\n }"})
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(rw).EnableFullDuplex()
		io.WriteString(rw, "\xffstart ")
		_ = http.NewResponseController(rw).Flush()
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprint(rw, n)
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2c := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 30 * time.Second}
	r, writer := io.Pipe()
	req := newRequest(t, http.MethodPost, p.url+"/x", r)
	req.ContentLength = 2 << 20
	begun := make(chan struct{})
	go func() {
		_, _ = writer.Write(make([]byte, 1<<20))
		<-begun
		_, _ = writer.Write(make([]byte, 1<<20))
		writer.Close()
	}()
	res, err := h2c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	close(begun)
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "\xffstart 2097152" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestUpstreamIsDown(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.Server.Close()
	wantProxyError(t, get(t, p.url+"/cgi-bin/user/get"), http.StatusBadGateway, -1, "the request to WeChat failed")
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin {\n body_limit 1KiB\n body_buffer 100B\n }"})
	small, large := strings.Repeat("x", 1024), strings.Repeat("x", 1025)
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprint(rw, n)
	})
	for _, chunked := range []bool{false, true} {
		body := func(s string) io.Reader {
			if chunked {
				return struct{ io.Reader }{strings.NewReader(s)}
			}
			return strings.NewReader(s)
		}
		if a := do(t, newRequest(t, http.MethodPost, p.url+"/x", body(small))); a.body != "1024" {
			t.Errorf("got %s", a)
		}
		wantProxyError(t, do(t, newRequest(t, http.MethodPost, p.url+"/x", body(large))),
			http.StatusRequestEntityTooLarge, 45001, "body_limit")
	}
	if n := w.count("/x"); n != 2 {
		t.Errorf("WeChat got %d requests", n)
	}
}
