package weixin

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	other := &debug.Module{Path: "github.com/caddyserver/caddy/v2", Version: "v2.11.9"}
	module := func(version string, replace *debug.Module) []*debug.Module {
		return []*debug.Module{other, {Path: modulePath, Version: version, Replace: replace}}
	}
	for name, tc := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"the program's own module":        {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "v1.2.3"}, Deps: []*debug.Module{other}}, "v1.2.3"},
		"a working copy":                  {debug.BuildInfo{Main: debug.Module{Path: modulePath}}, develVersion},
		"built by xcaddy":                 {debug.BuildInfo{Main: debug.Module{Path: "caddy", Version: "(devel)"}, Deps: module("v1.2.3", nil)}, "v1.2.3"},
		"replaced by a directory":         {debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: module("v1.2.3", &debug.Module{Path: "../caddy-weixin"})}, develVersion},
		"replaced by a fork":              {debug.BuildInfo{Main: debug.Module{Path: "caddy"}, Deps: module("v1.2.3", &debug.Module{Path: "github.com/x/y", Version: "v1.2.4"})}, "v1.2.4"},
		"a program that does not have it": {debug.BuildInfo{Main: debug.Module{Path: "caddy", Version: "v9"}}, develVersion},
	} {
		if got := versionIn(&tc.info); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	if moduleVersion() == "" {
		t.Error("no version")
	}
}
