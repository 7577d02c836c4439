package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
		if v, ok := versions[moduleOf(p.ModulePath, versions)]; !ok || v != p.Version {
			t.Errorf("plugin %s %s is in go.mod as %q", p.ModulePath, p.Version, v)
		}
	}
	for _, r := range b.Replacements {
		if r.Old != mod.Module.Mod.Path || r.New != "." {
			t.Errorf("replacement of %s by %s: only the module itself is replaced, by this tree", r.Old, r.New)
		}
	}
	wantLine(t, b.xcaddyCommand(), "docs/sandbox.md")
	if err := b.drop(sandbox); err != nil {
		t.Fatal(err)
	}
	wantLine(t, b.xcaddyCommand(), "README.md", "README.zh-CN.md")
}

const sandbox = "github.com/caddy-weixin/caddy-weixin/sandbox"

// moduleOf returns the module of a package, which may be below its root.
func moduleOf(path string, modules map[string]string) string {
	for {
		if _, ok := modules[path]; ok {
			return path
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return ""
		}
		path = path[:i]
	}
}

func wantLine(t *testing.T, line string, files ...string) {
	t.Helper()
	for _, file := range files {
		if !strings.Contains(readFile(t, file), line+"\n") {
			t.Errorf("%s does not say: %s", file, line)
		}
	}
}

// A build for production has no fake WeChat in it: neither its directive nor
// its code.
func TestSandboxIsAPluginOfItsOwn(t *testing.T) {
	module, _ := strings.CutSuffix(sandbox, "/sandbox")
	out, err := exec.Command("go", "list", "-deps", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	if deps := strings.Fields(string(out)); slices.Contains(deps, sandbox) || !slices.Contains(deps, module) {
		t.Error("the proxy's own packages link the sandbox")
	}

	path := filepath.Join(t.TempDir(), "main.go")
	if err := run([]string{"-without", sandbox, filepath.Join(root, "xcaddy.json"), path}); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(source); strings.Contains(text, sandbox) || !strings.Contains(text, `"`+module+`"`) {
		t.Errorf("-without wrote\n%s", text)
	}
	if err := run([]string{"-without", "sandbox", filepath.Join(root, "xcaddy.json"), path}); err == nil {
		t.Error("a plugin that the build does not have was left out")
	}
	if !strings.Contains(readFile(t, "deploy", "Dockerfile"), "-without=$WITHOUT") {
		t.Error("deploy/Dockerfile builds with the sandbox")
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
