package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The Caddyfiles in the documentation of captured hosts are good ones.
func TestCaptureDocs(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
	for _, doc := range []string{"hard-wired-hosts.md", "hard-wired-hosts.zh-CN.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		found := blocks.FindAllSubmatch(text, -1)
		if len(found) != 2 {
			t.Errorf("%s has %d Caddyfiles, want 2", doc, len(found))
		}
		for _, block := range found {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, block[1], 0o600); err != nil {
				t.Fatal(err)
			}
			if out, ok := run(t, sandboxEnv, "validate", "--config", file); !ok {
				t.Errorf("%s: %s\n%s", doc, block[1], out)
			}
		}
	}
}
