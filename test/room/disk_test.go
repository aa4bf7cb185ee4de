package room

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/mounttest"
)

// fullDisk is a file system of its own that a test can fill.
type fullDisk struct{ dir string }

// smallDisk makes one, a real one on a loop device, at dir.
func smallDisk(t *testing.T, dir string) fullDisk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(1<<30), f.Close(), os.MkdirAll(dir, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, "", "mkfs.ext4", "-q", "-m", "0", image)
	run(t, "", "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return fullDisk{dir}
}

func (d fullDisk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all room there is, at once.
func (d fullDisk) fill(t *testing.T) {
	t.Helper()
	mounttest.Fill(t, d.filler())
}

func (d fullDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		t.Fatal(err)
	}
}
