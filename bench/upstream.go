package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// The upstream plays WeChat in a process of its own. It shares the cores with
// what is measured, so it does as little as it can, and nothing but this: it
// answers within one write, keeps connections open for ever, and checks the
// token, so that no peer is measured that does not do its work.

const (
	getPath      = "/cgi-bin/user/get"
	postPath     = "/cgi-bin/message/template/send"
	downloadPath = "/cgi-bin/media/get"
	uploadPath   = "/cgi-bin/media/upload"
	statePath    = "/bench/state"
	revokePath   = "/bench/revoke" // the fetched token is good no longer

	downloadSize = 1 << 20
	uploadSize   = 8 << 20

	checksumQuery = "checksum=1"

	appID     = "wx0000000000000001"
	appSecret = "0123456789abcdef0123456789abcdef"
)

// staticToken is accepted always, from peers that fetch none.
var staticToken = makeToken(0)

// makeToken returns a token as long as WeChat's are.
func makeToken(generation int64) string {
	const length = 136
	token := fmt.Sprintf("%d_", generation)
	return token + strings.Repeat("aZ09-_", length)[:length-len(token)]
}

// userList is what a GET is answered.
var userList = func() []byte {
	openIDs := make([]string, 8)
	for i := range openIDs {
		openIDs[i] = fmt.Sprintf("oBench%022d", i)
	}
	b, _ := json.Marshal(map[string]any{
		"total": 23000, "count": len(openIDs), "data": map[string]any{"openid": openIDs}, "next_openid": openIDs[len(openIDs)-1],
	})
	return b
}()

// echo is what a POST is answered.
func echo(body []byte) []byte {
	return fmt.Appendf(nil, `{"errcode":0,"errmsg":"ok","received":%s}`, body)
}

// uploaded is what an upload is answered.
func uploaded(length int64) []byte {
	return fmt.Appendf(nil, `{"type":"image","media_id":"bench","created_at":1700000000,"length":%d}`, length)
}

// checked is what an upload is answered whose query asks for a checksum. Only
// the check before measuring does, since it costs time.
func checked(length int64, sum uint32) []byte {
	return fmt.Appendf(nil, `{"type":"image","media_id":"bench","length":%d,"crc32":%d}`, length, sum)
}

// crcTable is of the polynomial for which processors have an instruction.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

const jsonType = "application/json; encoding=utf-8"

// download is what media are.
var download = bytes.Repeat([]byte("0123456789abcde\n"), downloadSize/16)

// upstream is the state of the played WeChat.
type upstream struct {
	generation atomic.Int64 // of the token that is good
	fetches    atomic.Int64 // of tokens

	users, media []byte // whole answers
}

// upstreamState is what the upstream says about itself.
type upstreamState struct {
	Generation int64 `json:"generation"`
	Fetches    int64 `json:"fetches"`
}

// runUpstream is the subcommand that is the upstream's process. It ends when
// its standard input does, so that it never outlives who started it.
func runUpstream(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet(upstreamCommand, flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	certFile := flags.String("certificate", "", "file")
	keyFile := flags.String("key", "", "file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		os.Exit(0)
	}()
	return serveUpstream(l, &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"http/1.1"},
		MinVersion:   tls.VersionTLS12,
	})
}

func serveUpstream(l net.Listener, config *tls.Config) error {
	u := &upstream{users: okAnswer(jsonType, userList), media: okAnswer("image/jpeg", download)}
	u.generation.Store(1)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go u.serve(conn, config)
	}
}

// okAnswer returns a whole answer.
func okAnswer(contentType string, body []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: %s\r\n"+
		"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	return append([]byte(head), body...)
}

func (u *upstream) serve(raw net.Conn, config *tls.Config) {
	gathered := &gatheringConn{Conn: raw, in: bufio.NewReaderSize(raw, 32<<10), out: make([]byte, 0, 64<<10)}
	conn := tls.Server(gathered, config)
	defer func() { _ = conn.Close() }()
	w := &wire{src: conn, buf: make([]byte, 16<<10)}
	for {
		head, err := w.head()
		if err != nil {
			return
		}
		answer, closes, err := u.answer(w, conn, head)
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		if err := gathered.flush(); err != nil || closes {
			return
		}
	}
}

// answer reads the rest of a request and returns the answer to it.
func (u *upstream) answer(w *wire, conn io.Writer, head []byte) (answer []byte, closes bool, err error) {
	path, query, lines, err := splitRequest(head)
	if err != nil {
		return nil, false, err
	}
	f, err := parseFields(lines)
	if err != nil {
		return nil, false, err
	}
	if f.chunked { // WeChat wants a length
		return []byte("HTTP/1.1 412 Precondition Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), true, nil
	}
	if f.expects {
		if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, false, err
		}
	}
	answer, err = u.route(w, path, query, max(f.length, 0))
	return answer, f.closes, err
}

// route answers by path. Path and query are in the buffer of w, so they are
// looked at before the body is read, and not after.
func (u *upstream) route(w *wire, path, query []byte, length int64) ([]byte, error) {
	switch string(path) {
	case "/cgi-bin/stable_token", "/cgi-bin/token":
		u.fetches.Add(1)
		token := makeToken(u.generation.Load())
		return jsonAnswer(w, length, fmt.Appendf(nil, `{"access_token":"%s","expires_in":7200}`, token))
	case statePath:
		return jsonAnswer(w, length, u.state())
	case revokePath:
		u.generation.Add(1)
		return jsonAnswer(w, length, u.state())
	}
	if !u.accepts(query) {
		return jsonAnswer(w, length, []byte(`{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest"}`))
	}
	switch string(path) {
	case getPath:
		return u.users, w.pass(length, nil)
	case downloadPath:
		return u.media, w.pass(length, nil)
	case postPath:
		body, err := w.bytes(length)
		return okAnswer(jsonType, echo(body)), err
	case uploadPath:
		if !bytes.Contains(query, []byte(checksumQuery)) {
			return jsonAnswer(w, length, uploaded(length))
		}
		var sum uint32
		err := w.pass(length, func(piece []byte) { sum = crc32.Update(sum, crcTable, piece) })
		return okAnswer(jsonType, checked(length, sum)), err
	default:
		return jsonAnswer(w, length, []byte(`{"errcode":-1,"errmsg":"no such path"}`))
	}
}

// jsonAnswer reads a body to its end and answers.
func jsonAnswer(w *wire, length int64, body []byte) ([]byte, error) {
	return okAnswer(jsonType, body), w.pass(length, nil)
}

func (u *upstream) state() []byte {
	b, _ := json.Marshal(upstreamState{Generation: u.generation.Load(), Fetches: u.fetches.Load()})
	return b
}

// accepts says whether there is exactly one token in the query, and a good one.
func (u *upstream) accepts(query []byte) bool {
	const name = "access_token="
	_, value, found := bytes.Cut(query, []byte(name))
	if !found {
		return false
	}
	value, rest, _ := bytes.Cut(value, []byte("&"))
	if bytes.Contains(rest, []byte(name)) {
		return false
	}
	if string(value) == staticToken {
		return true
	}
	number, _, _ := bytes.Cut(value, []byte("_"))
	generation, ok := parseInt(number, 10)
	return ok && generation == u.generation.Load() && len(value) == len(staticToken)
}

// gatheringConn makes few system calls of many records.
type gatheringConn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

// Read sends what was gathered, since the other side may be waiting for it.
func (c *gatheringConn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

// Write gathers.
func (c *gatheringConn) Write(p []byte) (int, error) {
	if len(c.out)+len(p) > cap(c.out) {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(c.out) {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// Close sends what was gathered: TLS has said that nothing follows, and has let
// writing time out.
func (c *gatheringConn) Close() error {
	return errors.Join(c.SetWriteDeadline(time.Now().Add(time.Second)), c.flush(), c.Conn.Close())
}

func (c *gatheringConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}
