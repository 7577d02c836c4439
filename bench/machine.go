package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"runtime"
	"strings"
	"time"
)

// machine is what figures depend on.
type machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Kernel string    `json:"kernel"`
	Load   string    `json:"load"` // before
	Go     string    `json:"go"`
	Caddy  string    `json:"caddy"`
	Commit string    `json:"commit"`
	Nginx  string    `json:"nginx"`
	Date   time.Time `json:"date"`
}

func describeMachine(caddyBinary string, n *nginxInfo) machine {
	m := machine{
		CPU:    "unknown",
		Cores:  runtime.NumCPU(),
		Kernel: firstFields(readLine("/proc/sys/kernel/osrelease"), 1),
		Load:   firstFields(readLine("/proc/loadavg"), 3),
		Go:     runtime.Version(),
		Nginx:  n.version,
		Date:   time.Now(),
	}
	if cpuinfo, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(cpuinfo) {
			if name, value, _ := bytes.Cut(line, []byte(":")); string(bytes.TrimSpace(name)) == "model name" {
				m.CPU = string(bytes.TrimSpace(value))
				break
			}
		}
	}
	info, err := buildinfo.ReadFile(caddyBinary)
	if err != nil {
		return m
	}
	m.Go = info.GoVersion
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/caddyserver/caddy/v2" {
			m.Caddy = dependency.Version
		}
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			m.Commit = setting.Value[:min(len(setting.Value), 12)] + m.Commit
		case setting.Key == "vcs.modified" && setting.Value == "true":
			m.Commit += ", with changes"
		}
	}
	return m
}

func readLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// firstFields returns the first n fields of a line.
func firstFields(line string, n int) string {
	all := strings.Fields(line)
	return strings.Join(all[:min(n, len(all))], " ")
}
