package serve

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/test/lab/host"
)

// unit is the project's unit with the program under test in place of the
// installed one.
func unit(t *testing.T) string {
	t.Helper()
	p, err := os.ReadFile("../../contrib/gild.service")
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/bin/gild "
	if bytes.Count(p, []byte(installed)) != 1 {
		t.Fatalf("the unit has no %q", installed)
	}
	path := filepath.Join(t.TempDir(), "gild.service")
	if err := os.WriteFile(path, bytes.Replace(p, []byte(installed), []byte("ExecStart="+host.Program(t)+" "), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd finds no fault in the unit, and what it exposes is no more than it
// was when each setting was looked at.
func TestUnit(t *testing.T) {
	t.Parallel()
	path := unit(t)
	for _, args := range [][]string{
		{"verify", "--man=no", path},
		{"security", "--offline=true", "--no-pager", "--threshold=19", path}, // tenths: 1.9, "OK"
	} {
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Skip(err)
		}
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %q: %v\n%s", args, err, out)
		}
	}
}
