// Package programtest is for tests that need a program beside Go's own, such as a
// Redis server or a browser.
package programtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// missing are the programs that tests were skipped for.
var missing struct {
	sync.Mutex
	programs []string
	tests    int
}

// Require skips a test where a program that it needs is not installed. With CI in
// the environment, the test fails instead.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	var absent []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			absent = append(absent, program)
		}
	}
	if len(absent) == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("missing: %s", strings.Join(absent, ", "))
	}
	note(absent)
	t.Skipf("NOT TESTED: missing: %s", strings.Join(absent, ", "))
}

// Has reports whether a program is installed that a part of a test needs. With CI
// in the environment, the test fails where it is not.
func Has(t testing.TB, program string) bool {
	t.Helper()
	_, err := exec.LookPath(program)
	if err == nil {
		return true
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("missing: %s", program)
	}
	note([]string{program})
	return false
}

func note(absent []string) {
	missing.Lock()
	defer missing.Unlock()
	missing.tests++
	missing.programs = append(missing.programs, absent...)
	slices.Sort(missing.programs)
	missing.programs = slices.Compact(missing.programs)
}

// Tests are a package's tests, for TestMain.
type Tests struct{ *testing.M }

// Run runs the tests, and says at the end what was not tested.
func (t Tests) Run() int {
	code := t.M.Run()
	summarize(os.Stderr)
	return code
}

// summarize says what was not tested.
func summarize(w io.Writer) {
	missing.Lock()
	defer missing.Unlock()
	if missing.tests == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\nNOT TESTED: %d tests were skipped, or done in part, as these programs are missing: %s\nInstall them, or set CI=1 to have such tests fail.\n%[1]s\n",
		strings.Repeat("=", 78), missing.tests, strings.Join(missing.programs, ", "))
}
