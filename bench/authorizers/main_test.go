package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/programtest"
)

// TestMain fills a store where the test has it done.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == fillCommand {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// The whole command works, and what it shows is complete. Figures of so few mean
// nothing.
func TestAuthorizers(t *testing.T) {
	programtest.Require(t, "redis-server")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-redis", "1500", "-files", "300", "-use", "50", "-dir", t.TempDir()}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 17 || !strings.Contains(lines[0], "1,500 authorizers in Redis") || !strings.Contains(lines[0], "300 authorizers in files") {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if strings.Count(line, "|") != 4 {
			t.Errorf("no line of the table: %s", line)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-redis", "-1"}, {"-use", "0"}, {"more"}, {"fill"}, {"fill", "Redis", "redis://127.0.0.1:1", "many"}} {
		if err := run(t.Context(), args, t.Output(), t.Output()); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1_000_000: "1,000,000", 12345: "12,345"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
