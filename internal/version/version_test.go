package version

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

func TestName(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}}
	for _, tt := range []struct {
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		{"v1", &debug.BuildInfo{Main: debug.Module{Version: "v2"}, Settings: commit}, "v1"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "v2"}, Settings: commit}, "v2"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit}, "0123456789ab"},
		{"", &debug.BuildInfo{}, "unknown"},
		{"", nil, "unknown"},
	} {
		if got := name(tt.linked, tt.info); got != tt.want {
			t.Errorf("name(%q, %+v) = %q; want %q", tt.linked, tt.info, got, tt.want)
		}
	}
}

// The linker silently ignores a variable that is not there, so the Makefile's
// word for it is tried out: on the agent, which is the quicker to link.
func TestMakefileSetsTheVersion(t *testing.T) {
	tier.Slow(t, "links a program")
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	variable := regexp.MustCompile(`-X (\S+)=`).FindSubmatch(makefile)
	if variable == nil {
		t.Fatal("the Makefile sets no version")
	}
	file := filepath.Join(t.TempDir(), "gild-init")
	// With -trimpath the flags are not part of the program themselves.
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X "+string(variable[1])+"=v9.8.7-test", "-o", file, "../../cmd/gild-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(program, []byte("v9.8.7-test")) {
		t.Errorf("the agent does not know the version that the Makefile sets as %s", variable[1])
	}
}
