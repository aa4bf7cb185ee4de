package version

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"testing"
	"time"

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

func TestCommitted(t *testing.T) {
	vcs := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "2026-11-30T18:00:00Z"}}}
	for _, tt := range []struct {
		epoch string
		info  *debug.BuildInfo
		want  string
	}{
		{"1796061600", vcs, "2026-11-30T18:00:00Z"},
		{"1796061601", nil, "2026-11-30T18:00:01Z"},
		{"", vcs, "2026-11-30T18:00:00Z"},
		{"0", vcs, "2026-11-30T18:00:00Z"},
		{"soon", nil, "0001-01-01T00:00:00Z"},
		{"", &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "soon"}}}, "0001-01-01T00:00:00Z"},
	} {
		if got := committed(tt.epoch, tt.info).Format(time.RFC3339); got != tt.want {
			t.Errorf("committed(%q, %+v) = %s; want %s", tt.epoch, tt.info, got, tt.want)
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
	// Name and time, each of which is a variable of this package.
	variables := regexp.MustCompile(`-X (\S+)=`).FindAllSubmatch(makefile, -1)
	if len(variables) != 2 {
		t.Fatalf("the Makefile sets %d variables; want version and time", len(variables))
	}
	values, flags := []string{"v9.8.7-test", "4102444801"}, ""
	for i, v := range variables {
		flags += "-X " + string(v[1]) + "=" + values[i] + " "
	}
	file := filepath.Join(t.TempDir(), "gild-init")
	// With -trimpath the flags are not part of the program themselves.
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", file,
		"../../cmd/gild-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range variables {
		if !bytes.Contains(program, []byte(values[i])) {
			t.Errorf("the agent does not know what the Makefile sets as %s", v[1])
		}
	}
}
