package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const root = "../../.."

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// xcaddy.json is the one place that says what a build holds. Whatever repeats
// it has to agree.
func TestBuildDescriptionsAgree(t *testing.T) {
	b, err := readBuild(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", []byte(readFile(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}

	if readFile(t, "cmd", "caddy", "main.go") != string(b.mainFile()) {
		t.Error("cmd/caddy/main.go is not what xcaddy.json says: run go generate ./cmd/caddy")
	}
	versions := map[string]string{mod.Module.Mod.Path: ""}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	if v := versions[caddyModule]; v != b.CaddyVersion {
		t.Errorf("go.mod requires Caddy %s, xcaddy.json %s", v, b.CaddyVersion)
	}
	for _, p := range b.Plugins {
		if v, ok := versions[p.ModulePath]; !ok || v != p.Version {
			t.Errorf("plugin %s %s is in go.mod as %q", p.ModulePath, p.Version, v)
		}
	}
	for _, r := range b.Replacements {
		if r.Old != mod.Module.Mod.Path || r.New != "." {
			t.Errorf("replacement of %s by %s: only the module itself is replaced, by this tree", r.Old, r.New)
		}
	}
	for _, readme := range []string{"README.md", "README.zh-CN.md"} {
		if !strings.Contains(readFile(t, readme), b.xcaddyCommand()+"\n") {
			t.Errorf("%s does not say: %s", readme, b.xcaddyCommand())
		}
	}
}

func TestUnknownMembersAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xcaddy.json")
	if err := os.WriteFile(path, []byte(`{"caddy_version":"v2.0.0","plugins":[{"module":"x"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readBuild(path); err == nil {
		t.Error("an unknown member was accepted")
	}
}
