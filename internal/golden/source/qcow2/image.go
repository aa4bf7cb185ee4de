// Package qcow2 reads the disk inside a qcow2 file.
//
// It reads versions 2 and 3, every cluster size, zlib and zstd clusters. It
// never opens another file: an image that needs one is refused, and so is
// everything else that it does not know. Internal snapshots are ignored: the
// disk is the active state. The format is QEMU's docs/interop/qcow2.txt.
//
// Tables are read on demand, so memory is the L1 table (8 bytes for each L2
// table, at most 32 MiB), one L2 table and one cluster.
package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Image is an open qcow2 file. It is not safe for concurrent use.
type Image struct {
	r        io.ReaderAt
	fileSize int64
	header   header
	l1       []byte // big-endian entries

	l2Offset uint64 // of the table in l2; 0: none
	l2       []byte

	unpacker unpacker
}

// Masks of L1 and L2 entries.
const (
	offsetMask     = 0x00fffffffffffe00
	flagCompressed = 1 << 62
	flagZero       = 1 << 0
)

// New opens the image in r, a file of fileSize bytes.
func New(r io.ReaderAt, fileSize int64) (*Image, error) {
	// Room for the backing file's name, which usually follows the header.
	b := make([]byte, min(fileSize, 4096))
	if err := readFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("read qcow2 header: %w", err)
	}
	h, err := parseHeader(b)
	if err != nil {
		return nil, fmt.Errorf("qcow2 image: %w", err)
	}
	m := &Image{r: r, fileSize: fileSize, header: h}
	if err := m.inFile(h.l1Offset, uint64(h.l1Size)*8); err != nil {
		return nil, fmt.Errorf("qcow2 image: L1 table: %w", err)
	}
	m.l1 = make([]byte, int(h.l1Size)*8)
	if err := readFull(r, m.l1, int64(h.l1Offset)); err != nil {
		return nil, fmt.Errorf("read qcow2 L1 table: %w", err)
	}
	m.unpacker = unpacker{compression: h.compression, clusterSize: m.ClusterSize()}
	return m, nil
}

// Size returns the size of the disk in bytes, a positive multiple of 512.
func (m *Image) Size() int64 { return m.header.size }

// ClusterSize returns the size in bytes of what the image allocates at once:
// a power of two from 512 to 2 MiB.
func (m *Image) ClusterSize() int { return 1 << m.header.clusterBits }

// Close frees the decoder. It does not close the file.
func (m *Image) Close() { m.unpacker.close() }

// IsZero reports whether n bytes from off are known to be zero from the tables
// alone, without reading any data. A range of zeros that were written as data
// is not known to be zero.
func (m *Image) IsZero(off, n int64) (bool, error) {
	for end := off + min(n, m.Size()-off); off < end; {
		e, err := m.lookup(off, end-off)
		if err != nil || e.kind != zero {
			return false, err
		}
		off += e.length
	}
	return true, nil
}

// ReadAt implements [io.ReaderAt] on the disk.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read qcow2 image: negative offset")
	}
	if off >= m.Size() {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), m.Size()-off))
	for done := 0; done < n; {
		e, err := m.lookup(off+int64(done), int64(n-done))
		if err == nil {
			err = m.readExtent(p[done:done+int(e.length)], e)
		}
		if err != nil {
			return done, fmt.Errorf("read qcow2 image at %d: %w", off+int64(done), err)
		}
		done += int(e.length)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Kinds of extents.
type kind uint8

const (
	zero kind = iota
	data
	compressed
)

// extent is a run of the disk that is stored in one way.
type extent struct {
	kind   kind
	length int64  // bytes of the disk
	offset uint64 // data: of the first byte in the file; compressed: of the packed cluster
	packed uint64 // compressed: its length in the file, rounded up to sectors
	skip   int64  // compressed: where in the unpacked cluster the extent begins
}

// lookup returns the extent that begins at off, at most limit bytes of it.
// Neighbouring clusters are joined, so that reading costs one call for each
// run and not for each cluster. 0 <= off < Size, limit > 0.
func (m *Image) lookup(off, limit int64) (extent, error) {
	bits := m.header.clusterBits
	size := int64(1) << bits
	l2Index := off >> bits & (1<<m.header.l2Bits() - 1)
	// One run never leaves its L2 table.
	limit = min(limit, (int64(1)<<m.header.l2Bits()-l2Index)*size-off&(size-1))

	l1Entry := binary.BigEndian.Uint64(m.l1[off>>(bits+m.header.l2Bits())*8:])
	if l1Entry&offsetMask == 0 {
		return extent{kind: zero, length: limit}, nil
	}
	if err := m.loadL2(l1Entry & offsetMask); err != nil {
		return extent{}, err
	}
	first, err := m.cluster(l2Index)
	if err != nil {
		return extent{}, err
	}
	skip := off & (size - 1)
	first.length = size - skip
	if first.kind == compressed {
		first.skip = skip
		first.length = min(first.length, limit)
		return first, nil
	}
	first.offset += uint64(skip)
	for first.length < limit {
		l2Index++
		next, err := m.cluster(l2Index)
		if err != nil {
			return extent{}, err
		}
		if next.kind != first.kind || next.kind == data && next.offset != first.offset+uint64(first.length) {
			break
		}
		first.length += size
	}
	first.length = min(first.length, limit)
	return first, nil
}

// loadL2 makes m.l2 the table at offset. Reading goes front to back and so
// stays in one table for long: a cache of one is enough.
func (m *Image) loadL2(offset uint64) error {
	if offset == m.l2Offset {
		return nil
	}
	size := uint64(1) << m.header.clusterBits
	if offset%size != 0 {
		return fmt.Errorf("L2 table at offset %#x is not aligned to a cluster: the image is damaged", offset)
	}
	if err := m.inFile(offset, size); err != nil {
		return fmt.Errorf("L2 table: %w", err)
	}
	if m.l2 == nil {
		m.l2 = make([]byte, size)
	}
	m.l2Offset = 0
	if err := readFull(m.r, m.l2, int64(offset)); err != nil {
		return fmt.Errorf("L2 table: %w", err)
	}
	m.l2Offset = offset
	return nil
}

// cluster decodes entry i of the loaded L2 table, length and skip left unset.
func (m *Image) cluster(i int64) (extent, error) {
	entry := binary.BigEndian.Uint64(m.l2[i*8:])
	bits := m.header.clusterBits
	if entry&flagCompressed != 0 {
		// The offset takes the low 62-(bits-8) bits, the rest counts the further
		// 512-byte sectors that the packed cluster touches.
		shift := 62 - (bits - 8)
		offset := entry & (1<<shift - 1)
		sectors := entry >> shift & (1<<(bits-8) - 1)
		return extent{kind: compressed, offset: offset, packed: (sectors+1)*sectorSize - offset%sectorSize}, nil
	}
	if entry&flagZero != 0 {
		if m.header.version < 3 {
			return extent{}, errors.New("zero cluster in a version 2 image: the image is damaged")
		}
		return extent{kind: zero}, nil
	}
	offset := entry & offsetMask
	if offset == 0 {
		return extent{kind: zero}, nil
	}
	if offset%(1<<bits) != 0 {
		return extent{}, fmt.Errorf("cluster at offset %#x is not aligned: the image is damaged", offset)
	}
	return extent{kind: data, offset: offset}, nil
}

// readExtent fills p, which is as long as e, from e.
func (m *Image) readExtent(p []byte, e extent) error {
	switch e.kind {
	case zero:
		clear(p)
		return nil
	case data:
		if err := m.inFile(e.offset, uint64(len(p))); err != nil {
			return err
		}
		return readFull(m.r, p, int64(e.offset))
	default:
		// The length is rounded up to whole sectors, the file need not be.
		if err := m.inFile(e.offset, 1); err != nil {
			return err
		}
		e.packed = min(e.packed, uint64(m.fileSize)-e.offset)
		b, err := m.unpacker.unpack(m.r, e.offset, e.packed)
		if err != nil {
			return err
		}
		copy(p, b[e.skip:])
		return nil
	}
}

// inFile checks that n bytes at off lie within the file.
func (m *Image) inFile(off, n uint64) error {
	size := uint64(m.fileSize)
	if off > size || n > size-off {
		return fmt.Errorf("%d bytes at offset %#x lie outside the file of %d bytes: the image is truncated or damaged", n, off, size)
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
