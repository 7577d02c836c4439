package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	tests := []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{7}, spread{7, 7, 7, 7, 7}},
		{[]float64{2, 1}, spread{1.5, 1.25, 1.75, 1, 2}},
		{[]float64{5, 1, 4, 2, 3}, spread{3, 2, 4, 1, 5}},
		{[]float64{1, 2, 3, 100}, spread{2.5, 1.75, 27.25, 1, 100}},
	}
	for _, test := range tests {
		before := slices.Clone(test.values)
		if got := newSpread(test.values); got != test.want {
			t.Errorf("%v: %+v", test.values, got)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("%v was changed", before)
		}
	}
}

func TestLatency(t *testing.T) {
	var took []time.Duration
	for i := range 101 {
		took = append(took, time.Duration(100-i)*time.Microsecond)
	}
	if p50, p99 := latency(took, 0.5), latency(took, 0.99); p50 != 50 || p99 != 99 {
		t.Errorf("%v, %v", p50, p99)
	}
	if latency(nil, 0.5) != 0 {
		t.Error("a latency of nothing")
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 17 42 42 0 -1 4194560 1100 0 2 0 123 45 6 7 20 0 9 0 1234 5678 910 18446744073709551615"
	for _, name := range []string{"nginx", "nginx: worker", "a) R (b", ")"} {
		stat, err := parseStat([]byte("4711 (" + name + ")" + rest))
		if err != nil || stat.parent != 17 || stat.cpu != 1680*time.Millisecond {
			t.Errorf("%s: %+v, %v", name, stat, err)
		}
	}
	for _, line := range []string{"", "1 (a)", "1 (a) S 2 3", "1 (a) S x 42 42 0 -1 4194560 1100 0 2 0 123 45 6"} {
		if _, err := parseStat([]byte(line)); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

func TestParseStatus(t *testing.T) {
	resident, peak, err := parseStatus([]byte("Name:\tcaddy\nVmPeak:\t  999 kB\nVmHWM:\t    300 kB\nVmRSS:\t    200 kB\nThreads:\t5\n"))
	if resident != 200<<10 || peak != 300<<10 || err != nil {
		t.Errorf("%d, %d, %v", resident, peak, err)
	}
	for _, status := range []string{"", "Name:\tkthreadd\n", "VmHWM:\tmuch\n"} {
		if _, _, err := parseStatus([]byte(status)); err == nil {
			t.Errorf("%q: no error", status)
		}
	}
}

// A process below another one is accounted for.
func TestAccounting(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	p, err := startProcess(t.TempDir(), "shell", nil, nil, "/bin/sh", "-c", "(while :; do :; done) & wait")
	if err != nil {
		t.Fatal(err)
	}
	pid := p.cmd.Process.Pid
	for {
		cpu, err := cpuTime(pid)
		if err != nil {
			t.Fatal(err)
		}
		if cpu >= 5*clockTick {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	tree, err := processTree(pid)
	if err != nil || len(tree) != 2 {
		t.Errorf("%v, %v", tree, err)
	}
	if resident, peak, err := memory(pid); resident <= 0 || peak < resident || err != nil {
		t.Errorf("%d, %d, %v", resident, peak, err)
	}
	for child := range tree {
		if process, err := os.FindProcess(child); child != pid && err == nil {
			_ = process.Kill()
		}
	}
	p.stop()
	if _, err := cpuTime(pid); err == nil {
		t.Error("a process that is gone has no CPU time")
	}
}

// Requests that fail are counted, and the report says why.
func TestErrorsAreShown(t *testing.T) {
	s := newTestStage(t)
	good := &peer{kind: &kind{name: "good", title: "good"}, dial: s.dialTLS, token: staticToken}
	bad := &peer{kind: &kind{name: "bad", title: "bad"}, dial: s.dialTLS, token: "wrong"}
	gone := &peer{kind: &kind{name: "gone", title: "gone"}, dial: func(context.Context) (net.Conn, error) {
		return nil, net.ErrClosed
	}}
	r := &run{options: options{Rounds: 1, Slice: 20 * time.Millisecond, Connections: 2, Rate: 1000}, peers: []*peer{good, bad, gone}, progress: t.Output()}
	if err := r.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	result, err := r.report()
	if err != nil {
		t.Fatal(err)
	}
	if n := result.peer("good").Errors; n != 0 {
		t.Errorf("%d errors of the good one: %v", n, result.peer("good").Causes)
	}
	for name, cause := range map[string]string{"bad": "40001", "gone": net.ErrClosed.Error()} {
		p := result.peer(name)
		if p.Errors == 0 || len(p.Causes) != len(scenarios)+1 || !strings.Contains(p.Causes[0], cause) {
			t.Errorf("%s: %d errors: %q", name, p.Errors, p.Causes)
		}
		if rate := p.Scenarios["get"].Rate.Max; rate != 0 {
			t.Errorf("%s: %v requests/s", name, rate)
		}
	}
	var out bytes.Buffer
	result.writeMarkdown(&out)
	if !strings.Contains(out.String(), "## Errors") || !strings.Contains(out.String(), "- bad: GET") {
		t.Error(out.String())
	}
}

// Wrong answers end a run before it begins.
func TestCheck(t *testing.T) {
	s := newTestStage(t)
	k := &kind{name: "direct"}
	if err := s.check(t.Context(), []*peer{{kind: k, dial: s.dialTLS, token: staticToken}}); err != nil {
		t.Error(err)
	}
	c := &control{client: newClient(s.dialTLS)}
	defer c.client.close()
	err := verify(t.Context(), c, []*peer{{kind: k, dial: s.dialTLS, token: makeToken(2)}})
	if err == nil || !strings.Contains(err.Error(), "40001") {
		t.Errorf("with a wrong token: %v", err)
	}
	// It passes everything on, but replaces no token.
	err = verify(t.Context(), c, []*peer{{kind: &kind{name: "fetches", fetches: true}, dial: s.dialTLS, token: makeToken(1)}})
	if err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("without a replay: %v", err)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	table := newTable("peer", "µs")
	table.row("Caddy", "1")
	table.row("us", "1234")
	table.write(&out)
	const want = "| peer  |   µs |\n| ----- | ---: |\n| Caddy |    1 |\n| us    | 1234 |\n"
	if out.String() != want {
		t.Errorf("\n%s", out.String())
	}
}

// Ratios and differences are of the right figures.
func TestScenarioTable(t *testing.T) {
	figures := func(rate, cpu float64) map[string]scenarioReport {
		return map[string]scenarioReport{"get": {Rate: newSpread([]float64{rate}), CPU: newSpread([]float64{cpu})}}
	}
	r := &report{Peers: []peerReport{
		{Name: tuned, Title: "tuned", Proxy: true, Scenarios: figures(1000, 100)},
		{Name: floor, Title: "floor", Proxy: true, Scenarios: figures(3000, 30)},
		{Name: us, Title: "us", Proxy: true, Scenarios: figures(2500, 42.5)},
	}}
	var out strings.Builder
	r.writeScenario(&out, &scenarios[0])
	got := strings.Join(strings.Fields(out.String()), " ")
	if want := "| us | 2500 (2500–2500) | 2500 | 2.50 | 42.5 (42.5–42.5) | 0.42 | +12.5 | 0 |"; !strings.Contains(got, want) {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestRotated(t *testing.T) {
	a, b, c := new(peer), new(peer), new(peer)
	if got := rotated([]*peer{a, b, c}, 4); !slices.Equal(got, []*peer{b, c, a}) {
		t.Error("not rotated")
	}
}

// Packets take their time and stay in order, and more than one is under way.
func TestPump(t *testing.T) {
	const delay, packets = 50 * time.Millisecond, 10
	near, nearEnd := net.Pipe()
	far, farEnd := net.Pipe()
	defer near.Close()
	defer far.Close()
	go pump(nearEnd, farEnd, delay)
	begin := time.Now()
	for i := range packets {
		if _, err := near.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1)
	for i := range packets {
		if _, err := far.Read(buf); err != nil || buf[0] != byte(i) {
			t.Fatalf("packet %d: %d, %v", i, buf[0], err)
		}
	}
	if took := time.Since(begin); took < delay || took > packets/2*delay {
		t.Errorf("%d packets took %v", packets, took)
	}
}

func TestLinkAddresses(t *testing.T) {
	near, far := linkAddresses(1<<14 - 1)
	if near != "198.18.255.253" || far != "198.18.255.254" {
		t.Error(near, far)
	}
}

func TestUploadIsAForm(t *testing.T) {
	call := uploadCall("")
	_, body, _ := bytes.Cut(call.request, []byte("\r\n\r\n"))
	if len(body) != uploadSize {
		t.Fatalf("%d bytes", len(body))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "multipart/form-data; boundary=bench")
	if _, _, err := req.FormFile("media"); err != nil {
		t.Error(err)
	}
}
