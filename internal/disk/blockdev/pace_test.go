package blockdev

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// noDirect refuses O_DIRECT, as tmpfs and some file systems do.
func noDirect(path string, flags int) (*os.File, error) {
	if flags&unix.O_DIRECT != 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: unix.EINVAL}
	}
	return os.OpenFile(path, flags, 0)
}

// Where O_DIRECT is refused, no more than paceBytes wait in the cache: every
// range but the last ones was waited for, once, in the order of the writes.
func TestBufferedWritesAreHeldBack(t *testing.T) {
	const writes = 100
	var started, waited []Range
	d := mustOpen(t, diskFile(t, make([]byte, writes*mib)), Options{AllowFile: true, ops: ops{
		open: noDirect,
		syncRange: func(_ *os.File, off, n int64, flags int) error {
			if flags == unix.SYNC_FILE_RANGE_WRITE {
				started = append(started, Range{off, n})
			} else {
				waited = append(waited, Range{off, n})
			}
			return nil
		},
	}})
	buf := AlignedBuffer(mib)
	for i := range int64(writes) {
		if _, err := d.WriteAt(buf, i*mib); err != nil {
			t.Fatal(err)
		}
		if onTheWay := (len(started) - len(waited)) * mib; onTheWay > paceBytes {
			t.Fatalf("after %d writes %d bytes are on their way; want at most %d", i+1, onTheWay, paceBytes)
		}
	}
	if len(started) != writes || len(waited) != writes-paceBytes/mib {
		t.Fatalf("%d ranges started, %d waited for; want %d and %d", len(started), len(waited), writes, writes-paceBytes/mib)
	}
	for i, r := range waited {
		if r != started[i] {
			t.Errorf("waited for %v as number %d; want %v", r, i, started[i])
		}
	}
}

func TestWriteBackErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{{unix.EIO, "writing back"}, {unix.ENOSYS, ""}, {unix.EINVAL, ""}} {
		d := mustOpen(t, diskFile(t, make([]byte, mib)), Options{AllowFile: true, ops: ops{
			open:      noDirect,
			syncRange: func(*os.File, int64, int64, int) error { return tc.err },
		}})
		_, err := d.WriteAt(AlignedBuffer(4096), 0)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("write-back fails with %v: WriteAt() = %v; want %q", tc.err, err, tc.want)
		}
	}
}

// The real call on a real file: nothing stays dirty.
func TestBufferedWritesReachTheFile(t *testing.T) {
	path := diskFile(t, make([]byte, 48*mib))
	d := mustOpen(t, path, Options{AllowFile: true, ops: ops{open: noDirect}})
	buf := AlignedBuffer(mib)
	for i := range int64(48) {
		buf[0] = byte(i + 1)
		if _, err := d.WriteAt(buf, i*mib); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 48 {
		if got[i*mib] != byte(i+1) {
			t.Errorf("MiB %d begins with %d; want %d", i, got[i*mib], i+1)
		}
	}
}
