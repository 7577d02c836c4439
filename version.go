package weixin

import (
	"cmp"
	"runtime/debug"
	"sync"
)

// modulePath is how builds know this module.
const modulePath = "github.com/caddy-weixin/caddy-weixin"

// develVersion is that of a build from a working copy of which nothing else is
// known.
const develVersion = "(devel)"

// builtVersion is set by builds that know more than the Go toolchain, which sees
// no repository in a container:
//
//	-ldflags "-X github.com/caddy-weixin/caddy-weixin.builtVersion=v1.2.3"
var builtVersion string

// moduleVersion returns the version of this module in the running program.
var moduleVersion = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok && builtVersion == "" {
		return versionIn(info)
	}
	return cmp.Or(builtVersion, develVersion)
})

// versionIn returns the version of this module in a build: as the program's own
// module, or as one it depends on, which may be replaced by another or by a
// directory.
func versionIn(info *debug.BuildInfo) string {
	if info.Main.Path == modulePath {
		return cmp.Or(info.Main.Version, develVersion)
	}
	for _, dep := range info.Deps {
		if dep.Path != modulePath {
			continue
		}
		if dep.Replace != nil {
			// A directory has no version, and that of what it replaces is not what runs.
			return cmp.Or(dep.Replace.Version, develVersion)
		}
		return cmp.Or(dep.Version, develVersion)
	}
	return develVersion
}
