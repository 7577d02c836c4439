package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	// It is in the Caddy that is built below. Were it not imported, `go test`
	// would take results for good that are from before it was changed.
	_ "github.com/caddy-weixin/caddy-weixin"
)

// TestMain is the upstream where the tests start it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == upstreamCommand {
		exit(runUpstream(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// The whole command works, and what it shows is complete. Figures of slices as
// short as these mean nothing.
func TestBench(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux only")
	}
	caddy, err := buildCaddy(t.Context(), t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("load", func(t *testing.T) { testLoad(t, caddy) })
	t.Run("latency", func(t *testing.T) { testLatency(t, caddy) })
}

func testLoad(t *testing.T, caddy string) {
	names := []string{"direct", "nginx", "nginx-lua", "us", "us-metrics"}
	file := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	err := bench(t.Context(), []string{
		"-rounds", "1", "-slice", "50ms", "-connections", "4", "-rate", "400",
		"-peers", strings.Join(names, ","), "-json", file, "-caddy", caddy,
	}, &out, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	for _, l := range r.LeftOut {
		if !strings.HasPrefix(l.Name, "nginx") || !strings.Contains(out.String(), l.Reason) {
			t.Errorf("%s is left out: %s", l.Name, l.Reason)
		}
	}
	if len(r.Peers)+len(r.LeftOut) != len(names) {
		t.Errorf("%d peers and %d left out of %d", len(r.Peers), len(r.LeftOut), len(names))
	}
	tables := strings.Split(out.String(), "\n## ")[1:]
	if want := len(scenarios) + 2; len(tables) != want {
		t.Fatalf("%d tables instead of %d", len(tables), want)
	}
	for _, p := range r.Peers {
		t.Run(p.Name, func(t *testing.T) {
			if p.Errors != 0 || len(p.Causes) != 0 {
				t.Errorf("%d errors: %q", p.Errors, p.Causes)
			}
			for _, s := range scenarios {
				if rate := p.Scenarios[s.name].Rate; rate.Min <= 0 || rate.Median <= 0 {
					t.Errorf("%s: %+v", s.name, rate)
				}
			}
			if p.LowLoad.Requests == 0 || p.LowLoad.P50 <= 0 || p.LowLoad.P99 < p.LowLoad.P50 {
				t.Errorf("low load: %+v", p.LowLoad)
			}
			if p.Proxy && (p.Memory.Initial <= 0 || p.Memory.Peak < p.Memory.Initial) {
				t.Errorf("memory: %+v", p.Memory)
			}
			if p.Name == us && p.Scenarios["upload"].CPU.Median <= 0 {
				t.Error("an upload costs no CPU time")
			}
			for _, table := range tables {
				shown := strings.Contains(table, "| "+p.Title+" ")
				if wanted := p.Proxy || !strings.HasPrefix(table, "Memory"); shown != wanted {
					t.Errorf("shown: %v in\n%s", shown, table)
				}
			}
		})
	}
}

func testLatency(t *testing.T, caddy string) {
	var out bytes.Buffer
	err := bench(t.Context(), []string{
		"-latency", "-round-trip", "10ms", "-calls", "3", "-quiet", "10ms", "-caddy", caddy,
	}, &out, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	if strings.Contains(out.String(), "Left out: no link") {
		t.Skip("only root can, with /dev/net/tun")
	}
	for _, way := range []string{"no proxy, TLS 1.3", "no proxy, TLS 1.2", "us"} {
		var p50, p99, relative13, relative12, quiet float64
		var calls, errors int
		_, row, ok := strings.Cut(out.String(), "\n| "+way+" ")
		_, err := fmt.Sscanf(strings.TrimLeft(row, " "), "| %f | %f | %f | %f | %f | %d | %d |", &p50, &p99, &relative13, &relative12, &quiet, &calls, &errors)
		if !ok || err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if p50 < 10 || p99 < p50 || quiet < 10 || calls != 3 || errors != 0 {
			t.Errorf("%s: p50 %v, p99 %v, first %v, %d calls, %d errors", way, p50, p99, quiet, calls, errors)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range []string{"-rounds 0", "-slice 0s", "-connections -1", "-rate 0", "-nonsense", "words", "-calls 0", "-quiet -1s", "-peers nobody"} {
		if _, err := parseCommand(strings.Fields(args), t.Output()); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
	c, err := parseCommand([]string{"-short", "-rounds", "7"}, t.Output())
	if err != nil || c.Rounds != 7 || c.Slice.Milliseconds() != 200 {
		t.Errorf("%+v, %v", c, err)
	}
	if c.line != "go run ./bench -short -rounds 7" {
		t.Error(c.line)
	}
}

func TestChooseKinds(t *testing.T) {
	tests := []struct {
		names string
		extra bool
		want  string
	}{
		{"", false, "direct caddy caddy-tuned nginx nginx-lua respond us"},
		{"", true, "direct caddy caddy-tuned nginx nginx-lua respond us us-metrics"},
		{"us,direct", false, "direct us"},
		{"us-metrics", false, "us-metrics"},
		{"us,nonsense", false, ""},
	}
	for _, test := range tests {
		chosen, err := chooseKinds(test.names, test.extra)
		var got []string
		for _, k := range chosen {
			got = append(got, k.name)
		}
		if strings.Join(got, " ") != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%q: %q, %v", test.names, got, err)
		}
	}
}
