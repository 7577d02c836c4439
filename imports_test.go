package weixin

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The core can be read and tested without Caddy.
func TestCoreIsFreeOfCaddy(t *testing.T) {
	core := []string{
		"tokenmanager.go", "token.go", "tokencache.go", "keeper.go", "sharedstore.go", "record.go", "seal.go", "backoff.go",
		"status.go", "watcher.go", "quota.go", "thief.go", "history.go", "transport.go", "body.go", "spool.go", "answer.go", "upstream.go", "proxyerror.go", "store/store.go",
	}
	facts, err := filepath.Glob("wechat/*.go")
	if err != nil || len(facts) == 0 {
		t.Fatal("the package wechat is not where it was")
	}
	client, err := filepath.Glob("http1/*.go")
	if err != nil || len(client) == 0 {
		t.Fatal("the package http1 is not where it was")
	}
	for _, file := range slices.Concat(core, facts, client) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			if strings.Contains(imported.Path.Value, "github.com/caddyserver/") {
				t.Errorf("%s imports %s", file, imported.Path.Value)
			}
		}
	}
}
