package fsread_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/tier"
)

// TestXFS reads what mkfs.xfs makes of a tree, in every layout that changes
// where things are.
func TestXFS(t *testing.T) {
	t.Parallel()
	small, large := sourceTree(t, 300), ""
	if !testing.Short() {
		large = sourceTree(t, 3200)
	}
	for _, test := range []struct{ name, args string }{
		{"large-default", ""},
		{"large-v4", "-m crc=0"},
		{"v4-no-ftype", "-m crc=0 -n ftype=0"},
		{"1k", "-b size=1024"},
		{"large-1k-directory-8k", "-b size=1024 -n size=8192"},
		{"v4-directory-64k", "-m crc=0 -n size=65536"},
		{"inode-2k", "-i size=2048"},
		{"no-reflink-no-bigtime", "-m reflink=0,bigtime=0,inobtcount=0"},
		{"no-sparse-inodes", "-i sparse=0"},
		{"64-bit-extent-counters", "-i nrext64=1"},
		{"512-byte-blocks-v4", "-m crc=0 -b size=512"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := small
			if strings.HasPrefix(test.name, "large") {
				if source = large; large == "" {
					t.Skip("thousands of files take their time")
				}
			}
			image := blank(t, 320<<20)
			args := append([]string{"-q", "-f", "-L", "golden", "-p", protofile(t, source)}, strings.Fields(test.args)...)
			run(t, "mkfs.xfs", append(args, image)...)
			fsys, _ := open(t, image)
			if fsys.Dirty() {
				t.Error("Dirty() = true for a fresh file system")
			}
			compare(t, fsys, source, true, "link801")
			checkBlkid(t, image, fsys.Kind(), fsys.UUID(), fsys.Label())
		})
	}
}

// TestXFSMounted reads what the kernel wrote: holes, extents in B+trees,
// directories that grew and shrank, and a log that was cut off.
func TestXFSMounted(t *testing.T) {
	t.Parallel()
	image, dir := blank(t, 320<<20), t.TempDir()
	run(t, "mkfs.xfs", "-q", "-f", image)
	unmount := mount(t, image, dir)
	source := sourceTree(t, 1500)
	run(t, "cp", "-a", "--sparse=always", source+"/.", dir)
	for i := range 700 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("usr/share/many/file-with-a-rather-long-name-%05d", 2*i))); err != nil {
			t.Fatal(err)
		}
	}
	fragment(t, filepath.Join(dir, "fragmented"), 3000)
	run(t, "cp", "--reflink=always", filepath.Join(dir, "fragmented"), filepath.Join(dir, "shared"))
	if err := os.Rename(filepath.Join(dir, "deep"), filepath.Join(dir, "names", "deep")); err != nil {
		t.Fatal(err)
	}
	want := t.TempDir()
	run(t, "cp", "-a", dir+"/.", want)
	run(t, "sync", "-f", dir)

	// The copy of a mounted file system is what a cut of power leaves.
	torn := filepath.Join(t.TempDir(), "torn")
	run(t, "cp", "--sparse=always", image, torn)
	unmount()

	if fsys, _ := open(t, torn); !fsys.Dirty() {
		t.Error("Dirty() = false for a copy of a mounted file system")
	}
	fsys, _ := open(t, image)
	if fsys.Dirty() {
		t.Error("Dirty() = true after unmount")
	}
	compare(t, fsys, want, true)
}

// TestExtMounted is the same for ext4.
func TestExtMounted(t *testing.T) {
	t.Parallel()
	image, dir := blank(t, 160<<20), t.TempDir()
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", image)
	unmount := mount(t, image, dir)
	source := sourceTree(t, 1500)
	run(t, "cp", "-a", "--sparse=always", source+"/.", dir)
	for i := range 700 {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("usr/share/many/file-with-a-rather-long-name-%05d", 2*i))); err != nil {
			t.Fatal(err)
		}
	}
	fragment(t, filepath.Join(dir, "fragmented"), 3000)
	want := t.TempDir()
	run(t, "cp", "-a", dir+"/.", want)
	run(t, "sync", "-f", dir)
	torn := filepath.Join(t.TempDir(), "torn")
	run(t, "cp", "--sparse=always", image, torn)
	unmount()

	if fsys, _ := open(t, torn); !fsys.Dirty() {
		t.Error("Dirty() = false for a copy of a mounted file system")
	}
	fsys, _ := open(t, image)
	if fsys.Dirty() {
		t.Error("Dirty() = true after unmount")
	}
	compare(t, fsys, want, true)
}

// mount mounts an image over a loop device that goes away with the mount.
func mount(t *testing.T, image, dir string) (unmount func()) {
	t.Helper()
	tier.Root(t, "needs root to mount")
	mounttest.Private(t)
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("this machine does not mount loop devices: %v: %s", err, out)
	}
	mounted := true
	unmount = func() {
		if !mounted {
			return
		}
		mounted = false
		mounttest.Unmount(t, dir)
	}
	t.Cleanup(unmount)
	return unmount
}

// fragment writes every other block of a file, so that no two extents can
// merge.
func fragment(t *testing.T, name string, extents int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range extents {
		if _, err := f.WriteAt(pattern(4096, byte(i)), int64(i)*8192); err != nil {
			t.Fatal(err)
		}
	}
}
