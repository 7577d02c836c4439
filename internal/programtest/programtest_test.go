package programtest

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Setenv("CI", "")
	var out strings.Builder
	summarize(&out)
	if out.Len() != 0 {
		t.Errorf("nothing was skipped, and it says %s", out.String())
	}
	for _, programs := range [][]string{{"go"}, {"go", "no-such-program"}, {"none-of-that-name"}} {
		t.Run(strings.Join(programs, " "), func(t *testing.T) {
			defer func() {
				if t.Skipped() == (len(programs) == 1 && programs[0] == "go") {
					t.Errorf("skipped: %v", t.Skipped())
				}
			}()
			Require(t, programs...)
		})
	}
	summarize(&out)
	if got := out.String(); !strings.Contains(got, "2 tests were skipped") || !strings.Contains(got, "missing: no-such-program, none-of-that-name\n") || strings.Contains(got, "go,") {
		t.Errorf("it says %s", got)
	}
}
