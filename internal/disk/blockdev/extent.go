package blockdev

import (
	"errors"
	"fmt"
	"io"
)

// Extent is a run of bytes at an offset of a disk.
type Extent struct {
	Offset int64 // bytes
	Data   []byte
}

// End is the offset of the first byte behind the extent.
func (e Extent) End() int64 { return e.Offset + int64(len(e.Data)) }

// ReadFull fills p from the disk, or says where it could not.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at byte %d of the disk: %w", len(p), off, err)
}

// WriteFull writes all of p to the disk, or says where it could not.
func WriteFull(w io.WriterAt, p []byte, off int64) error {
	n, err := w.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing %d bytes at byte %d of the disk: %w", len(p), off, err)
	}
	return nil
}
