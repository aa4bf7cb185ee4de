package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/tier"
)

func TestDamagedBlobIsNotServedAsGood(t *testing.T) {
	s := open(t)
	d := mustPut(t, s, "a", 1)
	if err := os.WriteFile(filepath.Join(s.blobDir(), d.Hex()), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Image("a"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Image = %v; want an error that says damaged", err)
	}
}

// Adding an image again is what an operator does when verify has found its
// blobs damaged.
func TestCommitAgainMendsADamagedBlob(t *testing.T) {
	s := open(t)
	mustPut(t, s, "a", 1)
	im, err := s.Image("a")
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, s)
	path := filepath.Join(s.blobDir(), im.Disk.Digest.Hex())
	if err := os.WriteFile(path, []byte("rotten"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a", 1)
	if _, err := s.ReadBlob(im.Disk.Digest, 1<<20); err != nil {
		t.Errorf("after adding the image again: %v", err)
	}
	if diff := cmp.Diff(before, files(t, s)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// A lost part is damage to an image that exists.
func TestMissingPartIsDamage(t *testing.T) {
	for _, part := range []string{"manifest", "config", "chunk table"} {
		s := open(t)
		mustPut(t, s, "a", 1)
		im, err := s.Image("a")
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := im.Manifest.Layer(golden.MediaTypeChunks)
		if err != nil {
			t.Fatal(err)
		}
		d := map[string]golden.Digest{"manifest": im.Digest, "config": im.Manifest.Config.Digest, "chunk table": chunks.Digest}[part]
		path := filepath.Join(s.blobDir(), d.Hex())
		if err := os.WriteFile(path, []byte("rotten"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Image("a"); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Image without its %s = %v; want an error that names it", part, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Image("a"); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), part) {
			t.Errorf("Image without its %s = %v; want an error that names it and is not ErrNotFound", part, err)
		}
	}
}

// What one damaged image needs cannot be known; the others continue.
func TestDamagedImageDoesNotStopTheOthers(t *testing.T) {
	s := open(t)
	bad := mustPut(t, s, "bad", 1)
	mustPut(t, s, "old", 2)
	if err := os.WriteFile(filepath.Join(s.blobDir(), bad.Hex()), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "new", 3)
	if err := s.Remove(t.Context(), "old"); err != nil {
		t.Errorf("Remove(old) = %v", err)
	}
	if err := s.Remove(t.Context(), "bad"); err != nil {
		t.Errorf("Remove(bad) = %v", err)
	}
	if err := s.Remove(t.Context(), "new"); err != nil {
		t.Errorf("Remove(new) = %v", err)
	}
	for _, f := range files(t, s) {
		if strings.HasPrefix(f, "blobs/") {
			t.Errorf("%s is still there", f)
		}
	}
}

// Between the first blob and the index there are many places to fail; all of
// them leave the store as it was.
func TestFailedCommitLeavesNothing(t *testing.T) {
	s := open(t)
	mustPut(t, s, "a", 1)
	before := files(t, s)
	// A directory in the place of the index: the last step cannot succeed.
	index, err := os.ReadFile(s.path("index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.path("index.json", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, "b", 2); err == nil {
		t.Error("Commit with no way to write the index succeeded")
	}
	if err := os.RemoveAll(s.path("index.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("index.json"), index, 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, files(t, s)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// A file system that becomes full at any byte leaves the store as it was, and
// the error says what to do.
func TestFullFileSystemLeavesNothing(t *testing.T) {
	tier.Root(t, "mounting a small tmpfs needs root")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, dir) })
	s, err := Open(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a", 1)
	var failed int
	for free := 0; free <= 48<<10; free += 4 << 10 {
		fill(t, filepath.Join(dir, "filler"), free)
		before := files(t, s)
		_, err := put(t, s, "b", 2)
		if err == nil {
			if err := s.Remove(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		failed++
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "--data") {
			t.Errorf("with %d bytes free: %v; want an error that says where to find space", free, err)
		}
		if diff := cmp.Diff(before, files(t, s)); diff != "" {
			t.Errorf("with %d bytes free, files (-before +after):\n%s", free, diff)
		}
		if _, err := s.Image("a"); err != nil {
			t.Errorf("with %d bytes free the other image is lost: %v", free, err)
		}
	}
	if failed < 2 {
		t.Errorf("only %d sizes were too small: this test proves nothing", failed)
	}
}

// fill leaves so many bytes free on a file system.
func fill(t *testing.T, filler string, free int) {
	t.Helper()
	if err := os.WriteFile(filler, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filler, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, max(0, int(st.Bavail)*int(st.Bsize)-free)), 0o600); err != nil {
		t.Fatal(err)
	}
}
