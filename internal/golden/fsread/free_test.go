package fsread_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/tier"
)

// free is everything that Free yields, held to its contract.
func free(t testing.TB, fsys *fsread.FS, size int64) ([]fsread.Extent, error) {
	t.Helper()
	var list []fsread.Extent
	var next int64
	for e, err := range fsys.Free() {
		if err != nil {
			return list, err
		}
		if e.Length <= 0 || e.Start < next || len(list) > 0 && e.Start == next || e.End() > size || e.End() < e.Start {
			t.Fatalf("Free yields %d bytes at %d behind %d, on %d bytes", e.Length, e.Start, next, size)
		}
		list, next = append(list, e), e.End()
	}
	return list, nil
}

// age mounts a file system, fills it with files of many sizes and deletes most
// of them, so that its free space lies in many pieces.
func age(t testing.TB, image string, files, repeat int) {
	t.Helper()
	tier.Root(t, "mounting needs root")
	dir := t.TempDir()
	mounttest.Private(t)
	run(t, "mount", "-o", "loop", image, dir)
	mounted := true
	defer func() {
		if mounted {
			mounttest.Unmount(t, dir)
		}
	}()
	rng := rand.New(rand.NewPCG(1, 2))
	name := func(i int) string { return filepath.Join(dir, strconv.Itoa(i%7), strconv.Itoa(i)) }
	for i := range files {
		if err := os.MkdirAll(filepath.Dir(name(i)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name(i), bytes.Repeat([]byte("some content "), 1+rng.IntN(repeat)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "sync", "-f", dir)
	for i := range files {
		if i%3 != 0 {
			if err := os.Remove(name(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mounttest.Unmount(t, dir)
	mounted = false
}

// coalesce joins extents that touch.
func coalesce(list []fsread.Extent) []fsread.Extent {
	var out []fsread.Extent
	for _, e := range list {
		if n := len(out); n > 0 && out[n-1].End() == e.Start {
			out[n-1].Length += e.Length
		} else {
			out = append(out, e)
		}
	}
	return out
}

// dumpe2fsFree is the list of free blocks of each group, as dumpe2fs prints it.
func dumpe2fsFree(t testing.TB, image string) []fsread.Extent {
	t.Helper()
	out := run(t, "dumpe2fs", image)
	header := func(name string, otherwise int64) int64 {
		m := regexp.MustCompile(name + `: +(\d+)`).FindStringSubmatch(out)
		if m == nil {
			return otherwise
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	block := header("Block size", 0)
	cluster := header("Cluster size", block) // a range ends with the first block of its last cluster
	var list []fsread.Extent
	for _, m := range regexp.MustCompile(`(?m)^  Free blocks: ([-0-9, ]*)$`).FindAllStringSubmatch(out, -1) {
		for _, part := range strings.Split(m[1], ", ") {
			if part == "" {
				continue
			}
			var from, to int64
			if n, _ := fmt.Sscanf(part, "%d-%d", &from, &to); n == 1 {
				to = from
			}
			list = append(list, fsread.Extent{Start: from * block, Length: (to-from)*block + cluster})
		}
	}
	return coalesce(list)
}

func TestFreeOfExtIsWhatDumpe2fsSays(t *testing.T) {
	for _, tt := range []struct {
		name string
		mib  int64
		args []string
	}{
		{"ext2", 100, []string{"-t", "ext2"}},
		{"ext2 1k", 100, []string{"-t", "ext2", "-b", "1024"}},
		{"ext3", 100, []string{"-t", "ext3"}},
		{"ext3 1k without sparse groups", 100, []string{"-t", "ext3", "-b", "1024", "-O", "^sparse_super,^resize_inode"}},
		{"ext4", 300, []string{"-t", "ext4"}},
		{"ext4 1k", 100, []string{"-t", "ext4", "-b", "1024"}},
		{"ext4 2k of an odd size", 77, []string{"-t", "ext4", "-b", "2048", "-g", "2048"}},
		{"ext4 64bit", 300, []string{"-t", "ext4", "-O", "64bit"}},
		{"ext4 32bit", 300, []string{"-t", "ext4", "-O", "^64bit"}},
		{"ext4 gdt_csum", 300, []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
		{"ext4 gdt_csum 32bit", 300, []string{"-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg"}},
		{"ext4 without csum", 300, []string{"-t", "ext4", "-O", "^metadata_csum,^uninit_bg"}},
		{"ext4 without flex_bg", 300, []string{"-t", "ext4", "-O", "^flex_bg"}},
		{"ext4 meta_bg", 300, []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"}},
		{"ext4 meta_bg 64bit", 300, []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,64bit"}},
		{"ext4 sparse_super2", 300, []string{"-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"}},
		{"ext4 metadata_csum_seed", 100, []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
		{"ext4 orphan_file", 100, []string{"-t", "ext4", "-O", "orphan_file"}},
		{"ext4 inline_data", 100, []string{"-t", "ext4", "-O", "inline_data"}},
		{"ext4 bigalloc", 300, []string{"-t", "ext4", "-O", "bigalloc", "-C", "65536"}},
		{"ext4 bigalloc 1k", 300, []string{"-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"}},
		{"ext4 without journal", 100, []string{"-t", "ext4", "-O", "^has_journal"}},
		{"ext4 many groups", 3000, []string{"-t", "ext4", "-b", "1024", "-g", "1024"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image := blank(t, tt.mib<<20)
			run(t, "mke2fs", append(append([]string{"-q", "-F"}, tt.args...), image)...)
			check := func() {
				t.Helper()
				fsys, c := open(t, image)
				got, err := free(t, fsys, tt.mib<<20)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(dumpe2fsFree(t, image), got); diff != "" {
					t.Errorf("free extents (-dumpe2fs +got):\n%.2000s", diff)
				}
				t.Logf("%d extents, %d reads, %d bytes", len(got), c.calls.Load(), c.bytes.Load())
			}
			check()
			age(t, image, 600, 8000)
			check()
		})
	}
}

// TestFreeOfXFSIsWhatXFSDBSays compares with xfs_db, which also counts the few
// blocks that a group keeps for its trees.
func TestFreeOfXFSIsWhatXFSDBSays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files int
		args  []string
	}{
		{"v5", 600, nil},
		{"v5 1k in many pieces", 6000, []string{"-b", "size=1024", "-d", "agcount=2"}},
		{"v5 of 16 groups", 600, []string{"-d", "agcount=16"}},
		{"v5 1k", 600, []string{"-b", "size=1024"}},
		{"v5 4k sectors", 600, []string{"-s", "size=4096"}},
		{"v5 without rmapbt and reflink", 600, []string{"-m", "rmapbt=0,reflink=0,finobt=0"}},
		{"v5 rmapbt", 600, []string{"-m", "rmapbt=1"}},
		{"v4", 600, []string{"-m", "crc=0"}},
		{"v4 512", 600, []string{"-m", "crc=0", "-b", "size=512"}},
		{"v4 1k of 11 groups", 600, []string{"-m", "crc=0", "-b", "size=1024", "-d", "agcount=11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const size = 2 << 30
			image := blank(t, size)
			args := append([]string{"-q", "-f"}, tt.args...)
			v4 := slices.Contains(tt.args, "crc=0")
			if v4 { // which kernels are built without; so mkfs fills it
				args = append(args, "-p", protofile(t, sourceTree(t, 3000)))
			}
			run(t, "mkfs.xfs", append(args, image)...)
			for _, aged := range []bool{false, true} {
				if aged && v4 {
					break
				}
				if aged {
					age(t, image, tt.files, 4<<20/tt.files)
				}
				fsys, c := open(t, image)
				got, err := free(t, fsys, size)
				if err != nil {
					t.Fatal(err)
				}
				want, reserved := xfsDBFree(t, image)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("free extents without the %d reserved blocks (-xfs_db +got):\n%.2000s", reserved, diff)
				}
				t.Logf("%d extents, %d reads, %d bytes", len(got), c.calls.Load(), c.bytes.Load())
			}
		})
	}
}

// xfsDBFree is what xfs_db finds, but for what it shows of the free lists in
// front of each group's tree.
func xfsDBFree(t testing.TB, image string) (list []fsread.Extent, reserved int64) {
	t.Helper()
	number := func(at, field string) int64 {
		out := run(t, "xfs_db", "-r", "-c", at, "-c", "p "+field, image)
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(out, field+" = ")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	block, agBlocks := number("sb 0", "blocksize"), number("sb 0", "agblocks")
	group, skip := int64(-1), int64(0)
	for _, line := range strings.Split(run(t, "xfs_db", "-r", "-c", "freesp -d", image), "\n") {
		var ag, at, n int64
		if got, _ := fmt.Sscanf(line, "%d %d %d", &ag, &at, &n); got != 3 || len(strings.Fields(line)) != 3 {
			continue
		}
		if ag != group {
			group, skip = ag, number(fmt.Sprintf("agf %d", ag), "flcount")
			reserved += skip
		}
		if skip--; skip < 0 {
			list = append(list, fsread.Extent{Start: (ag*agBlocks + at) * block, Length: n * block})
		}
	}
	return coalesce(list), reserved
}

// TestFreeIsNotBelievedWhileMounted copies file systems that are in use.
func TestFreeIsNotBelievedWhileMounted(t *testing.T) {
	tier.Root(t, "mounting needs root")
	for name, mkfs := range map[string][]string{
		"ext2": {"mke2fs", "-q", "-F", "-t", "ext2"},
		"ext4": {"mke2fs", "-q", "-F", "-t", "ext4"},
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 320 << 20
			image := blank(t, size)
			run(t, mkfs[0], append(mkfs[1:], image)...)
			dir := t.TempDir()
			mounttest.Private(t)
			run(t, "mount", "-o", "loop", image, dir)
			defer mounttest.Unmount(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("in use"), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "sync", "-f", dir)
			copied := filepath.Join(t.TempDir(), "copy")
			run(t, "cp", "--sparse=always", image, copied)
			fsys, _ := open(t, copied)
			if list, err := free(t, fsys, size); err == nil || len(list) > 0 {
				t.Errorf("Free of a mounted %s = %d extents, %v; want an error alone", name, len(list), err)
			}
		})
	}
}

// TestFreeRefusesWhatDoesNotAgree changes one thing at a time that the maps
// depend on.
func TestFreeRefusesWhatDoesNotAgree(t *testing.T) {
	const size = 320 << 20
	for name, tt := range map[string]struct {
		mkfs []string
		at   int64 // what is changed
		flip byte
		want string
	}{
		"ext4, the superblock":      {[]string{"mke2fs", "-q", "-F", "-t", "ext4"}, 1024 + 0x30, 1, "checksum of the superblock"},
		"ext4, a read-only feature": {[]string{"mke2fs", "-q", "-F", "-t", "ext2"}, 1024 + 0x65, 0x40, "read-only compatible features"},
		"ext4, a feature":           {[]string{"mke2fs", "-q", "-F", "-t", "ext2"}, 1024 + 0x5f, 0x40, "compatible features"},
		"ext4, an error found":      {[]string{"mke2fs", "-q", "-F", "-t", "ext2"}, 1024 + 0x3a, 2, "not cleanly unmounted"},
		"ext4, the sum of a descriptor": {
			[]string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"},
			4096 + 0x1e, 1,
			"descriptor of group 0",
		},
		"ext4, an old sum of a descriptor": {
			[]string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^metadata_csum,uninit_bg"},
			4096 + 0x10, 1, "descriptor of group 0",
		},
		"ext2, the count of a group": {[]string{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096"}, 4096 + 0xc, 1, "its descriptor says"},
		"ext2, a bitmap in the wrong place": {
			[]string{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096"},
			4096 + 2, 0xff,
			"outside the file system",
		},
		"ext2, inodes where the free data is": {
			[]string{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096"},
			4096 + 32 + 9, 0x10,
			"calls metadata free",
		},
		"xfs, the superblock":       {[]string{"mkfs.xfs", "-q", "-f"}, 0x90, 1, "checksum of the superblock"},
		"xfs, a group":              {[]string{"mkfs.xfs", "-q", "-f"}, 512 + 60, 1, "checksum of the header of group 0"},
		"xfs, a read-only feature":  {[]string{"mkfs.xfs", "-q", "-f"}, 212, 0x80, "read-only compatible features"},
		"xfs, a tree":               {[]string{"mkfs.xfs", "-q", "-f"}, 4096 + 60, 1, "checksum of block 1"},
		"xfs v4, a count":           {[]string{"mkfs.xfs", "-q", "-f", "-m", "crc=0"}, 512 + 55, 1, "its header says"},
		"xfs v4, a record":          {[]string{"mkfs.xfs", "-q", "-f", "-m", "crc=0"}, 4096 + 16 + 3, 0xff, "free"},
		"xfs v4, a tree of nothing": {[]string{"mkfs.xfs", "-q", "-f", "-m", "crc=0"}, 512 + 19, 0x40, "free-space tree"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := blank(t, size)
			run(t, tt.mkfs[0], append(tt.mkfs[1:], image)...)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, tt.at); err != nil {
				t.Fatal(err)
			}
			fsys, err := fsread.Open(patched{r: f, bytes: map[int64]byte{tt.at: b[0] ^ tt.flip}}, size)
			if err != nil {
				t.Fatal(err)
			}
			_, err = free(t, fsys, size)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Free = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

// A FAT has its free clusters in a table that this package reads for files
// only.
func TestFreeOfOtherKinds(t *testing.T) {
	fsys, err := fsread.Open(bytes.NewReader(tinyFAT()), 16*512)
	if err != nil {
		t.Fatal(err)
	}
	_, err = free(t, fsys, 16*512)
	if _, ok := errors.AsType[*fsread.UnsupportedError](err); !ok {
		t.Errorf("Free of a FAT = %v; want an UnsupportedError", err)
	}
}

// TestFreeEndsWhenTold stops after one extent.
func TestFreeEndsWhenTold(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mke2fs", "-q", "-F", "-t", "ext4"},
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		image := blank(t, 320<<20)
		run(t, mkfs[0], append(mkfs[1:], image)...)
		fsys, _ := open(t, image)
		var n int
		for _, err := range fsys.Free() {
			if err != nil {
				t.Error(err)
			}
			n++
			break
		}
		if n != 1 {
			t.Errorf("%s: %d extents; want 1", name, n)
		}
	}
}

// FuzzFree changes bytes of the maps, each five bytes of the input one that is
// not zero. Without checksums, the maps of ext2 and of XFS version 4 are
// believed further than the others.
func FuzzFree(f *testing.F) {
	look := func(r io.ReaderAt, size int64) {
		fsys, err := fsread.Open(r, size)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := free(f, fsys, size); err != nil {
			f.Fatal(err)
		}
	}
	images := madeImages(f, 4<<20, look, [][]string{
		{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-g", "512"},
		{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-g", "512"},
		{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "bigalloc,^metadata_csum,^uninit_bg", "-C", "4096"},
		{"mkfs.xfs", "-q", "-f", "-m", "crc=0"},
		{"mkfs.xfs", "-q", "-f"},
	})
	if len(images) == 0 {
		f.Skip("neither mke2fs nor mkfs.xfs is installed")
	}
	f.Add(uint8(0), []byte{})
	f.Add(uint8(1), []byte("\x00\x00\x00\x10\xff"))
	f.Add(uint8(3), []byte("\x00\x00\x04\x10\x00\x00\x00\x05\x10\x01"))
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		img := images[int(which)%len(images)]
		p := patched{r: img.file, bytes: make(map[int64]byte)}
		for ; len(edits) >= 5; edits = edits[5:] {
			p.bytes[img.hot[int(binary.BigEndian.Uint32(edits))%len(img.hot)]] = edits[4]
		}
		fsys, err := fsread.Open(p, img.size)
		if err != nil {
			return
		}
		_, _ = free(t, fsys, img.size)
	})
}
