package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	// They are in the Caddy that is built below. Were they not imported, `go test`
	// would take results for good that are from before they were changed.
	_ "github.com/caddy-weixin/caddy-weixin"
	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
	_ "github.com/caddy-weixin/caddy-weixin/sandbox"
)

// binary builds cmd/caddy once, with the race detector if the tests have it.
var (
	binary     = sync.OnceValues(func() (string, error) { return build("caddy", raceEnabled) })
	fastBinary = sync.OnceValues(func() (string, error) { return build("caddy-norace", false) })
)

var buildDir string

// atOnce is how many tests run at once at least, where -parallel does not say it.
// They wait for processes and for time to pass more than they compute.
//
// Four run alone: TestUploadsThroughTokenDeath measures a process's memory, and
// TestClusterFetchesOnce how long requests wait; TestRedisWithoutScripting lets no
// request last until the next death, and TestShortLifetimes no token of three
// seconds be renewed late.
const atOnce = 6

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(max(atOnce, runtime.GOMAXPROCS(0))))
	}
	dir, err := os.MkdirTemp("", "caddy-weixin-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := programtest.Tests{M: m}.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(name string, race bool) (string, error) {
	path := filepath.Join(buildDir, name)
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	// The tests hold for each of them.
	if name := os.Getenv("ROUND_TRIPPER"); name != "" {
		args = append(args, "-ldflags", "-X github.com/caddy-weixin/caddy-weixin/internal/upstream.defaultRoundTripper="+name)
	}
	out, err := exec.Command("go", append(args, "../cmd/caddy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building Caddy: %v\n%s", err, out)
	}
	return path, nil
}

// config is what a test wants of a Caddy.
type config struct {
	global     string // inside of the weixin global option; default: the account "shop"
	site       string // inside of the site; default: weixin
	options    string // further global options
	env        []string
	dataDir    string                // of the storage; default: a fresh one
	port       int                   // default: a free one
	noUpstream bool                  // global says where WeChat is
	fast       bool                  // without the race detector, where memory is measured
	override   string                // the whole Caddyfile instead
	write      func(p *caddy) string // likewise, where it needs to know the process's ports
}

// caddy is a running Caddy process.
type caddy struct {
	t       *testing.T
	url     string
	admin   string
	file    string
	dataDir string
	cmd     *exec.Cmd
	logs    *logBuffer
	exited  chan struct{}
}

// defaultAccount is the account of the sandbox.
const defaultAccount = `
	account shop {
		appid {env.WEIXIN_APPID}
		secret {env.WEIXIN_SECRET}
	}`

// startCaddy starts a Caddy in front of w. It logs at DEBUG, and whatever it
// logs is searched for secrets at the end.
func startCaddy(t *testing.T, w *weChat, c config) *caddy {
	t.Helper()
	bin, err := binary()
	if c.fast {
		bin, err = fastBinary()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &caddy{t: t, dataDir: c.dataDir, logs: new(logBuffer), exited: make(chan struct{})}
	if p.dataDir == "" {
		p.dataDir = t.TempDir()
	}
	port := c.port
	if port == 0 {
		port = freePort(t)
	}
	p.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	p.admin = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	p.file = filepath.Join(t.TempDir(), "Caddyfile")
	p.write(w, c)

	p.cmd = exec.Command(bin, "run", "--config", p.file, "--adapter", "caddyfile")
	p.cmd.Env = append(os.Environ(),
		"XDG_DATA_HOME="+p.dataDir, "XDG_CONFIG_HOME="+t.TempDir(),
		"WEIXIN_APPID="+appID, "WEIXIN_SECRET="+appSecret)
	p.cmd.Env = append(p.cmd.Env, c.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop()
		p.checkLogs(w)
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", p.url, p.logs.lastLines())
		}
	})
	p.waitUntilServing()
	return p
}

// write writes the process's Caddyfile.
func (p *caddy) write(w *weChat, c config) {
	p.t.Helper()
	if c.global == "" {
		c.global = defaultAccount
	}
	if c.site == "" {
		c.site = "weixin"
	}
	where := "upstream " + w.URL
	if c.noUpstream {
		where = ""
	}
	text := c.override
	if c.write != nil {
		text = c.write(p)
	}
	if text == "" {
		text = fmt.Sprintf(`{
	admin %s
	debug
	log {
		format filter {
			request>uri query {
				replace access_token REDACTED
				replace secret REDACTED
				replace appsecret REDACTED
				replace corpsecret REDACTED
			}
			uri query {
				replace access_token REDACTED
				replace secret REDACTED
				replace appsecret REDACTED
				replace corpsecret REDACTED
			}
		}
	}
	%s
	weixin {
		%s
		%s
	}
}
%s {
	log
	%s
}
`, strings.TrimPrefix(p.admin, "http://"), c.options, where, c.global, p.url, strings.ReplaceAll(c.site, "UPSTREAM", w.URL))
	}
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// reload has the process load a changed Caddyfile.
func (p *caddy) reload(w *weChat, c config) {
	p.t.Helper()
	p.write(w, c)
	text, err := os.ReadFile(p.file)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.Post(p.admin+"/load", "text/caddyfile", bytes.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		p.t.Fatalf("reload: %s: %s", res.Status, body)
	}
	if !eventually(func() bool { return !listensTwice(p.t) }) {
		p.t.Fatal("the old configuration goes on listening")
	}
	client.CloseIdleConnections()
}

func (p *caddy) waitUntilServing() {
	p.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		select {
		case <-p.exited:
			p.t.Fatalf("Caddy ended:\n%s", p.logs.lastLines())
		case <-time.After(20 * time.Millisecond):
		}
		if p.logs.contains(`"msg":"serving initial configuration"`) {
			return
		}
	}
	p.t.Fatal("Caddy does not serve")
}

// stop ends the process as an operator would.
func (p *caddy) stop() {
	p.signal(syscall.SIGTERM)
}

// kill ends the process as a crash would.
func (p *caddy) kill() {
	p.signal(syscall.SIGKILL)
}

func (p *caddy) signal(sig syscall.Signal) {
	select {
	case <-p.exited:
		return
	default:
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		p.t.Error("Caddy did not end")
	}
}

// checkLogs looks for what must never be logged, and for data races.
func (p *caddy) checkLogs(w *weChat) {
	log := p.logs.String()
	for _, secret := range slices.Concat(w.issuedTokens(), w.secrets, []string{appSecret}) {
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) {
				p.t.Errorf("a secret is in the log: %s", strings.ReplaceAll(line, secret, "SECRET"))
			}
		}
	}
	if races := dataRaces(log); races != "" {
		p.t.Errorf("data race:\n%s", races)
	}
	if strings.Contains(log, "panic") {
		p.t.Errorf("panic:\n%s", log)
	}
}

// logged returns the log lines with a message.
func (p *caddy) logged(msg string) []map[string]any {
	var lines []map[string]any
	for s := bufio.NewScanner(strings.NewReader(p.logs.String())); s.Scan(); {
		var line map[string]any
		if json.Unmarshal(s.Bytes(), &line) == nil && line["msg"] == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

// rss returns the process's resident memory in bytes.
func (p *caddy) rss() int {
	p.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		p.t.Fatal(err)
	}
	return resident * os.Getpagesize()
}

// run runs a Caddy command to its end.
func run(t *testing.T, env []string, args ...string) (output string, ok bool) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// logBuffer collects a process's output.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) contains(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.buf.Bytes(), []byte(s))
}

// lastLines returns the end of the log, without what is there in every case.
func (b *logBuffer) lastLines() string {
	const most = 60
	var lines []string
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, `"level":"debug"`) && !strings.Contains(line, "http.log.access") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "")
}
