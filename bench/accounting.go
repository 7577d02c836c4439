package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// What the operating system says about processes. Linux says it in /proc.

// clockTick is the unit of CPU times there. The kernel counts in nanoseconds
// and shows hundredths of a second on every platform that Go knows.
const clockTick = 10 * time.Millisecond

// processStat is what is used of /proc/<pid>/stat.
type processStat struct {
	parent int
	cpu    time.Duration // in user and kernel mode, of all threads
}

// parseStat reads a line of /proc/<pid>/stat. The second field is the
// program's name in parentheses, which may have spaces and parentheses of its
// own, so fields are counted from its end.
func parseStat(line []byte) (processStat, error) {
	err := errors.New("not a line of /proc/<pid>/stat")
	i := bytes.LastIndexByte(line, ')')
	if i < 0 {
		return processStat{}, err
	}
	const parent, userTime, systemTime = 1, 11, 12 // counted from the third, which is the state
	rest := bytes.Fields(line[i+1:])
	if len(rest) <= systemTime {
		return processStat{}, err
	}
	var numbers [3]int64
	for i, field := range []int{parent, userTime, systemTime} {
		n, err := strconv.ParseInt(string(rest[field]), 10, 64)
		if err != nil {
			return processStat{}, err
		}
		numbers[i] = n
	}
	return processStat{parent: int(numbers[0]), cpu: time.Duration(numbers[1]+numbers[2]) * clockTick}, nil
}

// processTree returns a process and those below it.
func processTree(root int) (map[int]processStat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(map[int]processStat, len(files))
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		stat, err := parseStat(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		all[pid] = stat
	}
	if _, ok := all[root]; !ok {
		return nil, fmt.Errorf("there is no process %d in /proc", root)
	}
	tree := make(map[int]processStat)
	for pid := range all {
		for p := pid; p != 0; p = all[p].parent {
			if p == root {
				tree[pid] = all[pid]
				break
			}
		}
	}
	return tree, nil
}

// cpuTime returns the CPU time of a process and those below it.
func cpuTime(root int) (time.Duration, error) {
	tree, err := processTree(root)
	var sum time.Duration
	for _, stat := range tree {
		sum += stat.cpu
	}
	return sum, err
}

// memory returns the resident memory of a process and those below it, and its
// peak, in bytes. Pages that they share are counted in each of them.
func memory(root int) (resident, peak int64, err error) {
	tree, err := processTree(root)
	if err != nil {
		return 0, 0, err
	}
	for pid := range tree {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		now, most, err := parseStatus(status)
		if err != nil {
			return 0, 0, err
		}
		resident += now
		peak += most
	}
	return resident, peak, nil
}

// parseStatus reads the sizes in a /proc/<pid>/status.
func parseStatus(status []byte) (resident, peak int64, err error) {
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		var size *int64
		switch string(name) {
		case "VmRSS":
			size = &resident
		case "VmHWM":
			size = &peak
		default:
			continue
		}
		if _, err := fmt.Sscanf(string(value), "%d kB", size); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		*size <<= 10
	}
	if peak == 0 {
		return 0, 0, errors.New("no VmHWM in /proc/<pid>/status")
	}
	return resident, peak, nil
}
