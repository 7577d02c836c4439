// Command generate writes the main.go of a Caddy build, the same that xcaddy
// would build, from the description of it in xcaddy's JSON form:
//
//	generate [-without <plugin>] xcaddy.json main.go
//
// With -without it leaves a plugin out: the image for production is built
// without the sandbox.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: generate [-without <plugin>] xcaddy.json main.go")

func run(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	without := flags.String("without", "", "the `plugin` to leave out")
	if flags.Parse(args) != nil || flags.NArg() != 2 {
		return errUsage
	}
	b, err := readBuild(flags.Arg(0))
	if err != nil {
		return err
	}
	if *without != "" {
		if err := b.drop(*without); err != nil {
			return err
		}
	}
	return os.WriteFile(flags.Arg(1), b.mainFile(), 0o644)
}

// build is the part of xcaddy's Builder that this project uses.
type build struct {
	CaddyVersion string   `json:"caddy_version"`
	Plugins      []plugin `json:"plugins"`
	Replacements []struct {
		Old string `json:"old"`
		New string `json:"new"`
	} `json:"replacements,omitempty"`
}

type plugin struct {
	ModulePath string `json:"module_path"`
	Version    string `json:"version,omitempty"`
}

// drop leaves a plugin out of the build.
func (b *build) drop(path string) error {
	i := slices.IndexFunc(b.Plugins, func(p plugin) bool { return p.ModulePath == path })
	if i < 0 {
		return fmt.Errorf("%s is no plugin of this build", path)
	}
	b.Plugins = slices.Delete(b.Plugins, i, i+1)
	return nil
}

func readBuild(path string) (*build, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var b build
	if err := dec.Decode(&b); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	if b.CaddyVersion == "" || len(b.Plugins) == 0 {
		return nil, fmt.Errorf("%s: caddy_version and plugins are required", path)
	}
	return &b, nil
}

const caddyModule = "github.com/caddyserver/caddy/v2"

// mainFile returns the source of the build's main package.
func (b *build) mainFile() []byte {
	imports := []string{
		`_ "time/tzdata"`,
		"",
		fmt.Sprintf("caddycmd %q", caddyModule+"/cmd"),
		"",
		"// plug in Caddy modules here",
		fmt.Sprintf("_ %q", caddyModule+"/modules/standard"),
	}
	for _, p := range b.Plugins {
		imports = append(imports, fmt.Sprintf("_ %q", p.ModulePath))
	}
	var src bytes.Buffer
	src.WriteString("package main\n\nimport (\n")
	for _, line := range imports {
		src.WriteString(strings.TrimRight("\t"+line, "\t") + "\n")
	}
	src.WriteString(")\n\nfunc main() {\n\tcaddycmd.Main()\n}\n")
	return src.Bytes()
}

// xcaddyCommand returns the command line that makes this build from published
// modules.
func (b *build) xcaddyCommand() string {
	var cmd strings.Builder
	cmd.WriteString("xcaddy build " + b.CaddyVersion)
	for _, p := range b.Plugins {
		cmd.WriteString(" --with " + p.ModulePath)
		if p.Version != "" {
			cmd.WriteString("@" + p.Version)
		}
	}
	return cmd.String()
}
