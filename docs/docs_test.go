// Package docs has nothing but tests: of what the documentation says, as far as
// a program can tell.
package docs

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-weixin/caddy-weixin"
	_ "github.com/caddy-weixin/caddy-weixin/sandbox"
)

// documents returns the files, by their path from the root of the repository,
// which is the working directory from then on.
func documents(t *testing.T) map[string]string {
	t.Helper()
	t.Chdir("..")
	docs := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			docs[path] = string(text)
		}
	}
	if len(docs) < 10 {
		t.Fatalf("there are %d documents only", len(docs))
	}
	return docs
}

var fenced = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// blocks returns the fenced blocks in a language.
func blocks(text, language string) []string {
	var found []string
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	return found
}

// Every Caddyfile can be copied as it is: it is understood, and formatted.
func TestCaddyfiles(t *testing.T) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	for path, text := range documents(t) {
		for _, block := range blocks(text, "caddyfile") {
			_, warnings, err := adapter.Adapt([]byte(block), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Errorf("%s: %v\n%s", path, err, block)
			}
			for _, w := range warnings {
				t.Errorf("%s: %s\n%s", path, w.Message, block)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links lead somewhere.
func TestLinks(t *testing.T) {
	docs := documents(t)
	for path, text := range docs {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			target := path
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: there is no %s", path, m[1])
				continue
			}
			if u.Fragment != "" && !slices.Contains(anchors(docs[target]), u.Fragment) {
				t.Errorf("%s: %s has no heading %s", path, target, u.Fragment)
			}
		}
	}
}

// anchors returns the headings as links name them.
func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}

// What is there in two languages says the same: the same configurations, and as
// many headings and rows.
func TestLanguagesAgree(t *testing.T) {
	docs, pairs := documents(t), 0
	for path, chinese := range docs {
		stem, ok := strings.CutSuffix(path, ".zh-CN.md")
		if !ok {
			continue
		}
		pairs++
		english, ok := docs[stem+".md"]
		english = generated.ReplaceAllString(english, "")
		if !ok {
			t.Errorf("%s has no English original", path)
			continue
		}
		for _, language := range []string{"caddyfile", "json", "java", "go", "python", "js"} {
			if c, e := uncommented(blocks(chinese, language)), uncommented(blocks(english, language)); !slices.Equal(c, e) {
				t.Errorf("%s has other blocks in %s than the original:\n%q\n%q", path, language, c, e)
			}
		}
		for what, pattern := range map[string]*regexp.Regexp{
			"headings":    regexp.MustCompile(`(?m)^#`),
			"table rows":  regexp.MustCompile(`(?m)^\|`),
			"code blocks": regexp.MustCompile("(?m)^```"),
			"list items":  regexp.MustCompile(`(?m)^- `),
		} {
			if c, e := len(pattern.FindAllString(chinese, -1)), len(pattern.FindAllString(english, -1)); c != e {
				t.Errorf("%s has %d %s, the original %d", path, c, what, e)
			}
		}
	}
	if pairs < 4 {
		t.Errorf("%d documents in two languages only", pairs)
	}
}

// generated is a list that is made from the code, in English alone.
var generated = regexp.MustCompile(`(?s)<!-- What follows is made by .*?<!-- end -->`)

var comment = regexp.MustCompile(`(?m)^\s*(?://|#).*\n`)

func uncommented(blocks []string) []string {
	for i := range blocks {
		blocks[i] = comment.ReplaceAllString(blocks[i], "")
	}
	return blocks
}

// The README stays one that is read.
func TestREADMEIsShort(t *testing.T) {
	docs := documents(t)
	for _, path := range []string{"README.md", "README.zh-CN.md"} {
		if n := strings.Count(docs[path], "\n"); n > 200 {
			t.Errorf("%s has %d lines, more than 200: docs/ has room", path, n)
		}
	}
}
