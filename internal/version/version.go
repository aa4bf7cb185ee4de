// Package version names this build. Server, command line and agent ask here,
// so that the programs of one build have one name.
package version

import "runtime/debug"

// linked is set by the linker: -X github.com/gild-dev/gild/internal/version.linked=v1.2.3
var linked string

// String is what the linker was told, or else what the module system or the
// version control system know, or else "unknown".
func String() string {
	info, _ := debug.ReadBuildInfo()
	return name(linked, info)
}

func name(linked string, info *debug.BuildInfo) string {
	switch {
	case linked != "":
		return linked
	case info == nil:
		return "unknown"
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "unknown"
}
