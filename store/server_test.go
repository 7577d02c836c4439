package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// redisServer is a real Redis.
type redisServer struct {
	t    *testing.T
	port int
	cmd  *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	programtest.Require(t, "redis-server")
	r := &redisServer{t: t, port: freePort(t)}
	args = append([]string{
		"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	}, args...)
	r.cmd = exec.Command("redis-server", args...)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	waitFor(t, r.addr())
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// waitFor waits until a server accepts connections.
func waitFor(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody answers at %s", address)
}

func (r *redisServer) addr() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *redisServer) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// do sends one command as the default user, and returns the answer as text.
func (r *redisServer) do(args ...string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(arg), arg)
	}
	reply, err := readReply(bufio.NewReader(conn))
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

// readReply returns a RESP value as text, elements of arrays one to a line.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '$':
		if n < 0 {
			return "", nil
		}
		data := make([]byte, n+2)
		_, err := io.ReadFull(r, data)
		return string(data[:n]), err
	case '*':
		var elements []string
		for range n {
			element, err := readReply(r)
			if err != nil {
				return "", err
			}
			elements = append(elements, element)
		}
		return strings.Join(elements, "\n"), nil
	default:
		return line[1:], nil
	}
}

// open returns a store at a URL, which comes from the environment.
func open(t *testing.T, s *Redis) *Redis {
	t.Helper()
	t.Setenv("REDIS_URL", s.URL)
	s.URL = "{env.REDIS_URL}"
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

// fakeRedis answers commands as a test wants it to.
type fakeRedis struct {
	addr string

	mu   sync.Mutex
	seen []string // commands, in lower case
}

var errHangUp = errors.New("the connection is closed instead of an answer")

// startFake starts a server. answer returns what a command is answered with, in
// RESP; the connection is closed where it returns an error.
func startFake(t *testing.T, answer func(cmd []string) (string, error)) *fakeRedis {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRedis{addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(conn, answer) })
		}
	})
	return f
}

func (f *fakeRedis) serve(conn net.Conn, answer func(cmd []string) (string, error)) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		text, err := readReply(r)
		if err != nil {
			return
		}
		cmd := strings.Split(text, "\n")
		cmd[0] = strings.ToLower(cmd[0])
		f.mu.Lock()
		f.seen = append(f.seen, cmd[0])
		f.mu.Unlock()
		reply, err := answer(cmd)
		if err != nil {
			return
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

func (f *fakeRedis) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

// minimal answers as a proxy that knows what a store needs, and unknown to all
// else.
func minimal(unknown func(cmd []string) (string, error)) func(cmd []string) (string, error) {
	var mu sync.Mutex
	values := make(map[string]string)
	return func(cmd []string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		switch cmd[0] {
		case "auth":
			return "+OK\r\n", nil
		case "get":
			value, ok := values[cmd[1]]
			if !ok {
				return "$-1\r\n", nil
			}
			return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), nil
		case "set":
			if _, ok := values[cmd[1]]; ok && strings.EqualFold(cmd[len(cmd)-1], "nx") {
				return "$-1\r\n", nil
			}
			values[cmd[1]] = cmd[2]
			return "+OK\r\n", nil
		case "del":
			_, ok := values[cmd[1]]
			delete(values, cmd[1])
			if ok {
				return ":1\r\n", nil
			}
			return ":0\r\n", nil
		}
		return unknown(cmd)
	}
}

func unknownCommand(cmd []string) (string, error) {
	return fmt.Sprintf("-ERR unknown command '%s', with args beginning with: '%s' \r\n", cmd[0], strings.Join(cmd[1:], "' '")), nil
}

func hangUp([]string) (string, error) { return "", errHangUp }
