// Command bench measures the proxy beside its peers, in one run and on one
// machine:
//
//	go run ./bench
//	go run ./bench -short -peers caddy-tuned,us
//	go run ./bench -latency
//
// Clients speak plain HTTP to the peers, and these speak TLS to an upstream on
// the same machine, in a process of its own. Client and upstream are written
// to cost little, but they share the cores with the peer, so throughput says
// how peers compare and not what one alone can do. CPU time per request is the
// figure that holds on other machines.
//
// With -latency the upstream is 30 ms away, and clients open a connection per
// call, as PHP does. That needs root.
//
// Figures are only worth something if the machine has nothing else to do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == upstreamCommand {
		exit(runUpstream(os.Args[2:], os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	exit(err)
}

func exit(err error) {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// upstreamCommand is the argument with which this program is the upstream.
const upstreamCommand = "upstream"

// command is what was asked for.
type command struct {
	options
	line     string
	kinds    []*kind
	jsonFile string
	caddy    string
	latency  latencyOptions
}

func parseCommand(args []string, usage io.Writer) (*command, error) {
	c := &command{line: strings.Join(append([]string{"go run ./bench"}, args...), " ")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.IntVar(&c.Rounds, "rounds", 10, "how often every peer is measured")
	flags.DurationVar(&c.Slice, "slice", time.Second, "how long every time")
	flags.IntVar(&c.Connections, "connections", 64, fmt.Sprintf("of the clients; at most %d with large bodies", bodyConnections))
	flags.IntVar(&c.Rate, "rate", 200, "requests per second at low load")
	short := flags.Bool("short", false, "3 rounds with slices of 200ms: to see that all is well, not to compare")
	peers := flags.String("peers", "", "which of "+kindNames()+"; default: all but the extra ones; with -latency, us")
	metrics := flags.Bool("metrics", false, "the extra peers, too: what do Caddy's metrics cost?")
	flags.StringVar(&c.jsonFile, "json", "", "file to write all figures to")
	flags.StringVar(&c.caddy, "caddy", "", "a Caddy with the module, instead of building one")
	flags.BoolVar(&c.latency.on, "latency", false, "measure what clients that connect for every call gain where the upstream is far away")
	flags.DurationVar(&c.latency.roundTrip, "round-trip", 30*time.Millisecond, "to that upstream")
	flags.IntVar(&c.latency.calls, "calls", 100, "of every kind, with -latency")
	flags.DurationVar(&c.latency.quiet, "quiet", time.Minute, "how long nobody calls before the last one, with -latency; 0 leaves it out")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("what is %q?", flags.Arg(0))
	}
	if *short {
		given := make(map[string]bool)
		flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
		if !given["rounds"] {
			c.Rounds = 3
		}
		if !given["slice"] {
			c.Slice = 200 * time.Millisecond
		}
		if !given["calls"] {
			c.latency.calls = 20
		}
		if !given["quiet"] {
			c.latency.quiet = 2 * time.Second
		}
	}
	if c.Rounds < 1 || c.Slice <= 0 || c.Connections < 1 || c.Rate < 1 || c.latency.calls < 1 || c.latency.roundTrip <= 0 || c.latency.quiet < 0 {
		return nil, errors.New("numbers and durations have to be positive")
	}
	if c.latency.on && *peers == "" {
		*peers = us
	}
	var err error
	c.kinds, err = chooseKinds(*peers, *metrics)
	return c, err
}

func kindNames() string {
	var names []string
	for _, k := range kinds {
		if k.extra {
			k.name += " (extra)"
		}
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

// bench does what the arguments say. Tables go to stdout.
func bench(ctx context.Context, args []string, stdout, progress io.Writer) (err error) {
	c, err := parseCommand(args, progress)
	if err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errors.New("CPU time and memory of other processes are read from Linux's /proc, so this runs on Linux only")
	}
	dir, err := os.MkdirTemp("", "caddy-weixin-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &stage{dir: dir, nginx: findNginx(ctx)}
	defer s.close()
	if c.caddy != "" {
		s.caddy, err = filepath.Abs(c.caddy)
	} else {
		s.caddy, err = buildCaddy(ctx, dir, progress)
	}
	if err != nil {
		return err
	}
	if c.latency.on {
		return c.measureLatency(ctx, s, stdout, progress)
	}
	return c.measureLoad(ctx, s, stdout, progress)
}

// buildCaddy builds the project's Caddy. It is linked faster without what
// debuggers need, and runs the same.
func buildCaddy(ctx context.Context, dir string, progress io.Writer) (string, error) {
	fmt.Fprintln(progress, "building Caddy")
	path := filepath.Join(dir, "caddy-weixin")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path, "github.com/caddy-weixin/caddy-weixin/cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	return path, nil
}

// measureLoad is the ordinary run.
func (c *command) measureLoad(ctx context.Context, s *stage, stdout, progress io.Writer) error {
	m := describeMachine(s.caddy, &s.nginx)
	if err := s.startUpstream(ctx, "127.0.0.1:0", nil); err != nil {
		return err
	}
	r := &run{options: c.options, progress: progress}
	var missing []leftOut
	for _, k := range c.kinds {
		if reason := s.nginx.leftOut(k); reason != "" {
			missing = append(missing, leftOut{Name: k.name, Reason: reason})
			continue
		}
		p, err := s.start(ctx, k)
		if err != nil {
			return err
		}
		r.peers = append(r.peers, p)
	}
	if len(r.peers) == 0 {
		return fmt.Errorf("nothing to measure: %s", missing[0].Reason)
	}
	fmt.Fprintln(progress, "checking answers")
	if err := s.check(ctx, r.peers); err != nil {
		return err
	}
	if err := r.measure(ctx); err != nil {
		return err
	}
	result, err := r.report()
	if err != nil {
		return err
	}
	result.Command, result.Machine, result.LeftOut = c.line, m, missing
	result.writeMarkdown(stdout)
	if c.jsonFile != "" {
		if err := writeJSON(c.jsonFile, result); err != nil {
			return err
		}
	}
	if n := result.errors(); n > 0 {
		return fmt.Errorf("%d requests failed", n)
	}
	return nil
}

// check waits until all peers serve, and checks their answers.
func (s *stage) check(ctx context.Context, peers []*peer) error {
	for _, p := range peers {
		if err := awaitPeer(ctx, p); err != nil {
			return err
		}
	}
	c := &control{client: newClient(s.dialTLS)}
	defer c.client.close()
	return verify(ctx, c, peers)
}
