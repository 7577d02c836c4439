package sandbox

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -count=1 -run ^TestReference$ . -write

var write = flag.Bool("write", false, "write the reference instead of comparing it")

const (
	referenceFile = "../docs/sandbox.md"
	begin         = "<!-- What follows is made by go generate ./sandbox: do not write here. -->\n"
	end           = "<!-- end -->\n"
)

// The list of paths in the documentation is made of the routes.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the reference", referenceFile)
	}
	want := before + begin + reference() + end + after
	if want == string(text) {
		return
	}
	if !*write {
		t.Fatalf("%s is not what the routes say: run go generate ./sandbox", referenceFile)
	}
	if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func reference() string {
	var b bytes.Buffer
	section := func(title string, t table, takes ...credential) {
		fmt.Fprintf(&b, "\n### %s\n\n| | path | what it does | parameters | example |\n|---|---|---|---|---|\n", title)
		for _, path := range slices.Sorted(maps.Keys(t)) {
			if r := t[path]; slices.Contains(takes, r.takes) {
				fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", r.methods(), r.path, r.about, r.parameters(), r.exampleText())
			}
		}
	}
	section("With an account's token", officialRoutes, accountToken)
	section("With a secret, a code or a user's token", officialRoutes, noToken)
	section("With a platform's token", officialRoutes, componentToken)
	section("WeCom", weComRoutes, agentToken, noToken)
	b.WriteByte('\n')
	return b.String()
}

func (r *route) methods() string {
	if r.orPost {
		return r.method + ", POST"
	}
	return r.method
}

// parameters lists them with the errcode that a wrong one gets.
func (r *route) parameters() string {
	var list []string
	if r.reads == mediaBody {
		list = append(list, "file `media` (41005)")
	}
	for _, p := range r.params {
		text := "`" + p.name + "`"
		if p.errcode != success {
			text += fmt.Sprintf(" (%d)", p.errcode)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (r *route) exampleText() string {
	if r.example == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(r.example, "|", `\|`) + "`"
}

// Whatever has an errcode has words for it.
func TestMessages(t *testing.T) {
	for _, r := range officialRoutes {
		for _, p := range r.params {
			if messages[p.errcode] == "" {
				t.Errorf("%s: %d has no errmsg", r.path, p.errcode)
			}
		}
	}
	for _, r := range weComRoutes {
		for _, p := range r.params {
			if messages[p.errcode] == "" && weComMessages[p.errcode] == "" {
				t.Errorf("%s: %d has no errmsg", r.path, p.errcode)
			}
		}
	}
}
