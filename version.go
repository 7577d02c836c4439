package weixin

import "runtime/debug"

// modulePath is this module's, as builds know it.
const modulePath = "github.com/caddy-weixin/caddy-weixin"

// buildVersion is the module's version where the build cannot know it, as in a
// container without the repository's history:
//
//	go build -ldflags '-X github.com/caddy-weixin/caddy-weixin.buildVersion=v1.2.3' ./cmd/caddy
var buildVersion string

// unknownVersion is what is told of a build of sources without a history.
const unknownVersion = "devel"

// moduleVersion returns the version of this module in the running program.
func moduleVersion() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return versionIn(info)
}

// versionIn returns this module's version in a build: it is the main module in
// its own repository, and a dependency where xcaddy has built.
func versionIn(info *debug.BuildInfo) string {
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return unknownVersion
}
