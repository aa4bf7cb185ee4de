// Package blockdev is a whole disk under one owner, opened exclusively, read or
// written past the page cache.
//
// [Open] refuses whatever is in use and names what uses it. [List] shows the
// disks of the machine, [Signatures] what is on one, [SignatureRanges] where
// such remains would confuse a later reader. A regular file can stand for a
// disk where the caller allows it.
package blockdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
)

// Options says what [Open] accepts and where it looks.
type Options struct {
	// AllowFile accepts a regular file in place of a disk. Its size is fixed while
	// it is open.
	AllowFile bool
	// FileSectorSize is the logical sector size in bytes that a file claims: 512
	// when 0.
	FileSectorSize int
	// Sys and Proc are the mount points of sysfs and procfs: "/sys" and "/proc"
	// when empty.
	Sys, Proc string

	ops ops // faults for tests; zero functions are the real ones
}

// Device is an open disk. ReadAt and WriteAt may be called from many
// goroutines.
type Device struct {
	path    string
	sysDir  string // directory of the disk in sysfs, empty for a file
	file    *os.File
	direct  *os.File // O_DIRECT; nil where it is refused
	id      identity
	size    int64
	sector  int
	phys    int
	dioSize int // alignment that O_DIRECT wants, in bytes
	ops     ops
	pace    pacer // of writes through the page cache

	mu       sync.Mutex
	flushErr error
	zeroHow  string // the lowest method that ZeroRange had to use
	zeroSkip int    // methods of ZeroRange that this target is known to refuse
}

// identity tells whether two descriptors mean the same target.
type identity struct {
	block    bool
	dev, ino uint64 // of the target: rdev and 0, or the file's dev and ino
}

// claimPatience is how long another claim on a disk may last that is about to
// end: one of our own on its way out, a look of udev's.
const claimPatience = time.Second

// Open takes a disk for this process alone. It refuses partitions, read-only
// disks, and, with a [*BusyError] that names the users, disks that are mounted,
// swapped to, held by device-mapper or md, under the running system's root, or
// opened exclusively by another program. It fails when the device node at path
// changes meaning while it is opened.
func Open(path string, opts Options) (*Device, error) {
	opts.Sys, opts.Proc = cmp.Or(opts.Sys, "/sys"), cmp.Or(opts.Proc, "/proc")
	d, err := open(path, opts)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return d, nil
}

func open(path string, opts Options) (_ *Device, err error) {
	id, err := identify(path)
	if err != nil {
		return nil, err
	}
	if !id.block && !opts.AllowFile {
		return nil, errors.New("not a block device")
	}
	d := &Device{path: path, id: id, ops: opts.ops.orReal()}
	defer func() {
		if err != nil {
			_ = d.Close()
		}
	}()
	flags := os.O_RDWR | unix.O_CLOEXEC
	if id.block {
		flags |= unix.O_EXCL // Without O_CREAT: exclusive against mounts, md, dm and other O_EXCL.
		if d.sysDir, err = checkUnused(id.dev, path, opts); err != nil {
			return nil, err
		}
	}
	// This process may have had it open until a moment ago.
	err = busy.While(context.Background(), claimPatience, func() (err error) {
		d.file, err = d.openSame(flags)
		return err
	})
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			return nil, &BusyError{Reasons: []string{"another program has opened it exclusively"}}
		}
		return nil, err
	}
	if err := lock(d.file); err != nil {
		return nil, err
	}
	if err := d.measure(opts); err != nil {
		return nil, err
	}
	// The exclusive claim belongs to the first descriptor; a second one must not
	// ask for its own.
	direct, err := d.openSame(os.O_RDWR | unix.O_CLOEXEC | unix.O_DIRECT)
	switch {
	case err == nil:
		d.direct = direct
	case !errors.Is(err, unix.EINVAL): // EINVAL: a file system without O_DIRECT, such as tmpfs
		return nil, err
	}
	return d, nil
}

// identify looks at path without opening it: opening a FIFO or a tape may block
// or act.
func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, err
	}
	return identityOf(&st)
}

func identityOf(st *unix.Stat_t) (identity, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return identity{block: true, dev: uint64(st.Rdev)}, nil
	case unix.S_IFREG:
		return identity{dev: uint64(st.Dev), ino: st.Ino}, nil
	}
	return identity{}, errors.New("neither a block device nor a regular file")
}

// openSame opens the device's path and proves that it still is what it was.
func (d *Device) openSame(flags int) (*os.File, error) {
	f, err := d.ops.open(d.path, flags)
	if err != nil {
		// The caller says which path; the bare cause keeps messages short.
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil {
		var got identity
		if got, err = identityOf(&st); err == nil && got != d.id {
			err = errors.New("the device node changed while it was opened: nothing was written")
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock takes the BSD lock by which udev and other programs leave a block device
// alone (https://systemd.io/BLOCK_DEVICE_LOCKING). udev holds it shared for
// moments only.
func lock(f *os.File) error {
	err := busy.While(context.Background(), claimPatience, func() error {
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return &BusyError{Reasons: []string{"another program has locked it"}}
	case err != nil:
		return fmt.Errorf("locking: %w", err)
	}
	return nil
}

// measure fills in size and sector sizes.
func (d *Device) measure(opts Options) error {
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("asking for the size: %w", err)
	}
	d.size = size
	if !d.id.block {
		d.sector = opts.FileSectorSize
		if d.sector == 0 {
			d.sector = 512
		}
		// What O_DIRECT wants of a file depends on the disk below; a page satisfies
		// all.
		d.phys, d.dioSize = d.sector, pageAlign
		return nil
	}
	fd := int(d.file.Fd())
	if d.sector, err = unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil {
		return fmt.Errorf("asking for the logical sector size: %w", err)
	}
	phys, err := unix.IoctlGetUint32(fd, unix.BLKPBSZGET)
	if err != nil {
		return fmt.Errorf("asking for the physical sector size: %w", err)
	}
	d.phys, d.dioSize = int(phys), d.sector
	if d.size == 0 {
		return errors.New("the device has no size: no medium inserted?")
	}
	return nil
}

// Path is the name that the device was opened by.
func (d *Device) Path() string { return d.path }

// Size is the disk's size in bytes. It never changes while the device is open.
func (d *Device) Size() int64 { return d.size }

// SectorSize is the logical sector size in bytes, the unit of the partition
// table.
func (d *Device) SectorSize() int { return d.sector }

// PhysicalSectorSize is the unit in bytes that the disk writes without reading
// first.
func (d *Device) PhysicalSectorSize() int { return d.phys }

// ReadAt reads through the page cache. It sees all that was written by WriteAt,
// but proves nothing about the medium: see [Device.OpenReadBack].
func (d *Device) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// WriteAt writes all of p or returns an error. It goes past the page cache when
// p, its length and off are aligned to the logical sector size (see
// [AlignedBuffer]) and the target accepts that, and through the cache
// otherwise, held back to the speed of the disk; the two may be mixed freely.
// Nothing is safe before [Device.Flush]. A write that does not fit the disk is
// refused as a whole.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.bounds(off, int64(len(p))); err != nil {
		return 0, fmt.Errorf("writing %s: %w", d.path, err)
	}
	if d.direct != nil && d.aligned(p, off) {
		n, err := d.ops.writeAt(d.direct, p, off)
		// EINVAL is how a kernel says that it wants another alignment. The whole of p
		// is written again then: the same bytes at the same place.
		if !errors.Is(err, unix.EINVAL) {
			return n, d.wrote(n, len(p), off, err)
		}
	}
	n, err := d.ops.writeAt(d.file, p, off)
	if err == nil && n == len(p) {
		err = d.pace.wrote(d.ops, d.file, off, int64(n))
	}
	return n, d.wrote(n, len(p), off, err)
}

// wrote turns the outcome of a write into an error that a short write cannot
// slip through.
func (d *Device) wrote(n, want int, off int64, err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	if err == nil && n < want {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing %s: %d of %d bytes at %d: %w", d.path, n, want, off, err)
	}
	return nil
}

func (d *Device) bounds(off, n int64) error {
	if off < 0 || n < 0 || off > d.size || n > d.size-off {
		return fmt.Errorf("%d bytes at %d do not fit its %d bytes", n, off, d.size)
	}
	return nil
}

func (d *Device) aligned(p []byte, off int64) bool {
	n := uintptr(d.dioSize)
	return len(p) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%n == 0 && uintptr(len(p))%n == 0 && off%int64(n) == 0
}

// Share gives up the exclusive claim, so that a holder such as device-mapper
// can take the disk, and the lock that keeps udev away. The device keeps
// working for whoever else writes with care.
func (d *Device) Share() error {
	f, err := d.openSame(os.O_RDWR | unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("sharing %s: %w", d.path, err)
	}
	defer f.Close()
	// In place of the old one, which others may be about to use.
	if err := unix.Dup3(int(f.Fd()), int(d.file.Fd()), unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("sharing %s: %w", d.path, err)
	}
	return nil
}

// Unlock lets udev look at the disk, which nobody else can claim all the same.
func (d *Device) Unlock() error {
	if err := unix.Flock(int(d.file.Fd()), unix.LOCK_UN); err != nil {
		return fmt.Errorf("unlocking %s: %w", d.path, err)
	}
	return nil
}

// Number is the device number of the disk, 0:0 of a file.
func (d *Device) Number() (major, minor uint32) {
	if !d.id.block {
		return 0, 0
	}
	return unix.Major(d.id.dev), unix.Minor(d.id.dev)
}

// Close gives the disk free. It does not flush: call [Device.Flush] first and
// believe its error.
func (d *Device) Close() error {
	var errs []error
	for _, f := range []*os.File{d.direct, d.file} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// pageAlign satisfies every O_DIRECT that Linux knows, whatever the sector
// size.
const pageAlign = 4096

// AlignedBuffer gives n zero bytes that begin at a multiple of 4096, as
// O_DIRECT wants them.
func AlignedBuffer(n int) []byte {
	b := make([]byte, n+pageAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (pageAlign - 1)
	return b[skip : skip+n : skip+n]
}
