package fsuuid

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/tier"
)

const mib = 1 << 20

// tool finds a foreign program, also where root's PATH alone has it.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// sparse makes a file of the given size.
func sparse(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fs.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// apply writes the first n edits; all of them when n is negative.
func apply(t testing.TB, path, kind, id string, n int) (planned int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	edits, err := Change(kind, f, info.Size(), id)
	if err != nil {
		t.Fatal(err)
	}
	planned = len(edits)
	if n >= 0 {
		edits = edits[:min(n, planned)]
	}
	for _, e := range edits {
		if _, err := f.WriteAt(e.Data, e.Offset); err != nil {
			t.Fatal(err)
		}
	}
	return planned
}

// mounted mounts a file system image and calls do in it; without root, and in
// the quick loop, nothing happens.
func mounted(t testing.TB, path, kind string, do func(dir string)) {
	t.Helper()
	known, _ := os.ReadFile("/proc/filesystems")
	if testing.Short() || os.Geteuid() != 0 || !strings.Contains(string(known), "\t"+kind+"\n") {
		t.Logf("%s is not mounted here", kind)
		return
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mounttest.Private(t)
	run(t, "mount", "-o", "loop", "-t", kind, path, dir)
	do(dir)
	mounttest.Unmount(t, dir)
}

// line is the one of text that begins with prefix.
func line(text, prefix string) string {
	for s := range strings.Lines(text) {
		if strings.HasPrefix(s, prefix) {
			return s
		}
	}
	return ""
}

// fill makes the log or journal hold more than what the maker of the file
// system left.
func fill(t testing.TB) func(dir string) {
	return func(dir string) {
		for i := range 300 {
			name := filepath.Join(dir, fmt.Sprintf("file-%d", i))
			if err := os.WriteFile(name, bytes.Repeat([]byte("gild"), i*7), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A change is judged by the tools of each file system, and by the kernel.
func TestChange(t *testing.T) {
	const id, again = "00112233-4455-4677-8899-aabbccddeeff", "70112233-4455-4677-8899-aabbccddee77"
	for _, tt := range []struct {
		name, kind string
		size       int64
		make, load []string // the file follows
		check      []string // fails when something is wrong
		id, again  string
	}{
		{
			"ext4", "ext4", 600 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum_seed"},
			nil,
			[]string{"e2fsck", "-fn"},
			id,
			again,
		},
		{
			"ext4 of 1 KiB blocks, sparse_super2", "ext4", 300 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4", "-b", "1024", "-O", "metadata_csum_seed,sparse_super2,^resize_inode"},
			nil,
			[]string{"e2fsck", "-fn"},
			id, again,
		},
		{
			"ext4 without checksums", "ext4", 200 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum,^uninit_bg"},
			nil,
			[]string{"e2fsck", "-fn"},
			id, again,
		},
		{
			"ext4 that was given a seed", "ext4", 200 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4"},
			[]string{"tune2fs", "-O", "metadata_csum_seed"},
			[]string{"e2fsck", "-fn"},
			id, again,
		},
		{
			"ext4 that was given a seed while mounted", "ext4", 200 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4", "-b", "4096"},
			[]string{"tune2fs", "-O", "metadata_csum_seed"},
			[]string{"e2fsck", "-fn"},
			id, again,
		},
		{
			"ext2, super block in each group", "ext2", 100 * mib,
			[]string{"mke2fs", "-q", "-t", "ext2", "-O", "^sparse_super,^resize_inode"},
			nil,
			[]string{"e2fsck", "-fn"},
			id, again,
		},
		{"ext3", "ext3", 100 * mib, []string{"mke2fs", "-q", "-t", "ext3", "-O", "^metadata_csum"}, nil, []string{"e2fsck", "-fn"}, id, again},
		{"xfs", "xfs", 400 * mib, []string{"mkfs.xfs", "-q"}, nil, []string{"xfs_repair", "-n", "-f"}, id, again},
		{"xfs, 4 KiB sectors, log stripe", "xfs", 500 * mib, []string{
			"mkfs.xfs", "-q", "-s", "size=4096", "-l", "su=64k,version=2", "-d",
			"agcount=7",
		}, nil, []string{"xfs_repair", "-n", "-f"}, id, again},
		{
			"xfs, 1 KiB blocks", "xfs", 400 * mib,
			[]string{"mkfs.xfs", "-q", "-b", "size=1024", "-m", "reflink=0,rmapbt=0"},
			nil,
			[]string{"xfs_repair", "-n", "-f"},
			id, again,
		},
		{
			"xfs that was renamed before", "xfs", 400 * mib,
			[]string{"mkfs.xfs", "-q"},
			[]string{"xfs_db", "-x", "-c", "uuid generate"},
			[]string{"xfs_repair", "-n", "-f"},
			id, again,
		},
		{"fat32", "vfat", 100 * mib, []string{"mkfs.fat", "-F", "32"}, nil, []string{"fsck.fat", "-n"}, "0011-AAFF", "7011-0000"},
		{"fat16", "vfat", 20 * mib, []string{"mkfs.fat", "-F", "16"}, nil, []string{"fsck.fat", "-n"}, "0011-AAFF", "7011-0000"},
		{"swap", "swap", 20 * mib, []string{"mkswap"}, nil, nil, id, again},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := sparse(t, tt.size)
			run(t, tt.make[0], append(tt.make[1:], path)...)
			if tt.kind != "vfat" && tt.kind != "swap" {
				mounted(t, path, tt.kind, fill(t))
			}
			if tt.load != nil && tt.name == "ext4 that was given a seed while mounted" {
				tier.Root(t, "mounting needs root")
				mounted(t, path, tt.kind, func(dir string) {
					run(t, tt.load[0], append(tt.load[1:], run(t, "findmnt", "-n", "-o", "SOURCE", dir))...)
				})
			} else if tt.load != nil {
				run(t, tt.load[0], append(tt.load[1:], path)...)
			}
			// No two alike: XFS is not mounted while another of the same UUID is.
			ids := []string{Derive(tt.name, tt.id), Derive(tt.name, tt.again)}
			for i, want := range ids {
				old := run(t, "blkid", "-p", "-s", "UUID", "-o", "value", path)
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := Read(tt.kind, f, tt.size); got != old || err != nil {
					t.Errorf("Read(%s) = %q, %v; blkid says %q", tt.kind, got, err, old)
				}
				f.Close()
				// Broken off in its middle, planned again.
				if n := apply(t, path, tt.kind, want, 0); n > 1 {
					apply(t, path, tt.kind, want, n/2)
				}
				apply(t, path, tt.kind, want, -1)
				if got := run(t, "blkid", "-p", "-s", "UUID", "-o", "value", path); got != want {
					t.Errorf("blkid: UUID %q; want %q", got, want)
				}
				if n := apply(t, path, tt.kind, want, -1); n != 0 {
					t.Errorf("Change() to the UUID that it has = %d edits; want none", n)
				}
				if tt.check != nil {
					run(t, tt.check[0], append(tt.check[1:], path)...)
				}
				if i == 0 && tt.kind != "swap" {
					mounted(t, path, tt.kind, func(dir string) {
						if _, err := os.ReadFile(filepath.Join(dir, "file-299")); err != nil && tt.kind != "vfat" {
							t.Error(err)
						}
						// As much again, so that the log goes around over what was changed.
						fill(t)(dir)
					})
					if tt.check != nil {
						run(t, tt.check[0], append(tt.check[1:], path)...)
					}
				}
			}
			if _, err := exec.LookPath("grub-fstest"); err == nil && tt.kind != "swap" {
				// The boot loader finds its files on it.
				run(t, "grub-fstest", path, "ls", "(loop0)/")
			}
			if strings.HasPrefix(tt.kind, "ext") {
				// The copies are what a repair falls back to.
				out, _ := exec.CommandContext(t.Context(), tool(t, "dumpe2fs"), path).CombinedOutput()
				if n := strings.Count(string(out), "Backup superblock"); n == 0 {
					t.Errorf("no copies of the super block in:\n%.2000s", out)
				}
			}
			if tt.name == "ext4 that was given a seed while mounted" {
				// A copy that lacks the seed would take all checksums for wrong.
				first, again := run(t, "dumpe2fs", "-h", path), run(t, "dumpe2fs", "-h", "-o", "superblock=32768", "-o", "blocksize=4096", path)
				for _, field := range []string{"Filesystem UUID:", "Checksum seed:"} {
					if a, b := line(first, field), line(again, field); a != b || a == "" {
						t.Errorf("dumpe2fs: %q, and %q in a copy", a, b)
					}
				}
			}
			if tt.kind == "xfs" {
				if got := run(t, "xfs_db", "-r", "-c", "uuid", path); got != "UUID = "+ids[1] {
					t.Errorf("xfs_db: %q; want %q", got, ids[1])
				}
			}
		})
	}
}

// The old UUID of an ext4 is in none of its super blocks afterwards.
func TestEveryCopy(t *testing.T) {
	path := sparse(t, 600*mib)
	run(t, "mke2fs", "-q", "-t", "ext4", "-b", "1024", "-O", "metadata_csum_seed,^has_journal", "-U", "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0002",
		path)
	apply(t, path, "ext4", "00112233-4455-4677-8899-aabbccddeeff", -1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := []byte("\x0a\x1f\x6c\x52\x7d\x07\x4c\x0e\x9d\x9a\x5b\x1c\x2a\x7e\x00\x02")
	if at := bytes.Index(b, old); at >= 0 {
		t.Errorf("the old UUID is still at byte %d", at)
	}
}

// What cannot be changed says so, and is left alone.
func TestFixed(t *testing.T) {
	const id = "00112233-4455-4677-8899-aabbccddeeff"
	for _, tt := range []struct {
		name, kind, want string
		size             int64
		make             []string
	}{
		{
			"ext4 as Debian 12 makes it", "ext4", "metadata_csum_seed", 100 * mib,
			[]string{"mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum,^metadata_csum_seed"},
		},
		{"ext4 of old", "ext4", "uninit_bg", 100 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
		{"stable inodes", "ext4", "stable_inodes", 100 * mib, []string{
			"mke2fs", "-q", "-t", "ext4", "-O",
			"metadata_csum_seed,encrypt,stable_inodes",
		}},
		{"xfs version 4", "xfs", "before 5", 400 * mib, []string{"mkfs.xfs", "-q", "-m", "crc=0"}},
		{"btrfs", "btrfs", "does not know", 1 * mib, []string{"true"}},
		{"nothing", "ext4", "no ext2", 1 * mib, []string{"true"}},
	} {
		path := sparse(t, tt.size)
		run(t, tt.make[0], append(tt.make[1:], path)...)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		edits, err := Change(tt.kind, f, tt.size, id)
		f.Close()
		var fixed *FixedError
		if len(edits) != 0 || err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &fixed) == (tt.name == "nothing") {
			t.Errorf("%s: Change() = %d edits, %v; want an error with %q", tt.name, len(edits), err, tt.want)
		}
	}
}

// A log that has something to recover is not touched: a copy of a mounted file
// system is what a cut of power leaves.
func TestDirtyLog(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		path, cut := sparse(t, 400*mib), filepath.Join(t.TempDir(), "cut.img")
		if kind == "xfs" {
			run(t, "mkfs.xfs", "-q", path)
		} else {
			run(t, "mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum_seed", path)
		}
		done := false
		mounted(t, path, kind, func(dir string) {
			fill(t)(dir)
			run(t, "sync", "-f", dir)
			run(t, "cp", "--sparse=always", path, cut)
			done = true
		})
		if !done {
			t.Skip("a dirty log needs a mount, which needs root")
		}
		f, err := os.Open(cut)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Change(kind, f, 400*mib, "00112233-4455-4677-8899-aabbccddeeff")
		f.Close()
		var fixed *FixedError
		if !errors.As(err, &fixed) || !strings.Contains(err.Error(), "not recovered") {
			t.Errorf("Change(%s with a dirty log) = %v; want that it was not recovered", kind, err)
		}
	}
}

func TestDerive(t *testing.T) {
	for _, old := range []string{"0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0002", "61D0-0001", "61d00001"} {
		a, b := Derive("plan", old), Derive("another", old)
		if a == b || a == old || len(a) != len(old) || a != Derive("plan", strings.ToUpper(old)) {
			t.Errorf("Derive(%q) = %q and %q for another key", old, a, b)
		}
	}
	if id := Derive("plan", "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0002"); id[14] != '4' || !strings.ContainsAny(id[19:20], "89ab") {
		t.Errorf("Derive() = %q; want a UUID of version 4", id)
	}
	if id := Derive("plan", "61d0-0001"); id != strings.ToUpper(id) {
		t.Errorf("Derive() = %q; want upper case, as blkid has it", id)
	}
}

// memory is a file system in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

// Foreign bytes neither panic nor plan a write outside, and what is planned is
// what then is there.
func FuzzChange(f *testing.F) {
	for _, kind := range []string{"ext4", "xfs", "vfat", "swap"} {
		f.Add(kind, []byte{})
	}
	for kind, args := range map[string][]string{
		"ext4": {"mke2fs", "-q", "-t", "ext4", "-b", "1024", "-O", "metadata_csum_seed,^has_journal"},
		"ext2": {"mke2fs", "-q", "-t", "ext2", "-b", "1024"},
		"vfat": {"mkfs.fat", "-F", "12"}, "swap": {"mkswap"},
	} {
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		path := sparse(f, 8*mib)
		run(f, args[0], append(args[1:], path)...)
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, b[:64<<10])
	}
	f.Fuzz(func(t *testing.T, kind string, head []byte) {
		disk := make(memory, max(len(head), 256<<10))
		copy(disk, head)
		start := time.Now()
		id := "00112233-4455-4677-8899-aabbccddeeff"
		if kind == "vfat" {
			id = "0011-AAFF"
		}
		edits, err := Change(kind, disk, int64(len(disk)), id)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("Change() took %v", took)
		}
		if err != nil {
			return
		}
		for _, e := range edits {
			if e.Offset < 0 || e.Offset+int64(len(e.Data)) > int64(len(disk)) {
				t.Fatalf("Change() plans %d bytes at %d of %d", len(e.Data), e.Offset, len(disk))
			}
			copy(disk[e.Offset:], e.Data)
		}
		if got, err := Read(kind, disk, int64(len(disk))); err != nil || got != id {
			t.Errorf("Read() = %q, %v; want %q", got, err, id)
		}
	})
}
