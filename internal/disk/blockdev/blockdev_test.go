package blockdev

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSizes(t *testing.T) {
	content := make([]byte, 4*mib)
	for _, tc := range []struct {
		args   []string
		sector int
	}{{nil, 512}, {[]string{"-b", "4096"}, 4096}} {
		d := mustOpen(t, loop(t, diskFile(t, content), tc.args...), Options{})
		if d.Size() != 4*mib || d.SectorSize() != tc.sector || d.PhysicalSectorSize() < tc.sector {
			t.Errorf("size %d, sectors %d and %d; want %d, %d", d.Size(), d.SectorSize(), d.PhysicalSectorSize(), 4*mib, tc.sector)
		}
	}
	d := mustOpen(t, diskFile(t, content), Options{AllowFile: true, FileSectorSize: 4096})
	if d.Size() != 4*mib || d.SectorSize() != 4096 {
		t.Errorf("file: size %d, sectors %d; want %d, 4096", d.Size(), d.SectorSize(), 4*mib)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		file bool
		want string
	}{
		{filepath.Join(dir, "absent"), true, "no such file"},
		{dir, true, "neither"},
		{fifo, true, "neither"},
		{"/dev/null", true, "neither"},
		{diskFile(t, []byte{1}), false, "not a block device"},
	} {
		_, err := Open(tc.path, Options{AllowFile: tc.file})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path) {
			t.Errorf("Open(%s) = %v; want an error with %q and the path", tc.path, err, tc.want)
		}
	}
}

func TestOpenIsExclusive(t *testing.T) {
	targets(t, pattern(mib), func(t *testing.T, path string, opts Options) {
		d := mustOpen(t, path, opts)
		if _, err := Open(path, opts); !isBusy(err, "another program") {
			t.Errorf("second Open = %v; want a BusyError", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		mustOpen(t, path, opts)
	})
}

// A disk that is shared can be claimed by another, and keeps working; one that
// is unlocked cannot.
func TestShare(t *testing.T) {
	path := loop(t, diskFile(t, pattern(mib)))
	d := mustOpen(t, path, Options{})
	locked := func() bool {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil // as udev asks before it looks
	}
	claimed := func() bool {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return errors.Is(err, unix.EBUSY)
	}
	state := func(what string, wantLocked, wantClaimed bool) {
		t.Helper()
		if l, c := locked(), claimed(); l != wantLocked || c != wantClaimed {
			t.Errorf("%s: locked %v, claimed %v; want %v, %v", what, l, c, wantLocked, wantClaimed)
		}
	}
	state("opened", true, true)
	if err := d.Unlock(); err != nil {
		t.Fatal(err)
	}
	state("unlocked", false, true)
	if err := d.Share(); err != nil {
		t.Fatal(err)
	}
	state("shared", false, false)
	want := pattern(4096)
	if _, err := d.WriteAt(want, 8192); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := d.ReadAt(got, 8192); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the shared disk does not hold what was written: %v", err)
	}
}

func isBusy(err error, word string) bool {
	busy, ok := errors.AsType[*BusyError](err)
	return ok && strings.Contains(strings.Join(busy.Reasons, ";"), word)
}

// TestOpenNodeSwapped lets the path mean something else each time that it is
// opened.
func TestOpenNodeSwapped(t *testing.T) {
	path, other := diskFile(t, pattern(mib)), diskFile(t, pattern(mib))
	for swapAt := range 2 {
		calls := 0
		opts := Options{AllowFile: true, ops: ops{open: func(path string, flags int) (*os.File, error) {
			if calls++; calls == swapAt+1 {
				path = other
			}
			return os.OpenFile(path, flags, 0)
		}}}
		if _, err := Open(path, opts); err == nil || !strings.Contains(err.Error(), "changed while") {
			t.Errorf("swapped at open %d: Open() = %v; want an error", swapAt+1, err)
		}
	}
}

func TestWriteReadBack(t *testing.T) {
	content := pattern(3*mib + 4096)
	targets(t, content, func(t *testing.T, path string, opts Options) {
		d := mustOpen(t, path, opts)
		want := slices.Clone(content)
		r := rand.New(rand.NewPCG(7, 7))
		for i := range 60 {
			off, n := r.Int64N(d.Size()), r.Int64N(200_000)
			if i%2 == 0 { // aligned, so that direct and buffered writes alternate
				off, n = off/4096*4096, n/4096*4096
			}
			n = min(n, d.Size()-off)
			p := AlignedBuffer(int(n))
			for j := range p {
				p[j] = byte(i)
			}
			if got, err := d.WriteAt(p, off); got != len(p) || err != nil {
				t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", n, off, got, err)
			}
			copy(want[off:], p)
			got := make([]byte, n)
			if _, err := d.ReadAt(got, off); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			sameBytes(t, "ReadAt", got, want[off:off+n])
		}
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
		sameBytes(t, "read back", readBackAll(t, d), want)

		rb, err := d.OpenReadBack()
		if err != nil {
			t.Fatal(err)
		}
		defer rb.Close()
		for range 60 {
			off, n := r.Int64N(d.Size()+10), r.Int64N(2*mib)
			got := make([]byte, n)
			m, err := rb.ReadAt(got, off)
			expect := want[min(off, d.Size()):min(off+n, d.Size())]
			if m != len(expect) || errors.Is(err, io.EOF) != (off+n > d.Size()) || err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("read back of %d at %d = %d, %v; want %d", n, off, m, err, len(expect))
			}
			sameBytes(t, "unaligned read back", got[:m], expect)
		}
	})
}

func TestConcurrentWrites(t *testing.T) {
	content := make([]byte, 8*mib)
	targets(t, content, func(t *testing.T, path string, opts Options) {
		d := mustOpen(t, path, opts)
		want := pattern(8 * mib)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				p := AlignedBuffer(mib)
				copy(p, want[i*mib:])
				if _, err := d.WriteAt(p, int64(i)*mib); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		sameBytes(t, "medium", readBackAll(t, d), want)
	})
}

func TestWriteOutside(t *testing.T) {
	targets(t, pattern(mib), func(t *testing.T, path string, opts Options) {
		d := mustOpen(t, path, opts)
		p := AlignedBuffer(8192)
		for _, off := range []int64{-1, -4096, mib - 4096, mib, mib + 4096, 1<<63 - 4096} {
			if n, err := d.WriteAt(p, off); n != 0 || err == nil {
				t.Errorf("WriteAt(8192 bytes, %d) = %d, %v; want an error", off, n, err)
			}
			if err := d.ZeroRange(off, 8192); err == nil {
				t.Errorf("ZeroRange(%d, 8192) succeeded", off)
			}
		}
		if err := d.ZeroRange(0, -1); err == nil {
			t.Error("ZeroRange(0, -1) succeeded")
		}
		sameBytes(t, "medium", readBackAll(t, d), pattern(mib))
	})
}

// TestWriteFallsBack makes O_DIRECT refuse every write, and once some of it
// first.
func TestWriteFallsBack(t *testing.T) {
	var d *Device
	var direct, buffered int
	opts := Options{AllowFile: true, ops: ops{writeAt: func(f *os.File, p []byte, off int64) (int, error) {
		if f == d.direct {
			direct++
			n, _ := f.WriteAt(p[:4096], off)
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: unix.EINVAL}
		}
		buffered++
		return f.WriteAt(p, off)
	}}}
	d = mustOpen(t, diskFile(t, pattern(mib)), opts)
	if d.direct == nil {
		t.Skip("the file system of the temporary directory has no O_DIRECT")
	}
	want := pattern(mib)
	p := AlignedBuffer(8192)
	for i := range p {
		p[i] = 0x55
	}
	copy(want[4096:], p)
	if n, err := d.WriteAt(p, 4096); n != len(p) || err != nil {
		t.Fatalf("WriteAt() = %d, %v", n, err)
	}
	if direct != 1 || buffered != 1 {
		t.Errorf("%d direct and %d buffered writes; want 1 and 1", direct, buffered)
	}
	sameBytes(t, "medium", readBackAll(t, d), want)
}

func TestWriteWithoutDirect(t *testing.T) {
	opts := Options{AllowFile: true, ops: ops{open: func(path string, flags int) (*os.File, error) {
		if flags&unix.O_DIRECT != 0 {
			return nil, &os.PathError{Op: "open", Path: path, Err: unix.EINVAL}
		}
		return os.OpenFile(path, flags, 0)
	}}}
	d := mustOpen(t, diskFile(t, pattern(mib)), opts)
	want := bytes.Repeat([]byte{7}, mib)
	p := AlignedBuffer(mib)
	copy(p, want)
	if _, err := d.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "medium", readBackAll(t, d), want) // also without O_DIRECT
}

func TestWriteErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		n    int
		err  error
		want error
	}{
		"disk error":  {0, unix.EIO, unix.EIO},
		"disk full":   {4096, &os.PathError{Err: unix.ENOSPC}, unix.ENOSPC},
		"short write": {4096, nil, io.ErrShortWrite},
	} {
		opts := Options{AllowFile: true, ops: ops{
			writeAt: func(*os.File, []byte, int64) (int, error) { return tc.n, tc.err },
		}}
		d := mustOpen(t, diskFile(t, pattern(mib)), opts)
		if n, err := d.WriteAt(AlignedBuffer(8192), 0); n != tc.n || !errors.Is(err, tc.want) {
			t.Errorf("%s: WriteAt() = %d, %v; want %d, %v", name, n, err, tc.n, tc.want)
		}
	}
}

func TestFlushErrorStays(t *testing.T) {
	calls := 0
	opts := Options{AllowFile: true, ops: ops{sync: func(*os.File) error {
		if calls++; calls == 2 {
			return &os.PathError{Op: "sync", Err: unix.EIO}
		}
		return nil // as the kernel does after it has reported an error once
	}}}
	d := mustOpen(t, diskFile(t, pattern(mib)), opts)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := d.Flush(); !errors.Is(err, unix.EIO) {
			t.Errorf("Flush %d after the failure = %v; want EIO", i+1, err)
		}
	}
	if err := d.DropCache(); !errors.Is(err, unix.EIO) {
		t.Errorf("DropCache() = %v; want EIO", err)
	}
	if _, err := d.OpenReadBack(); !errors.Is(err, unix.EIO) {
		t.Errorf("OpenReadBack() = %v; want EIO", err)
	}
}

// TestReadBackPastCache changes the medium of a loop device behind its cache.
func TestReadBackPastCache(t *testing.T) {
	file := diskFile(t, pattern(mib))
	d := mustOpen(t, loop(t, file), Options{})
	rb, err := d.OpenReadBack()
	if err != nil {
		t.Fatal(err)
	}
	defer rb.Close()
	old := make([]byte, 4096)
	if _, err := d.ReadAt(old, 0); err != nil { // now it is in the cache
		t.Fatal(err)
	}
	changed := bytes.Repeat([]byte{0xee}, 4096)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(changed, 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4096)
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "cached", got, old) // the premise of this test
	if _, err := rb.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "read back", got, changed)
	if err := d.DropCache(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "after DropCache", got, changed)
}

func TestDropCacheWithoutPrivilege(t *testing.T) {
	opts := Options{ops: ops{flushBuf: func(*os.File) error { return unix.EACCES }}}
	d := mustOpen(t, loop(t, diskFile(t, pattern(mib))), opts)
	if err := d.DropCache(); err != nil {
		t.Errorf("DropCache() = %v; want the advice as a fallback", err)
	}
}

func TestAlignedBuffer(t *testing.T) {
	for _, n := range []int{0, 1, 511, 4096, 4097, mib} {
		b := AlignedBuffer(n)
		if len(b) != n || cap(b) != n || n > 0 && uintptr(unsafe.Pointer(&b[0]))%4096 != 0 {
			t.Errorf("AlignedBuffer(%d): length %d, capacity %d, at %p", n, len(b), cap(b), b)
		}
	}
}

func BenchmarkWriteAt(b *testing.B) {
	path := diskFile(b, nil)
	if err := os.Truncate(path, 64*mib); err != nil {
		b.Fatal(err)
	}
	d := mustOpen(b, path, Options{AllowFile: true})
	p := AlignedBuffer(mib)
	b.SetBytes(mib)
	off := int64(0)
	for b.Loop() {
		if _, err := d.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
		off = (off + mib) % d.Size()
	}
}
