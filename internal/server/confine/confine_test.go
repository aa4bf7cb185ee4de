package confine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

// Whether a file is another user's is seen behind links to other disks, too,
// and of the folders on the way.
func TestForeign(t *testing.T) {
	tier.Root(t, "giving files away needs root")
	give := func(path string) {
		if err := os.Lchown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		make func(dir string)
		want bool
	}{
		"own":           {func(string) {}, false},
		"a file":        {func(dir string) { give(filepath.Join(dir, "data", "images", "index.json")) }, true},
		"the folder":    {func(dir string) { give(filepath.Join(dir, "data")) }, true},
		"on the way":    {func(dir string) { give(dir) }, true},
		"behind a link": {func(dir string) { give(filepath.Join(dir, "disk", "blob")) }, true},
		"beside it":     {func(dir string) { give(filepath.Join(dir, "other")) }, false},
		"what is not there": {func(dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{"data/images/index.json", "disk/blob", "other"} {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(filepath.Join(dir, "disk"), filepath.Join(dir, "data", "initramfs")); err != nil {
				t.Fatal(err)
			}
			tt.make(dir)
			if got := foreign([]string{filepath.Join(dir, "data")}); got != tt.want {
				t.Errorf("foreign = %v; want %v", got, tt.want)
			}
		})
	}
}
