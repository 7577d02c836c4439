package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// report is what a run has found, as it is written with -json.
type report struct {
	Command string       `json:"command"`
	Machine machine      `json:"machine"`
	Options options      `json:"options"`
	Peers   []peerReport `json:"peers"`
	LeftOut []leftOut    `json:"left_out,omitempty"`
}

type peerReport struct {
	Name      string                    `json:"name"`
	Title     string                    `json:"title"`
	Proxy     bool                      `json:"proxy"`
	Scenarios map[string]scenarioReport `json:"scenarios"`
	LowLoad   latencyReport             `json:"low_load"`
	Memory    memoryReport              `json:"memory_bytes"`
	Errors    int                       `json:"errors"`
	Causes    []string                  `json:"error_causes,omitempty"`
}

type scenarioReport struct {
	Rate   spread `json:"requests_per_second"`
	CPU    spread `json:"cpu_us_per_request"`
	Errors int    `json:"errors"`
}

type latencyReport struct {
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Requests int     `json:"requests"`
}

func newLatencyReport(latencies []time.Duration) latencyReport {
	return latencyReport{P50: latency(latencies, 0.5), P99: latency(latencies, 0.99), Requests: len(latencies)}
}

type memoryReport struct {
	Initial int64 `json:"initial"`
	Peak    int64 `json:"peak"`
}

type leftOut struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// report gathers what was measured.
func (r *run) report() (*report, error) {
	result := &report{Options: r.options}
	for _, p := range r.peers {
		pr := peerReport{
			Name: p.name, Title: p.title, Proxy: p.process != nil,
			Scenarios: make(map[string]scenarioReport),
			LowLoad:   newLatencyReport(r.low[p].latencies),
		}
		count := func(what string, m *measurement) int {
			n, first := m.errors()
			pr.Errors += n
			if n > 0 {
				pr.Causes = append(pr.Causes, fmt.Sprintf("%s: %d, the first one: %v", what, n, first))
			}
			return n
		}
		for _, s := range scenarios {
			if m := r.load[p][s.name]; m != nil {
				pr.Scenarios[s.name] = scenarioReport{Rate: newSpread(m.rates()), CPU: newSpread(m.cpuPerRequest()), Errors: count(s.title, m)}
			}
		}
		count("low load", r.low[p])
		if p.process != nil {
			_, peak, err := memory(p.pid())
			if err != nil {
				return nil, p.failure(err)
			}
			pr.Memory = memoryReport{Initial: r.initial[p], Peak: peak}
		}
		result.Peers = append(result.Peers, pr)
	}
	return result, nil
}

// peer returns what was found about a peer, or nil.
func (r *report) peer(name string) *peerReport {
	for i := range r.Peers {
		if r.Peers[i].Name == name {
			return &r.Peers[i]
		}
	}
	return nil
}

// errors returns how many requests failed.
func (r *report) errors() int {
	n := 0
	for i := range r.Peers {
		n += r.Peers[i].Errors
	}
	return n
}

// writeJSON writes a report to a file.
func writeJSON(file string, report any) error {
	b, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// writeMarkdown writes tables for people.
func (r *report) writeMarkdown(w io.Writer) {
	r.Machine.write(w, r.Command)
	fmt.Fprintf(w, "\n%d rounds with slices of %v; median (quartiles) of the slices, and the best one.\n"+
		"CPU is the proxy's alone, in user and kernel mode. “×” is relative to the tuned `reverse_proxy`.\n",
		r.Options.Rounds, r.Options.Slice)
	for i := range scenarios {
		r.writeScenario(w, &scenarios[i])
	}
	r.writeLowLoad(w)
	r.writeMemory(w)
	if len(r.LeftOut) > 0 {
		fmt.Fprint(w, "\nLeft out:\n\n")
		for _, l := range r.LeftOut {
			fmt.Fprintf(w, "- %s: %s\n", l.Name, l.Reason)
		}
	}
	r.writeErrors(w)
}

func (m *machine) write(w io.Writer, command string) {
	t := newTable("", "")
	t.row("command", "`"+command+"`")
	t.row("date", m.Date.Format("2006-01-02 15:04 MST"))
	t.row("CPU", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores))
	t.row("kernel", m.Kernel)
	t.row("load before", m.Load)
	t.row("Go, Caddy, nginx", fmt.Sprintf("%s, %s, %s", m.Go, orDash(m.Caddy), orDash(m.Nginx)))
	t.row("commit", orDash(m.Commit))
	t.write(w)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func (r *report) writeScenario(w io.Writer, s *scenario) {
	connections := r.Options.Connections
	if s.connections > 0 {
		connections = min(connections, s.connections)
	}
	unit, cpuUnit, cpuDivisor := "requests/s", "µs", 1.0
	if s.bytes > 0 {
		unit, cpuUnit, cpuDivisor = "MB/s", "ms", 1000.0
	}
	header := []string{"peer", unit, "best", "×", "CPU " + cpuUnit + "/request", "×"}
	above := r.floor(s)
	if above != nil {
		header = append(header, "above `respond`, µs")
	}
	t := newTable(append(header, "errors")...)
	var reference scenarioReport
	if p := r.peer(tuned); p != nil {
		reference = p.Scenarios[s.name]
	}
	for i := range r.Peers {
		p := &r.Peers[i]
		sr, ok := p.Scenarios[s.name]
		if !ok {
			continue
		}
		row := []string{
			p.Title,
			fmt.Sprintf("%s (%s–%s)", s.rate(sr.Rate.Median), s.rate(sr.Rate.Q1), s.rate(sr.Rate.Q3)),
			s.rate(sr.Rate.Max),
			times(sr.Rate.Median, reference.Rate.Median),
		}
		if p.Proxy {
			row = append(row,
				fmt.Sprintf("%.1f (%.1f–%.1f)", sr.CPU.Median/cpuDivisor, sr.CPU.Q1/cpuDivisor, sr.CPU.Q3/cpuDivisor),
				times(sr.CPU.Median, reference.CPU.Median))
		} else {
			row = append(row, "–", "–")
		}
		switch {
		case above == nil:
		case p.Proxy && p.Name != floor:
			row = append(row, fmt.Sprintf("%+.1f", sr.CPU.Median-above.CPU.Median))
		default:
			row = append(row, "–")
		}
		t.row(append(row, strconv.Itoa(sr.Errors))...)
	}
	fmt.Fprintf(w, "\n## %s\n\n%d connections.\n\n", s.title, connections)
	t.write(w)
}

// floor returns what the cheapest handler of Caddy's costs in a scenario.
func (r *report) floor(s *scenario) *scenarioReport {
	if p := r.peer(floor); p != nil {
		if sr, ok := p.Scenarios[s.name]; ok {
			return &sr
		}
	}
	return nil
}

// times writes a ratio.
func times(a, b float64) string {
	if ratio(a, b) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", ratio(a, b))
}

func (r *report) writeLowLoad(w io.Writer) {
	fmt.Fprintf(w, "\n## Latency at low load\n\nGET, %d requests/s on %d connections.\n\n", r.Options.Rate, lowConnections)
	t := newTable("peer", "p50, µs", "p99, µs", "requests")
	for i := range r.Peers {
		l := r.Peers[i].LowLoad
		t.row(r.Peers[i].Title, fmt.Sprintf("%.0f", l.P50), fmt.Sprintf("%.0f", l.P99), strconv.Itoa(l.Requests))
	}
	t.write(w)
}

func (r *report) writeMemory(w io.Writer) {
	fmt.Fprint(w, "\n## Memory\n\nResident, sum of the proxy's processes; pages that they share count in each.\n\n")
	t := newTable("peer", "before, MiB", "peak, MiB")
	for i := range r.Peers {
		if p := &r.Peers[i]; p.Proxy {
			t.row(p.Title, fmt.Sprintf("%.0f", float64(p.Memory.Initial)/(1<<20)), fmt.Sprintf("%.0f", float64(p.Memory.Peak)/(1<<20)))
		}
	}
	t.write(w)
}

func (r *report) writeErrors(w io.Writer) {
	if r.errors() == 0 {
		return
	}
	fmt.Fprint(w, "\n## Errors\n\n")
	for i := range r.Peers {
		for _, cause := range r.Peers[i].Causes {
			fmt.Fprintf(w, "- %s: %s\n", r.Peers[i].Name, cause)
		}
	}
}

// table is one in Markdown that is readable as it is. All columns but the
// first are right-aligned, if it has a header.
type table struct {
	rows [][]string
}

func newTable(header ...string) *table { return &table{rows: [][]string{header}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)), 3)
		}
	}
	right := t.rows[0][0] != ""
	for n, row := range t.rows {
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if right && i > 0 {
				cell = padding + cell
			} else {
				cell += padding
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			line := strings.Repeat("-", width)
			if right && i > 0 {
				line = line[1:] + ":"
			}
			fmt.Fprintf(w, "| %s ", line)
		}
		fmt.Fprintln(w, "|")
	}
}
