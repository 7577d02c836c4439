// Command authorizers measures what a third-party platform with very many
// authorizers costs, of which few are in use:
//
//	go run ./bench/authorizers
//	go run ./bench/authorizers -redis 20000 -files 2000 -use 1000
//
// A Redis server is started for it, and a directory made for Caddy's file storage.
// A process of its own fills the store with records as the proxy writes them, and
// syncs the platform; this one then meets some of the authorizers for the first
// time. WeChat is played without a network, so times are those of proxy and store.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "authorizers:", err)
		os.Exit(1)
	}
}

// fillCommand is the argument with which this program fills a store.
const fillCommand = "fill"

// command is what was asked for.
type command struct {
	redis, files int // authorizers in the store
	use          int // of them are in use
	dir          string
}

func run(ctx context.Context, args []string, stdout, progress io.Writer) error {
	if len(args) > 0 && args[0] == fillCommand {
		return fillAs(ctx, args[1:], stdout)
	}
	var c command
	flags := flag.NewFlagSet("authorizers", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.IntVar(&c.redis, "redis", 1_000_000, "how many are in Redis; 0 leaves that out")
	flags.IntVar(&c.files, "files", 100_000, "how many are in Caddy's file storage; 0 leaves that out")
	flags.IntVar(&c.use, "use", 10_000, "how many of them are in use")
	flags.StringVar(&c.dir, "dir", "", "where to make the directory of the file storage; default: that of temporary files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.redis < 0 || c.files < 0 || c.use < 1 || flags.NArg() > 0 {
		return errors.New("write numbers that are not negative, and nothing else")
	}
	return c.measure(ctx, stdout, progress)
}

// measure measures both stores, and prints a table.
func (c *command) measure(ctx context.Context, stdout, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp(c.dir, "caddy-weixin-authorizers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var columns []column
	for _, p := range []place{
		{title: "Redis", authorizers: c.redis, open: openRedis},
		{title: "files", authorizers: c.files, open: openFiles},
	} {
		if p.authorizers == 0 {
			continue
		}
		measured, err := p.measure(ctx, dir, min(c.use, p.authorizers), progress)
		if err != nil {
			return fmt.Errorf("%s: %w", p.title, err)
		}
		columns = append(columns, measured)
	}
	writeTable(stdout, columns)
	return nil
}
