package mirror

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
	"github.com/caddy-weixin/caddy-weixin/store"
)

func TestMain(m *testing.M) { os.Exit(programtest.Tests{M: m}.Run()) }

// startRedis starts a real Redis and returns its address.
func startRedis(t *testing.T, args ...string) string {
	t.Helper()
	programtest.Require(t, "redis-server")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	args = append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)
	cmd := exec.Command("redis-server", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr := "127.0.0.1:" + strconv.Itoa(port)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatal("redis-server does not answer")
		}
	}
}

func writer(t *testing.T, preset Preset, rawURL string) *Writer {
	t.Helper()
	c, err := store.NewRedisClient(rawURL, 300*time.Millisecond, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &Writer{Client: c, Preset: preset, Now: func() time.Time { return testNow }}
}

func allKeys(t *testing.T, w *Writer) []string {
	t.Helper()
	keys, err := w.Client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func TestWriteAndRemove(t *testing.T) {
	addr := startRedis(t)
	for i, preset := range []Preset{WxJava, Silenceper, Wechatpy, PowerWeChat} {
		t.Run(string(preset), func(t *testing.T) {
			w := writer(t, preset, fmt.Sprintf("redis://%s/%d", addr, i))
			for _, a := range []Account{official, agent} {
				for _, typ := range []Type{AccessToken, JSAPITicket, AgentTicket} {
					v := value(typ)
					if err := w.Write(t.Context(), a, v); err != nil {
						t.Fatal(err)
					}
					for _, e := range Entries(preset, "", a, v, testNow) {
						got := w.Client.Get(t.Context(), e.Key).Val()
						ttl := w.Client.TTL(t.Context(), e.Key).Val()
						if got != e.Value || e.Value != "" && (ttl > e.TTL || ttl < e.TTL-10*time.Second) {
							t.Errorf("a key is wrong, with %v to live", ttl)
						}
					}
				}
			}
			if len(allKeys(t, w)) == 0 {
				t.Error("nothing is written")
			}
			for _, a := range []Account{official, agent} {
				for _, typ := range []Type{AccessToken, JSAPITicket, AgentTicket} {
					if err := w.Remove(t.Context(), a, typ); err != nil {
						t.Fatal(err)
					}
				}
			}
			if keys := allKeys(t, w); len(keys) > 0 {
				t.Errorf("left: %q", keys)
			}
		})
	}
}

// A new value takes the old one's place, and what is over takes it away.
func TestWriteAgain(t *testing.T) {
	w := writer(t, WxJava, "redis://"+startRedis(t)+"/0")
	key := "wx:access_token:" + testAppID
	v := value(AccessToken)
	for _, text := range []string{"first", "second"} {
		v.Text = text
		if err := w.Write(t.Context(), official, v); err != nil {
			t.Fatal(err)
		}
		if got := w.Client.Get(t.Context(), key).Val(); got != text {
			t.Errorf("written is %q", got)
		}
	}
	// Somebody else's, of another type, is overwritten too.
	w.Client.Del(t.Context(), key)
	w.Client.LPush(t.Context(), key, "x")
	if err := w.Write(t.Context(), official, v); err != nil {
		t.Fatal(err)
	}
	w.Now = func() time.Time { return testNow.Add(3 * time.Hour) }
	if err := w.Write(t.Context(), official, v); err != nil {
		t.Fatal(err)
	}
	if keys := allKeys(t, w); len(keys) > 0 {
		t.Errorf("left: %q", keys)
	}
}

// wechatpy's own expiry of an earlier token would have it fetch.
func TestLeftoversOfTheSDK(t *testing.T) {
	w := writer(t, Wechatpy, "redis://"+startRedis(t)+"/0")
	key := "wechatpy:" + testAppID + "_access_token_expires_at"
	w.Client.Set(t.Context(), key, "1", 0)
	if err := w.Write(t.Context(), official, value(AccessToken)); err != nil {
		t.Fatal(err)
	}
	if w.Client.Exists(t.Context(), key).Val() != 0 {
		t.Error("it is still there")
	}
}

// answering is a server that answers every command alike, with what it was sent.
func answering(t *testing.T, answer func(args []string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					args, err := readCommand(r)
					if err != nil {
						return
					}
					fmt.Fprint(conn, answer(args))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func readCommand(r *bufio.Reader) ([]string, error) {
	var n int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		var length int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &length); err != nil {
			return nil, err
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		args[i] = strings.TrimRight(line, "\r\n")
	}
	return args, nil
}

// Whatever goes wrong, the error has no value, no key and no password.
func TestErrors(t *testing.T) {
	denied := startRedis(t, "--requirepass", "not-the-password")
	for name, c := range map[string]struct{ url, code string }{
		"nobody there":   {"redis://:not-a-secret@127.0.0.1:1/0", "unreachable"},
		"wrong password": {"redis://:not-a-secret@" + denied + "/0", "wrong_password"},
		"no password":    {"redis://" + denied + "/0", "unauthenticated"},
		"unknown command": {"redis://" + answering(t, func(args []string) string {
			return "-ERR unknown command '" + args[0] + "' for '" + strings.Join(args[1:], "' '") + "'\r\n"
		}) + "/0", "unsupported"},
		"an answer with the token": {"redis://" + answering(t, func(args []string) string { return "-" + strings.Join(args, " ") + "\r\n" }) + "/0", ""},
		"a token as the code":      {"redis://" + answering(t, func(args []string) string { return "-" + args[len(args)-3] + "\r\n" }) + "/0", ""},
		"no answer":                {"redis://" + answering(t, func([]string) string { return "" }) + "/0", "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			w := writer(t, WxJava, c.url)
			start := time.Now()
			err := w.Write(t.Context(), official, Value{Text: "token-that-is-not-shown", ExpiresAt: testNow.Add(time.Hour)})
			if err == nil {
				t.Fatal("no error")
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
			for _, secret := range []string{"token-that", "TOKEN-THAT", testAppID, "access_token", "not-a-secret", c.url} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q is in the error: %v", secret, err)
				}
			}
			if advice, _ := store.Explain(err); advice.Code != c.code {
				t.Errorf("advice %q of %v", advice.Code, err)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	w := writer(t, WxJava, "redis://"+answering(t, func([]string) string { return "" })+"/0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Write(ctx, official, value(AccessToken)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
