package fsread_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
)

// visit reads everything that can be reached. It has to end, whatever the bytes
// say.
func visit(r io.ReaderAt, size int64) {
	_, _ = probe.Length(r, size)
	fsys, err := fsread.Open(r, size)
	if err != nil {
		return
	}
	fsys.Dirty()
	_ = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is passed over
		}
		if d.Type() == fs.ModeSymlink {
			_, _ = fsys.ReadLink(name)
		}
		_, _ = fsys.ReadFileLimit(name, 1<<20)
		return nil
	})
}

// FuzzOpen takes whole partitions of a few KiB.
func FuzzOpen(f *testing.F) {
	f.Add(tinyFAT())
	f.Add(append(make([]byte, 1024+0x38), 0x53, 0xef))
	f.Add(append([]byte("XFSB\x00\x00\x10\x00"), make([]byte, 504)...))
	f.Add([]byte("LUKS\xba\xbe"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		visit(bytes.NewReader(b), int64(len(b)))
	})
}

// tinyFAT is a FAT12 volume of 8 KiB with one directory that holds one file.
func tinyFAT() []byte {
	b := make([]byte, 16*512)
	copy(b, "\xeb\x3c\x90MSDOS5.0\x00\x02\x01\x01\x00\x01\x10\x00\x10\x00\xf8\x01\x00")
	b[510], b[511] = 0x55, 0xaa
	copy(b[512:], "\xf8\xff\xff\xff\xff\xff") // clusters 2 and 3 end their chains
	copy(b[1024:], "EFI        \x10")
	b[1024+26] = 2
	copy(b[1536:], ".          \x10")
	copy(b[1568:], "..         \x10")
	copy(b[1600:], "GRUB    CFG\x20")
	b[1600+26], b[1600+28] = 3, 5
	copy(b[2048:], "hello")
	return b
}

// TestTinyFAT shows that the seed is a sound volume.
func TestTinyFAT(t *testing.T) {
	fsys, err := fsread.Open(bytes.NewReader(tinyFAT()), 16*512)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fsys.ReadFile("EFI/GRUB.CFG"); string(got) != "hello" || err != nil {
		t.Errorf("ReadFile() = %q, %v; want hello", got, err)
	}
}

// FuzzPatched changes bytes of real images where a reader looks: each five
// bytes of the input choose one that is not zero, and its new value.
func FuzzPatched(f *testing.F) {
	images := realImages(f)
	if len(images) == 0 {
		f.Skip("neither mke2fs nor mkfs.xfs is installed")
	}
	f.Add(uint8(0), []byte{})
	f.Add(uint8(1), []byte("\x00\x00\x00\x10\xff"))
	f.Add(uint8(2), []byte("\x00\x00\x04\x10\x00\x00\x00\x05\x10\x01"))
	f.Fuzz(func(_ *testing.T, which uint8, edits []byte) {
		img := images[int(which)%len(images)]
		p := patched{r: img.file, bytes: make(map[int64]byte)}
		for ; len(edits) >= 5; edits = edits[5:] {
			at := img.hot[int(binary.BigEndian.Uint32(edits))%len(img.hot)]
			p.bytes[at] = edits[4]
		}
		visit(p, img.size)
	})
}

type realImage struct {
	file *os.File
	size int64
	hot  []int64 // offsets of bytes that a walk reads and that are not zero
}

// patched is a device with some bytes changed.
type patched struct {
	r     io.ReaderAt
	bytes map[int64]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.r.ReadAt(b, off)
	for at, value := range p.bytes {
		if at >= off && at < off+int64(n) {
			b[at-off] = value
		}
	}
	return n, err
}

// recorder notes which bytes are read and are not zero.
type recorder struct {
	r   io.ReaderAt
	hot map[int64]bool
}

func (r recorder) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.r.ReadAt(b, off)
	for i, v := range b[:n] {
		if v != 0 {
			r.hot[off+int64(i)] = true
		}
	}
	return n, err
}

func realImages(f *testing.F) []realImage {
	source := f.TempDir()
	for name, size := range map[string]int{"etc/a": 10, "etc/b": 100, "lib/c": 5000} {
		p := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(p, make([]byte, size), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(source, "lib", string(rune('a'+i))), nil, 0o600); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("lib/c", filepath.Join(source, "link")); err != nil {
		f.Fatal(err)
	}
	return madeImages(f, 512<<10, visit, [][]string{
		{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "64", "-O", "^has_journal", "-d", source},
		{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "64", "-O", "^has_journal,inline_data", "-d", source},
		{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-N", "64", "-d", source},
		{"mkfs.xfs", "-q", "-f", "-p", protofile(f, source)},
		{"mkfs.xfs", "-q", "-f", "-m", "crc=0", "-b", "size=1024", "-p", protofile(f, source)},
	})
}

// madeImages makes a file system by each of the commands, ext ones in extSize
// bytes, and notes which bytes look reads of it. Commands that are not
// installed give none.
func madeImages(f *testing.F, extSize int64, look func(r io.ReaderAt, size int64), commands [][]string) []realImage {
	var images []realImage
	for _, command := range commands {
		size := extSize
		if command[0] == "mkfs.xfs" {
			size = 320 << 20
		}
		image := blank(f, size)
		if exec.Command(command[0], append(command[1:], image)...).Run() != nil {
			continue
		}
		file, err := os.Open(image)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { file.Close() })
		r := recorder{file, make(map[int64]bool)}
		look(r, size)
		// Sorted, or a crash found by one process would be none in the next.
		images = append(images, realImage{file: file, size: size, hot: slices.Sorted(maps.Keys(r.hot))})
	}
	return images
}
