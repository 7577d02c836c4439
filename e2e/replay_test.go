package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A token error is cured whatever the request was and however it is said.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{site: "weixin {\n body_buffer 1KiB\n }"})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	large := strings.Repeat("0123456789abcdef", 4096)
	for _, errcode := range []string{"40001", "42001", "40014"} {
		for _, form := range []struct{ name, contentType, body string }{
			{"documented", "application/json; encoding=utf-8", `{"errcode":%s,"errmsg":"invalid credential rid: 6aac0063-7ed08fb9-1250f724"}`},
			{"as text", "text/plain", `{"errcode":%s,"errmsg":"invalid credential"}`},
			{"as a picture", "image/jpeg", `{"errcode":%s,"errmsg":"invalid credential"}`},
			{"without a type", "", `{"errcode":%s}`},
			{"the other way round", "application/json", `{"errmsg":"invalid credential","errcode":%s}`},
			{"with spaces", "application/json", "{\n  \"errcode\" : %s ,\r\n\t\"errmsg\" : \"x\"\n}\n"},
			{"with more in it", "application/json", `{"data":{"a":[1,"}"]},"errcode":%s,"errmsg":"x"}`},
		} {
			for _, request := range []struct {
				name, method string
				body         string
				chunked      bool
			}{
				{"GET", http.MethodGet, "", false},
				{"POST", http.MethodPost, `{"touser":"o"}`, false},
				{"chunked POST", http.MethodPost, large, true},
				{"large POST", http.MethodPost, large, false},
				{"DELETE", http.MethodDelete, "", false},
			} {
				for _, flush := range []bool{false, true} {
					name := fmt.Sprintf("%s %s, %s, answer chunked %v", errcode, form.name, request.name, flush)
					t.Run(name, func(t *testing.T) {
						var attempts atomic.Int32
						var tokens [2]string
						w.answer(func(rw http.ResponseWriter, req *http.Request) {
							body, _ := io.ReadAll(req.Body)
							n := attempts.Add(1)
							if n <= 2 {
								tokens[n-1] = req.URL.Query().Get("access_token")
							}
							if string(body) != request.body || req.URL.Query().Get("q") != "1" || len(req.TransferEncoding) > 0 {
								t.Errorf("attempt %d: %s with %d bytes", n, strings.Replace(req.URL.RawQuery, w.currentToken(), "TOKEN", 1), len(body))
							}
							if n == 1 {
								w.revoke()
								rw.Header()["Content-Type"] = nil
								if form.contentType != "" {
									rw.Header().Set("Content-Type", form.contentType)
								}
								if flush {
									_ = http.NewResponseController(rw).Flush()
								}
								fmt.Fprintf(rw, form.body, errcode)
								return
							}
							rw.Header().Set("Content-Type", "image/png")
							fmt.Fprint(rw, "the answer")
						})
						var body io.Reader
						if request.body != "" {
							body = strings.NewReader(request.body)
						}
						if request.chunked {
							body = struct{ io.Reader }{body}
						}
						a := do(t, newRequest(t, request.method, p.url+"/any/path?q=1", body))
						if a.body != "the answer" || a.header.Get("Content-Type") != "image/png" {
							t.Errorf("got %s", a)
						}
						wantReplayed(t, a, errcode)
						if n := attempts.Load(); n != 2 || tokens[0] == tokens[1] {
							t.Errorf("%d attempts, with another token: %v", n, tokens[0] != tokens[1])
						}
					})
				}
			}
		}
	}
}

// What the replay answers is the client's, even if it is refused too.
func TestReplayIsRefusedToo(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		w.revoke()
		fmt.Fprint(rw, `{"errcode":42001,"errmsg":"access_token expired"}`)
	})
	a := get(t, p.url+"/x")
	if a.errcode() != 42001 || w.count("/x") != 2 {
		t.Errorf("got %s after %d attempts", a, w.count("/x"))
	}
	wantReplayed(t, a, "42001")
	for range 100 {
		get(t, p.url+"/x")
	}
	if n := w.status().Fetches; n > 30 {
		t.Errorf("%d fetches for 100 requests that no token cures", n)
	}
}

// WeChat refuses a token that it goes on handing out. It passes by itself.
func TestReplayWithTheSameToken(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	for range 5 {
		var attempts atomic.Int32
		w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			if attempts.Add(1) == 1 {
				fmt.Fprint(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
				return
			}
			fmt.Fprint(rw, `{"errcode":0,"errmsg":"ok"}`)
		})
		a := get(t, p.url+"/x")
		wantOK(t, a)
		wantReplayed(t, a, "40001")
	}
	if s := w.status(); s.Forced != 0 || s.Fetches > 3 {
		t.Errorf("%d fetches, %d forced", s.Fetches, s.Forced)
	}
}

// WeChat insists: a new token is forced, once.
func TestStableInsists(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.control(http.MethodPost, "/revoke?insist=true", "")
	failed := 0
	for range 20 {
		if get(t, p.url+"/cgi-bin/user/get").errcode() != 0 {
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 20 requests failed", failed)
	}
	if s := w.status(); s.Forced != 1 || s.Fetches > 4 {
		t.Errorf("%d fetches, %d forced", s.Fetches, s.Forced)
	}
}

// A storm: 10,000 requests, 256 at once, through the token's death.
func TestStorm(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"stable", "classic"} {
		t.Run(method, func(t *testing.T) {
			w := startWeChat(t)
			p := startCaddy(t, w, config{global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n token " + method + "\n }"})
			wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
			w.setLatency(200 * time.Millisecond)
			const requests = 10_000
			var sent, replayed atomic.Int32
			var failures failures
			var wg sync.WaitGroup
			for range 256 {
				wg.Go(func() {
					for n := sent.Add(1); n <= requests; n = sent.Add(1) {
						if n == requests/2 {
							w.revoke()
						}
						res, err := client.Get(p.url + "/cgi-bin/user/get")
						if err != nil {
							failures.add(err.Error())
							continue
						}
						body, _ := io.ReadAll(res.Body)
						res.Body.Close()
						if !bytes.HasPrefix(body, []byte(`{"total"`)) {
							failures.add(res.Status + " " + string(body))
						}
						if res.Header.Get("X-Weixin-Replayed") != "" {
							replayed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			failures.report(t)
			if n := w.status().Fetches; n != 2 {
				t.Errorf("%d fetches, want 2: the first token and its successor", n)
			}
			if replayed.Load() == 0 {
				t.Error("nothing was replayed: the test did not test anything")
			}
		})
	}
}

// Uploads of 10 MB, 60 at once, through a token's death, in little memory.
func TestUploadsThroughTokenDeath(t *testing.T) {
	w := startWeChat(t)
	tmp := t.TempDir()
	p := startCaddy(t, w, config{fast: true, env: []string{"TMPDIR=" + tmp}})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	const size = 10 << 20
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	want := sha256.Sum256(content)
	var mu sync.Mutex
	dead := w.currentToken()
	w.setLatency(500 * time.Millisecond)
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, req.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if req.URL.Query().Get("access_token") == dead {
			fmt.Fprint(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
			return
		}
		fmt.Fprintf(rw, `{"size":%d,"same":%v}`, n, bytes.Equal(h.Sum(nil), want[:]))
	})
	w.revoke()
	before := p.rss()
	var most atomic.Int64
	var replayed atomic.Int32
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			most.Store(max(most.Load(), int64(p.rss())))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			body := io.Reader(bytes.NewReader(content))
			if i%2 == 1 {
				body = struct{ io.Reader }{body} // chunked
			}
			res, err := client.Post(p.url+"/cgi-bin/media/upload?type=video", "application/octet-stream", body)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			answer, _ := io.ReadAll(res.Body)
			if string(answer) != fmt.Sprintf(`{"size":%d,"same":true}`, size) {
				t.Errorf("got %s %s", res.Status, answer)
			}
			if res.Header.Get("X-Weixin-Replayed") == "40001" {
				replayed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := replayed.Load(); n < 30 {
		t.Errorf("%d uploads were replayed: too few to show anything", n)
	}
	close(stop)
	watcher.Wait()
	if grown := int(most.Load()) - before; grown > 200<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	} else {
		t.Logf("memory grew by %d MB", grown>>20)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// WeChat may refuse a request before it has read all of it.
func TestRefusedWhileStillSending(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	var attempts atomic.Int32
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		if attempts.Add(1) == 1 {
			w.revoke()
			fmt.Fprint(rw, `{"errcode":40001,"errmsg":"invalid credential"}`)
			return
		}
		n, _ := io.Copy(io.Discard, req.Body)
		fmt.Fprintf(rw, `{"size":%d}`, n)
	})
	const size = 4 << 20
	r, writer := io.Pipe()
	go func() {
		chunk := make([]byte, size/64)
		for range 64 {
			time.Sleep(2 * time.Millisecond)
			_, _ = writer.Write(chunk)
		}
		writer.Close()
	}()
	req := newRequest(t, http.MethodPost, p.url+"/x", r)
	req.ContentLength = size
	a := do(t, req)
	if a.body != fmt.Sprintf(`{"size":%d}`, size) {
		t.Errorf("got %s", a)
	}
	wantReplayed(t, a, "40001")
}

// An upload's temporary file is gone with the client.
func TestClientCrashesDuringUpload(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	tmp := t.TempDir()
	p := startCaddy(t, w, config{env: []string{"TMPDIR=" + tmp}})
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /cgi-bin/media/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n")
	_, _ = conn.Write(make([]byte, 1<<20))
	if !eventually(func() bool { return openTemporaryFiles(p) == 1 }) {
		t.Error("no temporary file is open: the test does not test anything")
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("a crash of the proxy would leave %v behind", left)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	if !eventually(func() bool { return openTemporaryFiles(p) == 0 }) {
		t.Error("the temporary file stays open")
	}
}

func openTemporaryFiles(p *caddy) int {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.Contains(target, "caddy-weixin-body-") {
			n++
		}
	}
	return n
}

func eventually(condition func() bool) bool {
	for range 500 {
		if condition() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// Media go up and come down through the sandbox, with a token's death before
// each way.
func TestMediaRoundTrip(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{})
	var form bytes.Buffer
	mp := multipart.NewWriter(&form)
	part, err := mp.CreateFormFile("media", "picture.png")
	if err != nil {
		t.Fatal(err)
	}
	content := append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100_000)...)
	_, _ = part.Write(content)
	mp.Close()
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	w.revoke()
	req := newRequest(t, http.MethodPost, p.url+"/cgi-bin/media/upload?type=image", &form)
	req.Header.Set("Content-Type", mp.FormDataContentType())
	a := do(t, req)
	wantOK(t, a)
	wantReplayed(t, a, "40001")
	_, id, _ := strings.Cut(a.body, `"media_id":"`)
	id, _, _ = strings.Cut(id, `"`)
	w.expire()
	a = get(t, p.url+"/cgi-bin/media/get?media_id="+id)
	wantReplayed(t, a, "42001")
	if a.body != string(content) {
		t.Errorf("%d bytes came back, of %d", len(a.body), len(content))
	}
}
