package instant

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCoresToSpare(t *testing.T) {
	proc := t.TempDir()
	now := time.Unix(1, 0)
	c := cores{proc: proc}
	for _, look := range []struct {
		stat  string
		after time.Duration
		want  bool
	}{
		{"", 0, true}, // no proc(5), or one that nobody knows
		{"cpu  100 0 100 100 0 0 0 0 0 0\ncpu0 1 1 1 1\n", 0, true},
		{"cpu  175 0 200 100 0 0 0 0 0 0\ncpu0 1 1 1 1\n", coresEvery / 2, true}, // too early to tell
		{"cpu  175 0 100 124 0 0 0 1 0 0\n", coresEvery, false},                  // 24 of 100
		{"cpu  250 0 100 124 25 0 0 1 0 0\n", coresEvery, true},                  // who waits for a disk leaves a core idle
		{"cpu  250 0 100 124 25 0 50 101 99 0\n", coresEvery, false},             // nor is it idle while others have it
		{"cpu  what\n", coresEvery, true},
	} {
		if look.stat != "" {
			if err := os.WriteFile(filepath.Join(proc, "stat"), []byte(look.stat), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(look.after)
		if got := c.spare(now); got != look.want {
			t.Errorf("spare() with %q = %v; want %v", look.stat, got, look.want)
		}
	}
	if _, _, ok := coreTicks("/proc"); !ok {
		t.Error("this kernel's own /proc/stat is not understood")
	}
}
