package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// hastyWeChat issues tokens, and answers every other request once it has its
// header and a byte of its body.
type hastyWeChat struct {
	url     string
	deleted atomic.Int32 // calls of the API that nobody has called
}

func startHastyWeChat(t *testing.T) *hastyWeChat {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h := &hastyWeChat{url: "http://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(conn)
		}
	}()
	return h
}

func (h *hastyWeChat) serve(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body := `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`
	switch req.URL.Path {
	case "/cgi-bin/stable_token":
		_, _ = io.Copy(io.Discard, req.Body)
		body = `{"access_token":"hasty-token-of-the-test","expires_in":7200}`
	case smuggledPath:
		h.deleted.Add(1)
	default:
		_, _ = req.Body.Read(make([]byte, 1))
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	// It is not closed with bytes unread, which would be a reset.
	_ = conn.(*net.TCPConn).CloseWrite()
	time.Sleep(time.Second)
}

const smuggledPath = "/cgi-bin/menu/delete"

// site is a way to the proxy.
type site struct {
	name string
	url  string

	// fronted is whether another stands in front of it, which says itself whether
	// it keeps its client's connection.
	fronted bool
}

// startSites starts a Caddy with the proxy in every form in which it can be had.
// Behind each, a request names its account by appid.
func startSites(t *testing.T, w *weChat, hasty *hastyWeChat) (*caddy, []site) {
	t.Helper()
	const options = "body_limit 8MiB\n timeout 5s\n"
	var text strings.Builder
	fmt.Fprintf(&text, `{
	admin 127.0.0.1:%d
	persist_config off
	log {
		format filter {
			request>uri query {
				replace access_token REDACTED
				replace secret REDACTED
			}
			uri query {
				replace access_token REDACTED
				replace secret REDACTED
			}
		}
	}
	SERVERS
	weixin {
		upstream %s
		account shop {
			appid {env.WEIXIN_APPID}
			secret {env.WEIXIN_SECRET}
		}
		account wrong {
			appid wx1111111111111111
			secret 00000000000000000000000000000000
		}
		account hasty {
			appid wx2222222222222222
			secret 11111111111111111111111111111111
			upstream %s
		}
		account dead {
			appid wx3333333333333333
			secret 22222222222222222222222222222222
			upstream http://127.0.0.1:1
		}
	}
}
`, freePort(t), w.URL, hasty.url)
	var sites []site
	add := func(name, directives string) string {
		address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		sites = append(sites, site{name: name, url: "http://" + address, fronted: strings.HasPrefix(name, "behind")})
		fmt.Fprintf(&text, "http://:%s {\n bind 127.0.0.1\n log\n %s\n}\n", address[len("127.0.0.1:"):], directives)
		return address
	}
	handler := add("handler", "weixin {\n "+options+"}")
	add("net_http", "weixin {\n round_tripper net_http\n "+options+"}")
	add("max_size", "request_body {\n max_size 6MiB\n }\n weixin {\n "+options+"}")
	// The transport has its account from the configuration.
	var byAccount strings.Builder
	for account, upstream := range map[string]string{"shop": w.URL, "wrong": w.URL, "hasty": hasty.url, "dead": "http://127.0.0.1:1"} {
		appid := map[string]string{
			"shop": appID, "wrong": "wx1111111111111111", "hasty": "wx2222222222222222", "dead": "wx3333333333333333",
		}[account]
		fmt.Fprintf(&byAccount, "@%[1]s query appid=%[2]s\n reverse_proxy @%[1]s %[3]s {\n transport weixin %[1]s {\n %[4]s}\n}\n", account, appid, upstream, options)
	}
	add("transport", byAccount.String())
	add("behind Caddy", "reverse_proxy "+handler)
	unlimited := add("no idle limits", "weixin {\n "+options+"}")
	reads := add("idle limit for reading alone", byAccount.String())
	servers := ""
	for address, limits := range map[string]string{unlimited: "read_body_idle -1s\n write_idle -1s\n", reads: "write_idle -1s\n"} {
		servers += fmt.Sprintf("servers %s {\n timeouts {\n %s }\n }\n", address, limits)
	}
	p := startCaddy(t, w, config{override: strings.Replace(text.String(), "SERVERS", servers, 1)})
	if url := startNginx(t, handler); url != "" {
		sites = append(sites, site{name: "behind nginx", url: url, fronted: true})
	}
	return p, sites
}

// startNginx starts an nginx that keeps its connections to a server, and passes
// bodies on as they come. It returns "" where there is none.
func startNginx(t *testing.T, server string) string {
	t.Helper()
	if !programtest.Has(t, "nginx") {
		return ""
	}
	dir, port := t.TempDir(), freePort(t)
	conf := fmt.Sprintf(`daemon off; worker_processes 1; error_log %[1]s/error.log; pid %[1]s/pid;
events { worker_connections 512; }
http {
	access_log off; client_max_body_size 0;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	upstream proxy { server %[3]s; keepalive 16; }
	server {
		listen 127.0.0.1:%[2]d;
		merge_slashes off;
		location / {
			proxy_pass http://proxy; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
		}
	}
}
`, dir, port, server)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if !eventually(func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}) {
		t.Fatal("nginx does not serve")
	}
	return "http://" + address
}
