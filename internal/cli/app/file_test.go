package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/cli/exit"
)

func TestUnused(t *testing.T) {
	dir := t.TempDir()
	full, empty := filepath.Join(dir, "full"), filepath.Join(dir, "empty")
	for path, content := range map[string]string{full: "kept", empty: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(full, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path  string
		force bool
		want  bool
	}{
		{filepath.Join(dir, "new"), false, true},
		{empty, false, true},
		{full, false, false},
		{full, true, true},
		{link, false, false},
		{dir, true, false},
		{"/dev/null", true, false},
		{filepath.Join(full, "below"), true, false},
	} {
		err := Unused(tt.path, tt.force)
		if (err == nil) != tt.want {
			t.Errorf("Unused(%s, %v) = %v; want nil: %v", tt.path, tt.force, err, tt.want)
		}
		if tt.path == full && err != nil && exit.HintOf(err) == "" {
			t.Errorf("%v: no word of --force", err)
		}
	}
}
