package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// Clients such as PHP's keep nothing between two calls: each opens a
// connection, and to WeChat that is a handshake over TCP and one over TLS. The
// proxy is near and keeps its connections to WeChat open.

type latencyOptions struct {
	on        bool
	roundTrip time.Duration
	calls     int
	quiet     time.Duration
}

// oneShot is a way to make a call on a connection of its own.
type oneShot struct {
	title  string
	peer   *peer // nil without a proxy
	dial   dialer
	call   *call
	took   []time.Duration
	errors int
	first  error
	quiet  time.Duration // the call after nobody has called
}

func (o *oneShot) do(ctx context.Context) (time.Duration, error) {
	c := newClient(o.dial)
	defer c.abort()
	begin := time.Now()
	err := c.do(ctx, o.call)
	return time.Since(begin), err
}

// count makes a call that is counted.
func (o *oneShot) count(ctx context.Context) {
	d, err := o.do(ctx)
	if err == nil {
		o.took = append(o.took, d)
		return
	}
	o.errors++
	if o.first == nil {
		o.first = err
	}
}

// measureLatency measures calls over a link that is slow.
func (c *command) measureLatency(ctx context.Context, s *stage, stdout, progress io.Writer) error {
	l, err := newLink(ctx, c.latency.roundTrip/2)
	if err != nil {
		fmt.Fprintf(stdout, "Left out: no link with a delay can be made here: %v\n", err)
		return nil
	}
	defer l.close()
	defer s.close() // before the link
	m := describeMachine(s.caddy, &s.nginx)
	if err := s.startUpstream(ctx, net.JoinHostPort(l.far, "8443"), l.enter); err != nil {
		return err
	}
	direct := getCall(staticToken)
	ways := []*oneShot{
		{title: "no proxy, TLS 1.3", call: &direct, dial: s.dialTLS},
		{title: "no proxy, TLS 1.2", call: &direct, dial: func(ctx context.Context) (net.Conn, error) { return s.dialTLSVersion(ctx, tls.VersionTLS12) }},
	}
	var peers []*peer
	var missing []leftOut
	for _, k := range c.kinds {
		if k.engine == noProxy || k.answers != nil {
			continue // there is nothing to compare
		}
		if reason := s.nginx.leftOut(k); reason != "" {
			missing = append(missing, leftOut{Name: k.name, Reason: reason})
			continue
		}
		p, err := s.start(ctx, k)
		if err != nil {
			return err
		}
		peers = append(peers, p)
		ways = append(ways, &oneShot{title: p.title, peer: p, call: p.call(getCall), dial: p.dial})
	}
	fmt.Fprintln(progress, "checking answers")
	if err := s.check(ctx, peers); err != nil {
		return err
	}
	measured, err := measureRoundTrip(ctx, s.upstream)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "%d calls of each kind\n", c.latency.calls)
	for round := range c.latency.calls {
		for i := range ways {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ways[(i+round)%len(ways)].count(ctx)
		}
	}
	if err := c.afterQuiet(ctx, ways, progress); err != nil {
		return err
	}

	m.write(stdout, c.line)
	fmt.Fprintf(stdout, "\n## One connection per call, %v to the upstream\n\n"+
		"GET. The link: %s; a connection over it takes %v.\n\n", c.latency.roundTrip, l.how, measured.Round(10*time.Microsecond))
	failed := writeOneShots(stdout, ways, c.latency.quiet)
	for _, l := range missing {
		fmt.Fprintf(stdout, "\nLeft out: %s: %s\n", l.Name, l.Reason)
	}
	if c.jsonFile != "" {
		r := newFarReport(ways)
		r.Command, r.Machine, r.Link, r.RoundTrip, r.LeftOut = c.line, m, l.how, milliseconds(measured), missing
		if err := writeJSON(c.jsonFile, r); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d calls failed", failed)
	}
	return nil
}

// farReport is what such a run has found, as it is written with -json. Times
// are in milliseconds.
type farReport struct {
	Command   string      `json:"command"`
	Machine   machine     `json:"machine"`
	Link      string      `json:"link"`
	RoundTrip float64     `json:"round_trip_ms"`
	Ways      []wayReport `json:"ways"`
	LeftOut   []leftOut   `json:"left_out,omitempty"`
}

type wayReport struct {
	Title  string  `json:"title"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Quiet  float64 `json:"after_quiet_ms,omitempty"`
	Calls  int     `json:"calls"`
	Errors int     `json:"errors"`
}

func newFarReport(ways []*oneShot) *farReport {
	r := new(farReport)
	for _, o := range ways {
		r.Ways = append(r.Ways, wayReport{
			Title: o.title, P50: latency(o.took, 0.5) / 1e3, P99: latency(o.took, 0.99) / 1e3,
			Quiet: milliseconds(o.quiet), Calls: len(o.took), Errors: o.errors,
		})
	}
	return r
}

// afterQuiet makes one call of each kind after nobody has made any for a while:
// does the proxy still have a connection then?
func (c *command) afterQuiet(ctx context.Context, ways []*oneShot, progress io.Writer) error {
	if c.latency.quiet == 0 {
		return nil
	}
	fmt.Fprintf(progress, "silence for %v\n", c.latency.quiet)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(c.latency.quiet):
	}
	for _, o := range ways {
		d, err := o.do(ctx)
		if err != nil {
			return fmt.Errorf("%s, after %v: %w", o.title, c.latency.quiet, err)
		}
		o.quiet = d
	}
	return nil
}

// writeOneShots writes the table and returns how many calls failed.
func writeOneShots(w io.Writer, ways []*oneShot, quiet time.Duration) (failed int) {
	header := []string{"way", "p50, ms", "p99, ms", "p50 / TLS 1.3", "p50 / TLS 1.2"}
	if quiet > 0 {
		header = append(header, fmt.Sprintf("first after %v, ms", quiet))
	}
	t := newTable(append(header, "calls", "errors")...)
	r := newFarReport(ways).Ways
	for _, o := range r {
		row := []string{
			o.Title, fmt.Sprintf("%.2f", o.P50), fmt.Sprintf("%.2f", o.P99),
			fmt.Sprintf("%.3f", ratio(o.P50, r[0].P50)), fmt.Sprintf("%.3f", ratio(o.P50, r[1].P50)),
		}
		if quiet > 0 {
			row = append(row, fmt.Sprintf("%.2f", o.Quiet))
		}
		t.row(append(row, strconv.Itoa(o.Calls), strconv.Itoa(o.Errors))...)
		failed += o.Errors
	}
	t.write(w)
	for _, o := range ways {
		if o.errors > 0 {
			fmt.Fprintf(w, "\n%s: %d errors, the first one: %v\n", o.title, o.errors, o.first)
		}
	}
	return failed
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// measureRoundTrip returns how long a connection takes, which is one round trip.
func measureRoundTrip(ctx context.Context, address string) (time.Duration, error) {
	var took []time.Duration
	for range 9 {
		begin := time.Now()
		conn, err := dialTCP(address)(ctx)
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
		_ = conn.Close()
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
