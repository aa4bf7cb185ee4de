package blockdev

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ops are the system calls that have a fallback or a guard behind them, so that
// tests can make each of them fail.
type ops struct {
	open      func(path string, flags int) (*os.File, error)
	writeAt   func(f *os.File, p []byte, off int64) (int, error)
	sync      func(f *os.File) error
	fallocate func(f *os.File, mode uint32, off, n int64) error
	zeroOut   func(f *os.File, off, n int64) error
	flushBuf  func(f *os.File) error
	syncRange func(f *os.File, off, n int64, flags int) error
	rereadPT  func(f *os.File) error
}

func (o ops) orReal() ops {
	if o.open == nil {
		o.open = func(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0) }
	}
	if o.writeAt == nil {
		o.writeAt = (*os.File).WriteAt
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	if o.fallocate == nil {
		o.fallocate = func(f *os.File, mode uint32, off, n int64) error {
			return unix.Fallocate(int(f.Fd()), mode, off, n)
		}
	}
	if o.zeroOut == nil {
		o.zeroOut = func(f *os.File, off, n int64) error {
			span := [2]uint64{uint64(off), uint64(n)}
			return ioctl(f, unix.BLKZEROOUT, unsafe.Pointer(&span))
		}
	}
	if o.flushBuf == nil {
		o.flushBuf = func(f *os.File) error { return ioctl(f, unix.BLKFLSBUF, nil) }
	}
	if o.syncRange == nil {
		o.syncRange = func(f *os.File, off, n int64, flags int) error {
			return unix.SyncFileRange(int(f.Fd()), off, n, flags)
		}
	}
	if o.rereadPT == nil {
		o.rereadPT = func(f *os.File) error { return ioctl(f, unix.BLKRRPART, nil) }
	}
	return o
}

func ioctl(f *os.File, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
