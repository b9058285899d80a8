// Package version reports the version of the running build.
package version

import (
	"runtime/debug"
	"sync"
)

// release is set by the linker in builds without the repository, for example in an image.
var release string

// String returns the release set by the linker, else the module's version, else the commit, else "devel".
var String = sync.OnceValue(func() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
})
