package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden/source/qcow2"
	"github.com/gild-dev/gild/internal/golden/source/virtual"
)

// content is the disk inside a source. readChunk fills p as
// [Disk.ReadChunk] does, except that it returns either bytes or an error, and
// that io.EOF says nothing about the source.
type content interface {
	readChunk(p []byte) (n int, zero bool, err error)
	size() int64 // -1 when unknown
	Close() error
}

// stream is a raw disk that comes front to back. One sector is read ahead,
// because the last one may be the footer of a fixed VHD, which is no part of
// the disk.
type stream struct {
	r      io.Reader
	length int64
	close  func() error
	err    error // met behind the bytes of the last chunk

	ahead  []byte // read, and not yet given out
	pos    int64  // bytes given out
	footer bool   // the source ended with one
}

func (s *stream) readChunk(p []byte) (int, bool, error) {
	n := copy(p, s.ahead)
	s.ahead = s.ahead[:copy(s.ahead, s.ahead[n:])]
	n += s.fill(p[n:])
	if s.ahead == nil {
		s.ahead = make([]byte, 0, SectorSize)
	}
	s.ahead = s.ahead[:len(s.ahead)+s.fill(s.ahead[len(s.ahead):cap(s.ahead)])]
	if s.err != nil && !errors.Is(s.err, io.EOF) || errors.Is(s.err, io.ErrUnexpectedEOF) {
		return 0, false, s.err
	}
	n, err := s.withoutFooter(p, n)
	s.pos += int64(n)
	if n == 0 && err == nil {
		err = s.err
	}
	return n, false, err
}

// fill reads as much of p as there is. Not io.ReadFull: it cannot tell the end
// of the disk from a decoder's io.ErrUnexpectedEOF.
func (s *stream) fill(p []byte) (n int) {
	for n < len(p) && s.err == nil {
		var k int
		k, s.err = s.r.Read(p[n:])
		n += k
	}
	return n
}

// withoutFooter takes the footer of a fixed VHD off the end of the source,
// which is in p[:n] or ahead.
func (s *stream) withoutFooter(p []byte, n int) (int, error) {
	last := s.ahead
	if len(last) == 0 && n >= SectorSize {
		last = p[n-SectorSize : n]
	}
	if s.err == nil || len(last) < SectorSize || !bytes.HasPrefix(last, []byte(vhdMagic)) {
		return n, nil
	}
	if len(s.ahead) == 0 {
		n -= SectorSize
	}
	if size, err := virtual.FixedSize(last); err != nil || size != s.pos+int64(n) {
		return 0, errors.Join(errFixedVHD, err)
	}
	s.ahead, s.footer = s.ahead[:0], true
	if s.length >= 0 {
		s.length -= SectorSize
	}
	return n, nil
}

func (s *stream) size() int64 { return s.length }

func (s *stream) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// rawFile is a raw disk in a file or on a block device, read around its holes.
type rawFile struct {
	f      *os.File
	length int64
	pos    int64

	// The first data at or after pos: [data, hole). Asked for when pos has
	// passed it.
	data, hole int64
}

func newRawFile(f *os.File, size int64) *rawFile {
	// Only an advice: without it the kernel finds out by itself.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	return &rawFile{f: f, length: size}
}

// isVHD reports whether the file ends as a fixed VHD does: a raw disk with a
// footer of one sector.
func (r *rawFile) isVHD() (bool, error) {
	b := make([]byte, len(vhdMagic))
	if _, err := r.f.ReadAt(b, r.length-SectorSize); err != nil {
		return false, fmt.Errorf("read the last sector: %w", bare(err))
	}
	return string(b) == vhdMagic, nil
}

func (r *rawFile) readChunk(p []byte) (int, bool, error) {
	n := min(int64(len(p)), r.length-r.pos)
	if n <= 0 {
		return 0, false, io.EOF
	}
	start, end := r.pos, r.pos+n
	if err := r.findData(start); err != nil {
		return 0, false, err
	}
	if r.data >= end {
		r.pos = end
		return int(n), true, nil
	}
	for at := start; at < end; {
		if err := r.findData(at); err != nil {
			return 0, false, err
		}
		from, to := min(r.data, end), min(r.hole, end)
		clear(p[at-start : from-start])
		if got, err := r.f.ReadAt(p[from-start:to-start], from); int64(got) != to-from {
			if errors.Is(err, io.EOF) {
				return 0, false, fmt.Errorf("it ends at byte %d, it had %d: it was cut while it was read", from+int64(got), r.length)
			}
			return 0, false, fmt.Errorf("read at byte %d: %w", from+int64(got), bare(err))
		}
		at = to
	}
	r.pos = end
	return int(n), false, nil
}

// findData sets [data, hole) to the first data at or after at; both are the
// end of the file when there is none.
func (r *rawFile) findData(at int64) error {
	if at < r.hole {
		r.data = max(r.data, at)
		return nil
	}
	data, err := r.f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		r.data, r.hole = r.length, r.length
		return nil
	case err != nil:
		// Block devices and some file systems do not know holes.
		r.data, r.hole = at, r.length
		return nil //nolint:nilerr // so everything is data
	}
	hole, err := r.f.Seek(data, unix.SEEK_HOLE)
	if err != nil || hole <= data {
		return fmt.Errorf("find the end of the data at byte %d: %w", data, bare(err))
	}
	r.data, r.hole = min(data, r.length), min(hole, r.length)
	return nil
}

func (r *rawFile) size() int64 { return r.length }

// Close leaves the file to its input.
func (r *rawFile) Close() error { return nil }

// image is a disk in a file that has to be read at any place.
type image interface {
	io.ReaderAt
	Size() int64
	// IsZero reports whether n bytes at off are known to be zero unread.
	IsZero(off, n int64) (bool, error)
	Close()
}

// openImage opens the disk in a file of size bytes.
func openImage(f format, file *os.File, size int64) (*imageDisk, error) {
	var m image
	var err error
	switch f {
	case formatQcow2:
		m, err = qcow2.New(file, size)
	case formatVMDK:
		m, err = virtual.OpenVMDK(file, size)
	case formatVHD:
		m, err = virtual.OpenVHD(file, size)
	case formatVHDX:
		m, err = virtual.OpenVHDX(file, size)
	case formatVDI:
		m, err = virtual.OpenVDI(file, size)
	case formatExtents:
		err = errors.New("this is the descriptor of a VMDK image, whose other files do not come with it: give it as a file beside them, or " +
			hintConvert)
	default:
		err = fmt.Errorf("no reader for %s", f)
	}
	if err != nil {
		return nil, err
	}
	return &imageDisk{image: m}, nil
}

// imageDisk reads an image front to back.
type imageDisk struct {
	image image
	pos   int64
	spool *os.File // owned; nil when the file is the input's
}

func (q *imageDisk) readChunk(p []byte) (int, bool, error) {
	n := min(int64(len(p)), q.image.Size()-q.pos)
	if n <= 0 {
		return 0, false, io.EOF
	}
	zero, err := q.image.IsZero(q.pos, n)
	if err == nil && !zero {
		_, err = q.image.ReadAt(p[:n], q.pos)
	}
	if err != nil {
		return 0, false, err
	}
	q.pos += n
	return int(n), zero, nil
}

func (q *imageDisk) size() int64 { return q.image.Size() }

func (q *imageDisk) Close() error {
	q.image.Close()
	if q.spool == nil {
		return nil
	}
	return q.spool.Close()
}

// spool copies r to a temporary file, which has no name from the start: it
// goes when it is closed or when the process dies.
func spool(ctx context.Context, r io.Reader, opts Options, progress func()) (*os.File, int64, error) {
	f, err := os.CreateTemp(opts.TempDir, ".gild-spool-*")
	if err != nil {
		return nil, 0, fmt.Errorf("make a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("hide the temporary file: %w", err)
	}
	size := int64(0)
	buf := make([]byte, bufferSize)
	for {
		n, readErr := r.Read(buf)
		if _, err := f.Write(buf[:n]); err != nil {
			f.Close()
			return nil, 0,
				fmt.Errorf("keep the image in a temporary file (an image of this kind cannot be read as a stream; name another directory when "+
					"this one is full): %w", err)
		}
		size += int64(n)
		progress()
		if err := ctx.Err(); err != nil {
			readErr = context.Cause(ctx)
		}
		if errors.Is(readErr, io.EOF) {
			return f, size, nil
		}
		if readErr != nil {
			f.Close()
			return nil, 0, readErr
		}
	}
}
