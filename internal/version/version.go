// Package version is the one name that all programs of a build have.
package version

import (
	"runtime/debug"
	"strconv"
	"time"
)

// Set by the linker: -X github.com/gild-dev/gild/internal/version.linked=v1.2.3
var (
	linked string
	epoch  string // when the source was committed, in Unix seconds
)

// Time is when the source of this build was committed, so that two builds of
// one commit are the same; zero: nobody knows.
func Time() time.Time {
	info, _ := debug.ReadBuildInfo()
	return committed(epoch, info)
}

func committed(epoch string, info *debug.BuildInfo) time.Time {
	if n, err := strconv.ParseInt(epoch, 10, 64); err == nil && n > 0 {
		return time.Unix(n, 0).UTC()
	}
	if info == nil {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // zero if it is none
			return t
		}
	}
	return time.Time{}
}

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
