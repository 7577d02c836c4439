package weixin

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	ours := func(version string) *debug.Module { return &debug.Module{Path: modulePath, Version: version} }
	replaced := ours("v1.0.0")
	replaced.Replace = &debug.Module{Path: "../here"}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3": {Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{{Path: "other", Version: "v9.0.0"}, ours("v1.2.3")}},
		"v1.2.4": {Main: *ours("v1.2.4")},
		"devel":  {Main: debug.Module{Path: "caddy", Version: "v9.0.0"}, Deps: []*debug.Module{replaced}},
	} {
		if got := versionIn(info); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := versionIn(&debug.BuildInfo{Main: *ours("(devel)")}); got != unknownVersion {
		t.Errorf("got %s", got)
	}
	buildVersion = "v3.0.0"
	defer func() { buildVersion = "" }()
	if got := moduleVersion(); got != buildVersion {
		t.Errorf("got %s", got)
	}
}
