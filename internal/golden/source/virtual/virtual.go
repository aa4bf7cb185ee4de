// Package virtual reads the disks of virtual machines that lie in a file as
// blocks of one size.
//
// These are VMDK (sparse and stream-optimized), VHD, VHDX and VDI.
//
// It opens no file: the extents of a VMDK are asked for by name, and a disk
// that needs a parent is refused, as is everything that is not known, and a
// file whose log was not replayed. Memory is a page of a table and one block,
// for each extent.
package virtual

import (
	"errors"
	"fmt"
	"io"
)

// maxSize is the largest disk, in bytes: what VHDX allows, 64 TiB.
const maxSize = 64 << 40

const sector = 512

// hint is what helps with a file that is refused.
const hint = "convert it first: qemu-img convert -O raw IMAGE disk.raw"

// Image is an open disk. It is not safe for concurrent use.
type Image struct {
	r        io.ReaderAt
	fileSize int64
	size     int64 // of the disk, bytes
	block    int64 // bytes
	blocks   blocks

	packed int64 // the block in plain; -1: none
	plain  []byte
}

// blocks finds the blocks of one format.
type blocks interface {
	find(i int64) (piece, error)
}

// piece is where a block lies in the file: at an offset, plain or packed, or
// nowhere, being zeros.
type piece struct {
	zero   bool
	at     int64
	unpack func(p []byte) error // nil: the block lies at at as it is
}

func newImage(r io.ReaderAt, fileSize, size, block int64, b blocks) (*Image, error) {
	switch {
	case size <= 0 || size > maxSize || size%sector != 0:
		return nil, fmt.Errorf("a disk of %d bytes", size)
	case block < sector || block > 256<<20 || block%sector != 0:
		return nil, fmt.Errorf("blocks of %d bytes", block)
	}
	return &Image{r: r, fileSize: fileSize, size: size, block: block, blocks: b, packed: -1}, nil
}

// Size is that of the disk, in bytes.
func (m *Image) Size() int64 { return m.size }

// Close does nothing: the file is the caller's.
func (m *Image) Close() {}

// IsZero reports whether n bytes at off are known to be zero without having
// been read.
func (m *Image) IsZero(off, n int64) (bool, error) {
	for i := off / m.block; i*m.block < off+n; i++ {
		p, err := m.blocks.find(i)
		if err != nil || !p.zero {
			return false, err
		}
	}
	return true, nil
}

// ReadAt implements [io.ReaderAt] on the disk.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= m.size {
			return n, io.EOF
		}
		i, from := at/m.block, at%m.block
		part := p[n : n+int(min(int64(len(p)-n), m.block-from, m.size-at))]
		if err := m.readBlock(part, i, from); err != nil {
			return n, fmt.Errorf("block %d: %w", i, err)
		}
		n += len(part)
	}
	return n, nil
}

func (m *Image) readBlock(p []byte, i, from int64) error {
	if i == m.packed {
		copy(p, m.plain[from:])
		return nil
	}
	where, err := m.blocks.find(i)
	switch {
	case err != nil:
		return err
	case where.zero:
		clear(p)
		return nil
	case where.unpack == nil:
		return readFull(m.r, m.fileSize, p, where.at+from)
	}
	if m.plain == nil {
		m.plain = make([]byte, m.block)
	}
	m.packed = -1
	if err := where.unpack(m.plain); err != nil {
		return err
	}
	m.packed = i
	copy(p, m.plain[from:])
	return nil
}

// errCut is of a place that the file does not have.
var errCut = errors.New("lies behind the end of the file: it is truncated, get it again")

// readFull reads p at off of a file of size bytes.
func readFull(r io.ReaderAt, size int64, p []byte, off int64) error {
	if off < 0 || off > size-int64(len(p)) {
		return fmt.Errorf("%d bytes at %d: %w", len(p), off, errCut)
	}
	if n, err := r.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
	}
	return nil
}

// table reads a large array of the file by pages.
type table struct {
	r        io.ReaderAt
	fileSize int64
	at       int64 // of the array in the file
	bytes    int64 // of the array
	page     []byte
	index    int64 // of page; valid while page is not nil
}

const tablePage = 64 << 10

// entry gives n bytes at off of the array; entries do not cross pages.
func (t *table) entry(off int64, n int) ([]byte, error) {
	if off < 0 || off > t.bytes-int64(n) {
		return nil, fmt.Errorf("entry at byte %d of a table of %d", off, t.bytes)
	}
	if i := off / tablePage; t.page == nil || i != t.index {
		page := make([]byte, min(tablePage, t.bytes-i*tablePage))
		if err := readFull(t.r, t.fileSize, page, t.at+i*tablePage); err != nil {
			return nil, err
		}
		t.page, t.index = page, i
	}
	from := off % tablePage
	if from+int64(n) > int64(len(t.page)) {
		return nil, fmt.Errorf("entry at byte %d crosses a page", off)
	}
	return t.page[from : from+int64(n)], nil
}
