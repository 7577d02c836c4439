package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// browser is a headless Chromium, driven by its DevTools protocol over a pipe:
// JSON messages that end in a zero byte. That needs no library.
type browser struct {
	t   *testing.T
	to  *os.File
	cmd *exec.Cmd

	mu      sync.Mutex
	lastID  int
	answers map[int]chan devToolsMessage
	tabs    map[string]*tab // by session
}

type devToolsMessage struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

var profiles atomic.Int32

func startBrowser(t *testing.T) *browser {
	t.Helper()
	programtest.Require(t, "chromium")
	fromTest, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, toTest, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, which fails the test where Chromium's children write a
	// little longer than it lives.
	profile := filepath.Join(buildDir, fmt.Sprintf("chromium-%d", profiles.Add(1)))
	b := &browser{t: t, to: to, answers: make(map[int]chan devToolsMessage), tabs: make(map[string]*tab)}
	b.cmd = exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--host-resolver-rules=MAP proxy.internal 127.0.0.1, MAP evil.example 127.0.0.1",
		"--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+profile)
	b.cmd.ExtraFiles = []*os.File{fromTest, toTest}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromTest.Close()
	toTest.Close()
	go b.read(from)
	t.Cleanup(func() {
		_, _ = to.WriteString(`{"id":1000000,"method":"Browser.close"}` + "\x00")
		ended := make(chan error, 1)
		go func() { ended <- b.cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = b.cmd.Process.Kill()
			<-ended
		}
		to.Close()
		from.Close()
	})
	return b
}

func (b *browser) read(from *os.File) {
	for r := bufio.NewReader(from); ; {
		data, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m devToolsMessage
		if json.Unmarshal(data[:len(data)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if answer, ok := b.answers[m.ID]; ok && m.ID != 0 {
			delete(b.answers, m.ID)
			answer <- m
		} else if tab := b.tabs[m.SessionID]; tab != nil {
			tab.note(m)
		}
		b.mu.Unlock()
	}
}

// call calls a method and returns its result.
func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	encoded, err := json.Marshal(params)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.lastID++
	m := devToolsMessage{ID: b.lastID, SessionID: session, Method: method, Params: encoded}
	answer := make(chan devToolsMessage, 1)
	b.answers[m.ID] = answer
	b.mu.Unlock()
	data, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(data, 0)); err != nil {
		b.t.Fatalf("Chromium is gone: %v", err)
	}
	select {
	case m = <-answer:
	case <-time.After(30 * time.Second):
		b.t.Fatalf("%s: no answer", method)
	}
	if m.Error != nil {
		b.t.Fatalf("%s: %s", method, m.Error.Message)
	}
	if result != nil {
		if err := json.Unmarshal(m.Result, result); err != nil {
			b.t.Fatal(err)
		}
	}
}

type none struct{}

// tab is a tab of the browser. What goes wrong on its pages fails the test.
type tab struct {
	b       *browser
	session string
	trouble []string
}

// view is how a tab looks at pages.
type view struct {
	width, height int
	dark          bool
	language      string
	headers       map[string]string
}

func (b *browser) open(v view) *tab {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	tab := &tab{b: b, session: attached.SessionID}
	b.mu.Lock()
	b.tabs[tab.session] = tab
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tab.call(domain+".enable", none{}, nil)
	}
	if v.height == 0 {
		v.height = 800
	}
	tab.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.width, "height": v.height, "deviceScaleFactor": 1, "mobile": false}, nil)
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	tab.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	headers := map[string]string{"Accept-Language": v.language}
	maps.Copy(headers, v.headers)
	tab.call("Network.setExtraHTTPHeaders", map[string]any{"headers": headers}, nil)
	b.t.Cleanup(tab.wantNoTrouble)
	return tab
}

func (tab *tab) call(method string, params, result any) {
	tab.b.t.Helper()
	tab.b.call(tab.session, method, params, result)
}

// note keeps what the page reports. The browser is locked.
func (tab *tab) note(m devToolsMessage) {
	switch m.Method {
	case "Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled":
		tab.trouble = append(tab.trouble, m.Method+": "+string(m.Params))
	}
}

// takeTrouble returns what has gone wrong since the last time.
func (tab *tab) takeTrouble() []string {
	tab.b.mu.Lock()
	defer tab.b.mu.Unlock()
	trouble := tab.trouble
	tab.trouble = nil
	return trouble
}

// wantNoTrouble fails the test for errors in the console, such as those of the
// content security policy.
func (tab *tab) wantNoTrouble() {
	tab.b.t.Helper()
	for _, trouble := range tab.takeTrouble() {
		tab.b.t.Errorf("the page reports %s", trouble)
	}
}

func (tab *tab) load(url string) {
	tab.b.t.Helper()
	var result struct{ ErrorText string }
	tab.call("Page.navigate", map[string]any{"url": url}, &result)
	if result.ErrorText != "" {
		tab.b.t.Fatalf("%s: %s", url, result.ErrorText)
	}
	tab.wait(`document.readyState === "complete" && location.href !== "about:blank"`)
}

// eval evaluates an expression in the page.
func (tab *tab) eval(expression string, value any) {
	tab.b.t.Helper()
	var result struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	tab.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &result)
	if len(result.ExceptionDetails) > 0 {
		tab.b.t.Fatalf("%s: %s", expression, result.ExceptionDetails)
	}
	if value != nil && len(result.Result.Value) > 0 {
		if err := json.Unmarshal(result.Result.Value, value); err != nil {
			tab.b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

// text returns what an element says.
func (tab *tab) text(selector string) string {
	tab.b.t.Helper()
	var text string
	tab.eval(fmt.Sprintf("(document.querySelector(%q) || {innerText: ''}).innerText", selector), &text)
	return text
}

// wait waits until an expression is true.
func (tab *tab) wait(expression string) {
	tab.b.t.Helper()
	if !eventually(func() bool {
		var is bool
		tab.eval("!!("+expression+")", &is)
		return is
	}) {
		tab.b.t.Errorf("never: %s; the page says:\n%s", expression, tab.text("body"))
	}
}

// waitText waits until an element says something.
func (tab *tab) waitText(selector, contains string) {
	tab.b.t.Helper()
	if !eventually(func() bool { return strings.Contains(tab.text(selector), contains) }) {
		tab.b.t.Errorf("%s never says %q; the page says:\n%s", selector, contains, tab.text("body"))
	}
}

// click clicks where an element is, which has to be visible.
func (tab *tab) click(selector string) {
	tab.b.t.Helper()
	var at struct{ X, Y float64 }
	tab.eval(fmt.Sprintf(`(() => {
		const element = document.querySelector(%q);
		element.scrollIntoView({block: "center", behavior: "instant"});
		const box = element.getBoundingClientRect(), at = {x: box.x + box.width / 2, y: box.y + box.height / 2};
		if (document.elementFromPoint(at.x, at.y) !== element) throw new Error("it cannot be clicked");
		return at;
	})()`, selector), &at)
	for _, event := range []string{"mousePressed", "mouseReleased"} {
		tab.call("Input.dispatchMouseEvent", map[string]any{"type": event, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// screenshot writes what the tab shows into the directory SCREENSHOTS, if that
// is set.
func (tab *tab) screenshot(name string) {
	tab.b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	tab.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o600)
	}
	if err != nil {
		tab.b.t.Error(err)
	}
}
