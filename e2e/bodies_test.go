package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

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
	t.Parallel()
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
	t.Parallel()
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
				_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
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
	t.Parallel()
	w, hasty := startWeChat(t), startHastyWeChat(t)
	_, sites := startSites(t, w, hasty)
	sizes := []int{100, 100_000, 3_000_000, 9_000_000}
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
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

// A client that sends its whole request before it looks for an answer, as Apache
// HttpClient and http.rb do, sees the refusal and not a reset.
func TestRefusalReachesWhoSends(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
