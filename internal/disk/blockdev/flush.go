package blockdev

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Flush puts everything written so far on the medium, the disk's own cache
// included. An error means that written data is lost, and the kernel reports it
// only once: so every later Flush fails with the same error, and the only
// remedy is to write again on a newly opened device.
func (d *Device) Flush() error {
	err := d.ops.sync(d.file)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flushErr == nil && err != nil {
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		d.flushErr = fmt.Errorf("flushing %s: data is lost: %w", d.path, err)
	}
	return d.flushErr
}

// DropCache flushes and forgets what the page cache holds of the disk, so that
// the next read comes from the disk. It is best effort for files: other users
// may keep pages alive.
func (d *Device) DropCache() error {
	if err := d.Flush(); err != nil {
		return err
	}
	if d.id.block {
		if err := d.ops.flushBuf(d.file); err == nil {
			return nil
		}
		// BLKFLSBUF wants CAP_SYS_ADMIN; the advice does not.
	}
	if err := unix.Fadvise(int(d.file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("dropping the cache of %s: %w", d.path, err)
	}
	return nil
}

// ReadBack reads what is on the medium.
type ReadBack = interface {
	io.ReaderAt
	io.Closer
}

// OpenReadBack flushes and opens the disk anew to read past the page cache. The
// descriptor is fresh so that no state of the writing one can answer for the
// disk. Any offset and buffer will do; aligned ones are read without a copy.
// Where O_DIRECT is refused the cache is dropped instead.
func (d *Device) OpenReadBack() (ReadBack, error) {
	if err := d.DropCache(); err != nil {
		return nil, err
	}
	f, err := d.openSame(os.O_RDONLY | unix.O_CLOEXEC | unix.O_DIRECT)
	if err == nil {
		return &readBack{File: f, d: d}, nil
	}
	if errors.Is(err, unix.EINVAL) {
		f, err = d.openSame(os.O_RDONLY | unix.O_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s to read back: %w", d.path, err)
	}
	return f, nil
}

// readBack serves reads of any alignment from an O_DIRECT descriptor.
type readBack struct {
	*os.File
	d *Device
}

func (r *readBack) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading back %s: offset %d", r.d.path, off)
	}
	// Reads are cut at the end of the disk here, or the rest of one would begin
	// unaligned.
	if rest := r.d.size - off; int64(len(p)) > rest {
		n, err := r.ReadAt(p[:max(rest, 0)], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	if r.d.aligned(p, off) {
		return r.File.ReadAt(p, off)
	}
	return r.bounced(p, off)
}

// bounced reads whole sectors into an aligned buffer and copies what was asked
// for.
func (r *readBack) bounced(p []byte, off int64) (int, error) {
	const step = 1 << 20
	align := int64(r.d.dioSize)
	bounce := AlignedBuffer(int(min(int64(len(p))+2*align-1, step) / align * align))
	done := 0
	for done < len(p) {
		at := off + int64(done)
		skip := at % align
		want := min(int64(len(bounce)), (skip+int64(len(p)-done)+align-1)/align*align)
		n, err := r.File.ReadAt(bounce[:want], at-skip)
		got := copy(p[done:], bounce[min(skip, int64(n)):n])
		done += got
		if done < len(p) && (err != nil || got == 0) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
	}
	return done, nil
}
