package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testDisk is a disk of size bytes with runs of data and of zeros, and a boot
// sector so that it does not look like text.
func testDisk(size int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	for off := 0; off < size; off += 4096 {
		part := b[off:min(off+4096, size)]
		switch rng.IntN(3) {
		case 0:
			for i := range part {
				part[i] = byte(rng.Uint32())
			}
		case 1:
			copy(part, bytes.Repeat([]byte("golden\x00"), len(part)/7))
		}
	}
	copy(b[510:], "\x55\xaa")
	return b
}

// pack runs a compressor over b.
func pack(t testing.TB, b []byte, tool string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s makes the input of this test", tool)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(b)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, &stderr)
	}
	return out.Bytes()
}

// packQcow2 converts b with qemu-img and returns the qcow2 file.
func packQcow2(t testing.TB, b []byte, args ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img (Debian: qemu-utils) makes the input of this test")
	}
	raw, dst := writeFile(t, b), filepath.Join(t.TempDir(), "disk.qcow2")
	args = append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, dst)
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
	q, err := os.ReadFile(dst)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// writeFile stores b under a name that says nothing.
func writeFile(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads the disk in small chunks and checks the rules of ReadChunk.
func readAll(d *Disk) ([]byte, error) {
	var all []byte
	p := make([]byte, 64<<10)
	short := false
	for {
		n, zero, err := d.ReadChunk(p)
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if n <= 0 || n > len(p) || short {
			return all, fmt.Errorf("test: chunk of %d bytes after a short one: %v", n, short)
		}
		short = n < len(p)
		if zero {
			all = append(all, make([]byte, n)...)
		} else {
			all = append(all, p[:n]...)
		}
	}
}

func readImage(ctx context.Context, name string, opts Options) ([]byte, *Disk, error) {
	d, err := Open(ctx, name, opts)
	if err != nil {
		return nil, nil, err
	}
	b, err := readAll(d)
	return b, d, errors.Join(err, d.Close())
}

func TestFormats(t *testing.T) {
	t.Parallel()
	disk := testDisk(3<<20 + 512)
	qcow := packQcow2(t, disk)
	tests := []struct {
		format string
		packed []byte
	}{
		{"raw", disk},
		{"qcow2", qcow},
		{"qcow2", packQcow2(t, disk, "-c")},
		{"gzip, raw", pack(t, disk, "gzip", "-c")},
		{"bzip2, raw", pack(t, disk, "bzip2", "-c")},
		{"xz, raw", pack(t, disk, "xz", "-c", "-1")},
		{"xz, raw", pack(t, disk, "xz", "-c", "-1", "--block-size=300000", "-T2")},
		{"xz, raw", pack(t, disk, "xz", "-c", "-1", "--check=none")},
		{"zstd, raw", pack(t, disk, "zstd", "-c")},
		{"zstd, raw", pack(t, disk, "zstd", "-c", "--no-check", "-1")},
		{"zstd, raw", pack(t, disk, "zstd", "-c", "--long=27")},
		{"zstd, raw", append([]byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"), pack(t, disk, "zstd", "-c")...)},
		{"xz, qcow2", pack(t, qcow, "xz", "-c", "-1")},
		{"gzip, qcow2", pack(t, qcow, "gzip", "-c", "-1")},
	}
	// Joined members, streams and frames are one: RFC 1952 2.2, RFC 8878 3.1.
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		joined := append(pack(t, disk[:1<<20], tool, "-c"), pack(t, disk[1<<20:], tool, "-c")...)
		tests = append(tests, struct {
			format string
			packed []byte
		}{tool + ", raw", joined})
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i, " ", tt.format), func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, tt.packed)
			for name, open := range map[string]func() (string, Options){
				"file":   func() (string, Options) { return path, Options{} },
				"own xz": func() (string, Options) { return path, Options{NoXZProgram: true} },
				"stdin": func() (string, Options) {
					return "-", Options{Stdin: bytes.NewReader(tt.packed), TempDir: t.TempDir()}
				},
			} {
				image, opts := open()
				got, d, err := readImage(t.Context(), image, opts)
				if err != nil || !bytes.Equal(got, disk) {
					t.Errorf("%s: read %d bytes, %v; want the %d of the disk, nil", name, len(got), err, len(disk))
					continue
				}
				if d.Format() != tt.format {
					t.Errorf("%s: Format() = %q; want %q", name, d.Format(), tt.format)
				}
				if d.SourceSize() >= 0 && d.Read() != d.SourceSize() {
					t.Errorf("%s: Read() = %d; want SourceSize() = %d", name, d.Read(), d.SourceSize())
				}
				if opts.TempDir != "" {
					if left, _ := os.ReadDir(opts.TempDir); len(left) > 0 {
						t.Errorf("%s: left %v behind", name, left)
					}
				}
			}
		})
	}
}

// TestCut: a source cut anywhere is an error, never a shorter disk. Two joined
// parts without checks where the format allows it: there, nothing but the
// framing tells.
func TestCut(t *testing.T) {
	t.Parallel()
	disk := testDisk(16 << 10)
	one, two := disk[:6<<10], disk[6<<10:]
	join := func(tool string, args ...string) []byte {
		return append(pack(t, one, tool, args...), pack(t, two, tool, args...)...)
	}
	first := func(tool string, args ...string) int { return len(pack(t, one, tool, args...)) }
	tests := map[string]struct {
		packed []byte
		whole  int // a cut here leaves a whole, shorter source
		step   int
		opts   Options
	}{
		"gzip":           {join("gzip", "-c"), first("gzip", "-c"), 61, Options{}},
		"gzip with name": {append(pack(t, one, "gzip", "-c"), named(t, two)...), first("gzip", "-c"), 61, Options{}},
		"bzip2":          {join("bzip2", "-c"), first("bzip2", "-c"), 127, Options{}},
		"zstd":           {join("zstd", "-c"), first("zstd", "-c"), 61, Options{}},
		"zstd unchecked": {join("zstd", "-c", "--no-check"), first("zstd", "-c", "--no-check"), 61, Options{}},
		"own xz":         {join("xz", "-c"), first("xz", "-c"), 61, Options{NoXZProgram: true}},
		"own xz, blocks": {pack(t, disk, "xz", "-c", "--block-size=2096", "--check=none"), -1, 7, Options{NoXZProgram: true}},
		"xz":             {join("xz", "-c"), first("xz", "-c"), 1009, Options{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range len(tt.packed) {
				// Every place near the ends and the joint, steps between.
				near := n < 20 || len(tt.packed)-n < 20 || tt.whole-20 < n && n < tt.whole+20
				if n == tt.whole || n == 0 || !near && n%tt.step != 0 || n < 8 {
					continue
				}
				opts := tt.opts
				opts.Stdin = bytes.NewReader(tt.packed[:n])
				_, _, err := readImage(t.Context(), "-", opts)
				if err == nil || !strings.Contains(err.Error(), "end") {
					t.Fatalf("first %d of %d bytes: %v; want an error about the end", n, len(tt.packed), err)
				}
			}
		})
	}
}

// named makes a gzip member with a file name in its header.
func named(t testing.TB, b []byte) []byte {
	path := writeFile(t, b)
	return pack(t, nil, "gzip", "-c", path)
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	disk := testDisk(64 << 10)
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		packed := pack(t, disk, tool, "-c")
		for _, garbage := range []string{
			"\x00", "\x00\x00\x00", strings.Repeat("\x00", 6), "x", "(\xb5", "BZ", "\x1f", "garbage!",
			strings.Repeat("garbage", 50000),
		} {
			for _, opts := range []Options{{}, {NoXZProgram: true}} {
				opts.Stdin = bytes.NewReader(append(packed[:len(packed):len(packed)], garbage...))
				// As gzip itself does, but for what may be the beginning of a member, or
				// another file.
				accepted := tool == "gzip" && garbage != "\x1f" && len(garbage) < maxBehind
				got, _, err := readImage(t.Context(), "-", opts)
				if accepted && (err != nil || !bytes.Equal(got, disk)) {
					t.Errorf("gzip followed by %d bytes %.10q: %v; want the disk", len(garbage), garbage, err)
				}
				if !accepted && err == nil {
					t.Errorf("%s followed by %d bytes %.10q: nil; want an error", tool, len(garbage), garbage)
				}
			}
		}
	}
	// Stream padding in multiples of four is part of the xz format.
	packed := append(pack(t, disk, "xz", "-c"), 0, 0, 0, 0, 0, 0, 0, 0)
	for _, opts := range []Options{{}, {NoXZProgram: true}} {
		opts.Stdin = bytes.NewReader(packed)
		if got, _, err := readImage(t.Context(), "-", opts); err != nil || !bytes.Equal(got, disk) {
			t.Errorf("padded xz: %d bytes, %v; want %d, nil", len(got), err, len(disk))
		}
	}
}

// TestDamaged flips one bit in many places.
func TestDamaged(t *testing.T) {
	t.Parallel()
	disk := testDisk(32 << 10)
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		packed := pack(t, disk, tool, "-c")
		for i := 0; i < len(packed); i += 257 {
			for _, opts := range []Options{{}, {NoXZProgram: true}} {
				b := bytes.Clone(packed)
				b[i] ^= 0x10
				opts.Stdin = bytes.NewReader(b)
				// A flipped bit may sit in a field without a meaning: then the
				// disk is right. It must never be wrong.
				got, _, err := readImage(t.Context(), "-", opts)
				if err == nil && !bytes.Equal(got, disk) && !bytes.Equal(got, b) {
					t.Errorf("%s with bit 4 of byte %d flipped: a wrong disk; want an error", tool, i)
				}
			}
		}
		b := bytes.Clone(packed)
		b[len(b)-5] ^= 0xff
		if _, _, err := readImage(t.Context(), "-", Options{Stdin: bytes.NewReader(b)}); err == nil {
			t.Errorf("%s with a wrong checksum: nil; want an error", tool)
		}
	}
}

func TestHungry(t *testing.T) {
	t.Parallel()
	// 2 GiB of window in the frame header of RFC 8878 3.1.1.1.2, no content.
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00}
	tests := map[string]struct {
		packed []byte
		opts   Options
		want   string
	}{
		"zstd": {window, Options{}, "window of 2048 MiB"},
		"zstd second frame": {
			append(pack(t, testDisk(4096), "zstd", "-c"), window...), Options{}, "window of 2048 MiB",
		},
		"xz":     {pack(t, testDisk(1<<20), "xz", "-c", "--lzma2=preset=0,dict=1GiB"), Options{}, "more than 256 MiB"},
		"own xz": {pack(t, testDisk(1<<20), "xz", "-c", "--lzma2=preset=0,dict=1GiB"), Options{NoXZProgram: true}, "dictionary of 1024 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.opts.Stdin = bytes.NewReader(tt.packed)
			_, _, err := readImage(t.Context(), "-", tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s = %v; want an error with %q", name, err, tt.want)
			}
		})
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	twice := pack(t, pack(t, testDisk(4096), "gzip", "-c"), "zstd", "-c")
	_, err := Open(t.Context(), writeFile(t, twice), Options{})
	if err == nil || !strings.Contains(err.Error(), "inside the zstd data: only one layer") {
		t.Errorf("Open(gzip in zstd) = %v; want an error about layers", err)
	}
	_, err = Open(t.Context(), writeFile(t, pack(t, nil, "xz", "-c")), Options{})
	if err == nil || !strings.Contains(err.Error(), "inside the xz data: it is empty") {
		t.Errorf("Open(nothing in xz) = %v; want an error about the inside", err)
	}
	overlay := packQcow2(t, testDisk(1<<20))
	overlay[15] = 200 // a backing file's name at byte 200
	_, err = Open(t.Context(), "-", Options{Stdin: bytes.NewReader(pack(t, overlay, "xz", "-c")), TempDir: "/nonexistent"})
	if err == nil || !strings.Contains(err.Error(), "backing file") {
		t.Errorf("Open(overlay in xz) = %v; want it refused before anything is spooled", err)
	}
}

// endless sends what r has and then nothing, for ever.
type endless struct {
	r     io.Reader
	block chan struct{}
}

func (e *endless) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		<-e.block
	}
	return n, err
}

func TestCancel(t *testing.T) {
	t.Parallel()
	disk := testDisk(1 << 20)
	for name, packed := range map[string][]byte{
		"raw":  disk,
		"xz":   pack(t, disk, "xz", "-c", "-0"),
		"zstd": pack(t, disk, "zstd", "-c"),
	} {
		t.Run(name, func(t *testing.T) {
			e := &endless{r: bytes.NewReader(packed[:len(packed)-100]), block: make(chan struct{})}
			defer close(e.block)
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("operator's Ctrl-C")
			d, err := Open(ctx, "-", Options{Stdin: e})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			go cancel(stop)
			if _, err := readAll(d); !errors.Is(err, stop) {
				t.Errorf("ReadChunk after cancel = %v; want %v", err, stop)
			}
		})
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	packed := pack(t, testDisk(4<<20), "xz", "-c", "-0")
	d, err := Open(t.Context(), writeFile(t, packed), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close() = %v; want nil", err)
	}
	if _, _, err := d.ReadChunk(make([]byte, 512)); err == nil {
		t.Error("ReadChunk after Close = nil; want an error")
	}
}

func TestBuffer(t *testing.T) {
	t.Parallel()
	d, err := Open(t.Context(), writeFile(t, testDisk(4096)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, _, err := d.ReadChunk(make([]byte, 100)); err == nil {
		t.Error("ReadChunk(100 bytes) = nil; want an error")
	}
}
