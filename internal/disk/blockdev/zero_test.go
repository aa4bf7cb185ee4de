package blockdev

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// zeroRanges hit the ends, the middle, and every kind of misalignment.
var zeroRanges = []Range{
	{0, 4096},
	{mib, mib},
	{2*mib + 100, 10},       // inside one sector
	{2*mib + 1000, 100_000}, // neither end aligned
	{2*mib + 200_704, 12_345},
	{2*mib + 300_001, 8192 - (2*mib+300_001)%4096},
	{3 * mib, 0},
	{4*mib - 5000, 5000}, // up to the end
}

func testZeroRanges(t *testing.T, path string, opts Options, content []byte, method string) {
	t.Helper()
	d := mustOpen(t, path, opts)
	want := slices.Clone(content)
	for _, r := range zeroRanges {
		// A buffered read first: zeroing must not leave stale pages behind.
		if _, err := d.ReadAt(make([]byte, 8192), r.Offset/2); err != nil {
			t.Fatal(err)
		}
		if err := d.ZeroRange(r.Offset, r.Length); err != nil {
			t.Fatalf("ZeroRange(%d, %d): %v", r.Offset, r.Length, err)
		}
		clear(want[r.Offset : r.Offset+r.Length])
		cached := make([]byte, len(want))
		if _, err := d.ReadAt(cached, 0); err != nil {
			t.Fatal(err)
		}
		sameBytes(t, "cached", cached, want)
	}
	sameBytes(t, "medium", readBackAll(t, d), want)
	if got := d.ZeroMethod(); got != method {
		t.Errorf("ZeroMethod() = %q; want %q", got, method)
	}
}

func TestZeroRange(t *testing.T) {
	content := pattern(4 * mib)
	targets(t, content, func(t *testing.T, path string, opts Options) {
		method := "blkzeroout"
		if opts.AllowFile {
			method = "punch-hole"
		}
		testZeroRanges(t, path, opts, content, method)
	})
}

func TestZeroRangeFallbacks(t *testing.T) {
	content := pattern(4 * mib)
	targets(t, content, func(t *testing.T, path string, opts Options) {
		calls := 0
		opts.ops.zeroOut = func(*os.File, int64, int64) error { calls++; return unix.EOPNOTSUPP }
		opts.ops.fallocate = func(f *os.File, mode uint32, off, n int64) error { calls++; return unix.EOPNOTSUPP }
		testZeroRanges(t, path, opts, content, "write")
		if calls > 2 {
			t.Errorf("a refused method was tried %d times; want once each", calls)
		}
	})
	t.Run("no holes", func(t *testing.T) {
		f, err := os.OpenFile(diskFile(t, content), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096); err != nil {
			t.Skipf("the file system of the temporary directory has no FALLOC_FL_ZERO_RANGE: %v", err)
		}
		opts := Options{AllowFile: true, ops: ops{fallocate: func(f *os.File, mode uint32, off, n int64) error {
			if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
				return unix.EOPNOTSUPP
			}
			return unix.Fallocate(int(f.Fd()), mode, off, n)
		}}}
		testZeroRanges(t, diskFile(t, content), opts, content, "zero-range")
	})
	t.Run("fails now and then", func(t *testing.T) {
		calls := 0
		opts := Options{AllowFile: true, ops: ops{fallocate: func(f *os.File, mode uint32, off, n int64) error {
			if calls++; calls <= 2 { // both ways, once
				return unix.EIO
			}
			return unix.Fallocate(int(f.Fd()), mode, off, n)
		}}}
		testZeroRanges(t, diskFile(t, content), opts, content, "punch-hole")
	})
}

func TestZeroRangeReportsFailure(t *testing.T) {
	opts := Options{AllowFile: true, ops: ops{
		fallocate: func(*os.File, uint32, int64, int64) error { return unix.EIO },
		writeAt:   func(*os.File, []byte, int64) (int, error) { return 0, unix.EIO },
	}}
	d := mustOpen(t, diskFile(t, pattern(mib)), opts)
	if err := d.ZeroRange(4096, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("ZeroRange() = %v; want EIO", err)
	}
}

// TestZeroRangeKeepsHoles asks the file system how much the file still
// occupies.
func TestZeroRangeKeepsHoles(t *testing.T) {
	path := diskFile(t, pattern(4*mib))
	d := mustOpen(t, path, Options{AllowFile: true})
	if err := d.ZeroRange(0, d.Size()); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 4*mib || st.Blocks*512 > mib {
		t.Errorf("size %d, %d bytes occupied; want %d and next to none", st.Size, st.Blocks*512, 4*mib)
	}
}
