package room

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
	f, err := os.Create(d.filler())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := int64(0)
	for piece := int64(256 * mib); piece >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, end, piece); {
		case err == nil:
			end += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}

func (d fullDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		t.Fatal(err)
	}
}
