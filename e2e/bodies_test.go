package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	nginx, err := exec.LookPath("nginx")
	if err != nil {
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
	cmd := exec.Command(nginx, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
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

// early is a request that is answered before the end of its body.
type early struct {
	name   string
	method string
	target string
	header string
	status []int
}

func earlyRequests() []early {
	with := func(path, appid string) string { return path + "?appid=" + appid }
	return []early{
		{name: "path", target: with("/cgi-bin//a", appID), status: []int{400}},
		{name: "web page", target: with("/cgi-bin/a", appID), header: "Origin: http://evil.example\r\n", status: []int{403}},
		{name: "method", method: "TRACE", target: with("/cgi-bin/a", appID), status: []int{400}},
		{name: "no token", target: with("/cgi-bin/a", "wx1111111111111111"), status: []int{503, 502}},
		{name: "unreachable", target: with("/sns/userinfo", "wx3333333333333333"), status: []int{502}},
		{name: "early answer of WeChat", target: with("/cgi-bin/a", "wx2222222222222222"), status: []int{200, 502}},
		{name: "token endpoint", method: "GET", target: with("/cgi-bin/token", appID) + "&grant_type=client_credential&secret=x", status: []int{200}},
		{name: "stable token", method: "PUT", target: with("/cgi-bin/stable_token", appID), status: []int{200}},
		{name: "AppSecret", target: with("/sns/jscode2session", appID), status: []int{413, 400}},
	}
}

// framings are ways to say how long a body is, with its beginning.
var framings = []struct {
	name, version, header, part string
	tooLong                     bool // beyond body_limit
}{
	{"long", "1.1", "Content-Length: 5000000\r\n", "", false},
	{"beyond the limit", "1.1", "Content-Length: 200000000\r\n", "", true},
	{"short", "1.1", "Content-Length: 90000\r\n", "12345", false},
	{"chunked, beyond the limit", "1.1", "Transfer-Encoding: chunked\r\n", "900000\r\n" + strings.Repeat("x", 0x900000) + "\r\n10000\r\n", true},
	{"1.0", "1.0", "Connection: keep-alive\r\nContent-Length: 5000000\r\n", "12345", false},
	{"Expect", "1.1", "Expect: 100-continue\r\nContent-Length: 5000000\r\n", "", false},
}

// No byte of one request is ever taken for another.
func TestEarlyAnswersEndTheConnection(t *testing.T) {
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	var attacks, others sync.WaitGroup
	over := make(chan struct{})
	for _, s := range sites {
		others.Go(func() {
			c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: 30 * time.Second}
			defer c.CloseIdleConnections()
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				if err := honestTry(c, s, i, 100_000); err != nil {
					t.Errorf("%s: another client, try %d: %v", s.name, i, err)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	slots := make(chan struct{}, 48)
	for _, s := range sites {
		for _, e := range earlyRequests() {
			for _, f := range framings {
				for _, later := range []bool{false, true} {
					if s.fronted && (f.name == "Expect" || e.method == "TRACE") {
						continue // what the front makes of it is its own affair
					}
					if s.name == "max_size" && f.name == "beyond the limit" {
						continue // Caddy refuses it itself
					}
					slots <- struct{}{}
					attacks.Go(func() {
						defer func() { <-slots }()
						head := fmt.Sprintf("%s %s HTTP/%s\r\nHost: localhost\r\n%s%s\r\n", cmpOr(e.method, "POST"), e.target, f.version, e.header, f.header)
						statuses := attack(t, s, head+f.part, later)
						name := fmt.Sprintf("%s, %s, %s, later %t", s.name, e.name, f.name, later)
						if len(statuses) != 1 && !s.fronted {
							t.Errorf("%s: answers %v, want one", name, statuses)
						}
					})
				}
			}
		}
	}
	attacks.Wait()
	close(over)
	others.Wait()
	if n := w.count(smuggledPath) + int(hasty.deleted.Load()); n > 0 {
		t.Errorf("%d requests were made of others' bodies", n)
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// attack sends the beginning of a request, and what would be another one if the
// rest were forgotten. It returns the statuses of all answers.
func attack(t *testing.T, s site, beginning string, later bool) []string {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	smuggled := strings.Repeat("GET "+smuggledPath+"?appid="+appID+" HTTP/1.1\r\nHost: localhost\r\n\r\n", 3)
	go func() {
		if later {
			_, _ = io.WriteString(conn, beginning)
			time.Sleep(700 * time.Millisecond)
			beginning = ""
		}
		// It may be closed already.
		_, _ = io.WriteString(conn, beginning+smuggled)
	}()
	patience := 15 * time.Second
	if s.fronted {
		patience = 3 * time.Second
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() && len(got) == 0 && !s.fronted {
		t.Errorf("%s: %.60q: there is no answer", s.name, beginning)
	}
	var statuses []string
	for line := range strings.Lines(string(got)) {
		if i := strings.Index(line, "HTTP/1."); i >= 0 && len(line) > i+12 && line[i+9:i+12] != "100" {
			statuses = append(statuses, line[i+9:i+12])
		}
	}
	return statuses
}

// A refusal reaches a client that waits with its body, and soon.
func TestRefusalOfWhoWaits(t *testing.T) {
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	for _, s := range sites {
		if s.fronted {
			continue
		}
		for _, e := range earlyRequests() {
			for _, length := range []int{100, 5_000_000, 200_000_000} {
				if s.name == "max_size" && length > 6<<20 {
					continue // Caddy refuses it itself
				}
				name := fmt.Sprintf("%s, %s, %d bytes", s.name, e.name, length)
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n%sContent-Length: %d\r\n\r\n",
					cmpOr(e.method, "POST"), e.target, e.header, length)
				_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
				r := bufio.NewReader(conn)
				line, err := r.ReadString('\n')
				if err != nil {
					t.Errorf("%s: got %q, %v", name, line, err)
				} else if strings.Contains(line, " 100 ") && length > 5_000_000 {
					t.Errorf("%s: the client is asked for its body", name)
				}
				conn.Close()
			}
		}
	}
}

// Clients that keep their connections get the answers to their own requests.
func TestHonestClientsKeepTheirConnections(t *testing.T) {
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	sizes := []int{100, 100_000, 3_000_000, 9_000_000}
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			transport := &http.Transport{MaxIdleConnsPerHost: 8}
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, Timeout: 30 * time.Second}
			tries := 200
			if s.name == "handler" || s.fronted {
				tries = 1000
			}
			for i := range tries {
				if err := honestTry(c, s, i, sizes[i%7%len(sizes)]); err != nil {
					t.Fatalf("try %d: %v", i, err)
				}
			}
		})
	}
}

// honestTry sends an upload that has an early answer, and a request that has not.
func honestTry(c *http.Client, s site, i, size int) error {
	refusal := []struct {
		target string
		status []int
	}{
		{"/cgi-bin//a?appid=" + appID, []int{400}},
		{"/cgi-bin/a?appid=wx1111111111111111", []int{502, 503}},
		{"/cgi-bin/a?appid=wx2222222222222222", []int{200, 502}},
		{"/sns/userinfo?appid=wx3333333333333333", []int{502}},
	}[i%4]
	refused, err := c.Post(s.url+refusal.target, "application/json", bytes.NewReader(make([]byte, size)))
	if err != nil {
		return fmt.Errorf("%s, %d bytes: %w", refusal.target, size, err)
	}
	_, _ = io.Copy(io.Discard, refused.Body)
	refused.Body.Close()
	if !slices.Contains(append(refusal.status, 413), refused.StatusCode) {
		return fmt.Errorf("%s, %d bytes: %s", refusal.target, size, refused.Status)
	}
	res, err := c.Get(s.url + "/cgi-bin/user/get?appid=" + appID)
	if err != nil {
		return fmt.Errorf("GET after %d bytes: %w", size, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || !bytes.Contains(got, []byte("openid")) {
		return fmt.Errorf("GET after %d bytes: %s %.200s, %w", size, res.Status, got, err)
	}
	return nil
}

// Node's client sends on while an answer comes.
func TestNodeKeepsItsConnections(t *testing.T) {
	programtest.Require(t, "node")
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	script := filepath.Join(t.TempDir(), "client.js")
	if err := os.WriteFile(script, []byte(nodeClient), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if s.name != "handler" && s.name != "transport" && !s.fronted {
			continue
		}
		out, err := exec.Command("node", script, s.url, appID, "1000").CombinedOutput()
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "no stray answer") {
			t.Errorf("%s: %v\n%s", s.name, err, out)
		}
	}
}

// nodeClient sends uploads that are refused, and requests that are not, over
// connections that are kept.
const nodeClient = `
const http = require('http');
const [base, appid, tries] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
function send(method, path, body) {
	return new Promise((resolve) => {
		const req = http.request(base + path, { method, agent, headers: body ? { 'Content-Length': body.length } : {} }, (res) => {
			let text = '';
			res.on('data', (d) => { text += d; });
			res.on('end', () => resolve({ status: res.statusCode, text }));
			res.on('error', (e) => resolve({ error: e.code }));
		});
		req.on('error', (e) => resolve({ error: e.code }));
		req.end(body);
	});
}
async function run() {
	const sizes = [100, 100000, 1000000, 9000000];
	const strays = [];
	for (let i = 0; i < Number(tries); i++) {
		const size = sizes[i % 7 % 4];
		const refused = await send('POST', '/cgi-bin//a?appid=' + appid, Buffer.alloc(size, 'x'));
		if (![400, 413].includes(refused.status)) strays.push(['POST', size, refused]);
		const got = await send('GET', '/cgi-bin/user/get?appid=' + appid);
		if (got.status !== 200 || !got.text.includes('openid')) strays.push(['GET', size, got]);
	}
	console.log(strays.length ? strays.length + ' ' + JSON.stringify(strays.slice(0, 3)) : 'no stray answer');
	process.exit(0);
}
run();
`

// A client that sends its whole request before it looks for an answer, as Apache
// HttpClient and http.rb do, sees the refusal and not a reset.
func TestRefusalReachesWhoSends(t *testing.T) {
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	virtual := granted(t, get(t, tokenURL(&caddy{url: sites[0].url}, appID, "x"))).AccessToken
	dead := virtual[:len(virtual)-4] + "AAAA"
	for _, s := range sites {
		for _, tc := range []struct {
			target string
			size   int
			want   string
		}{
			{"/cgi-bin/media/upload?type=image&appid=" + appID + "&access_token=" + dead, 8_000_000, `"errcode":4`},
			{"/cgi-bin//a?appid=" + appID, 8_000_000, `"errcode":40035`},
			{"/cgi-bin/a?appid=" + appID, 20_000_000, `"errcode":45001`},
			{"/cgi-bin/a?appid=wx1111111111111111", 5_000_000, `"errcode":40013`},
		} {
			for _, chunked := range []bool{false, true} {
				if s.name == "max_size" && tc.size > 6<<20 && !chunked {
					continue // Caddy refuses it itself
				}
				if err := sendThenRead(s, tc.target, tc.size, chunked, tc.want); err != nil {
					t.Errorf("%s, %s, %d bytes, chunked %t: %v", s.name, strings.ReplaceAll(tc.target, dead, "TOKEN"), tc.size, chunked, err)
				}
			}
		}
	}
}

// sendThenRead sends a request slowly, and reads the answer afterwards. Then it
// sends another over the same connection, unless the answer says that it may not.
func sendThenRead(s site, target string, size int, chunked bool, want string) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	length := fmt.Sprintf("Content-Length: %d", size)
	if chunked {
		length = "Transfer-Encoding: chunked"
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", target, length)
	piece := bytes.Repeat([]byte("x"), 500_000)
	for sent := 0; sent < size; sent += len(piece) {
		time.Sleep(5 * time.Millisecond)
		if chunked {
			fmt.Fprintf(conn, "%x\r\n", len(piece))
		}
		if _, err := conn.Write(piece); err != nil {
			return fmt.Errorf("after %d bytes: %w", sent, err)
		}
		if chunked {
			_, _ = io.WriteString(conn, "\r\n")
		}
	}
	if chunked {
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}
	r := bufio.NewReader(conn)
	for i := range 2 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || !strings.Contains(string(body), want) {
			return fmt.Errorf("answer %d: %s %.200s, %w", i, res.Status, body, err)
		}
		if res.Close {
			return nil
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", apiPath+"?appid="+appID)
		want = "openid"
	}
	return nil
}

// When a client vanishes during an upload, nobody reads its body any more once
// the handler has returned: Caddy's access log counts the bytes.
func TestClientVanishesWhileUploading(t *testing.T) {
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	var clients sync.WaitGroup
	for _, s := range sites {
		for i := range 30 {
			appid := []string{appID, "wx2222222222222222"}[i%2]
			clients.Go(func() {
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(conn, "POST /cgi-bin/media/upload?type=image&appid=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n", appid)
				_, _ = conn.Write(make([]byte, 100_000+i*40_000))
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				_ = conn.(*net.TCPConn).SetLinger(i % 3 * -1) // some with a reset
				conn.Close()
			})
		}
	}
	clients.Wait()
	for _, s := range sites {
		wantOK(t, get(t, s.url+apiPath+"?appid="+appID))
	}
}
