// Package version tells which build of batchagent this is.
package version

import (
	"runtime/debug"
	"sync"
)

// release is set by the linker where the build cannot see the repository, as in an image.
var release string

// String is what the linker was told, or the module's version, or the commit it was built from, or "devel".
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
