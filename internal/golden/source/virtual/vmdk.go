package virtual

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden/le"
)

// VMDKMagic begins a sparse VMDK (VMware Virtual Disk Format 5.0, "Hosted
// Sparse Extents").
const VMDKMagic = "KDMV"

// Offsets and flags of the sparse header.
const (
	vmdkFlags    = 8
	vmdkCapacity = 12 // sectors
	vmdkGrain    = 20 // sectors
	vmdkDesc     = 28 // sector of the descriptor
	vmdkDescSize = 36 // sectors
	vmdkEntries  = 44 // of one grain table
	vmdkGD       = 56 // sector of the grain directory
	vmdkUnclean  = 72
	vmdkChars    = 73
	vmdkCompress = 77

	vmdkFlagZeroGrain = 1 << 2
	vmdkFlagPacked    = 1 << 16
	vmdkFlagMarkers   = 1 << 17

	vmdkAtEnd = ^uint64(0) // the header at the end has the directory
)

// vmdk finds grains.
type vmdk struct {
	r        io.ReaderAt
	fileSize int64
	flags    uint32
	grain    int64 // bytes
	entries  int64 // of one grain table
	gd       table
	tables   map[int64]*table // grain tables, the last one used only
}

// OpenVMDK opens a disk of one file: sparse, or stream-optimized as in an OVA.
func OpenVMDK(r io.ReaderAt, fileSize int64) (*Image, error) {
	m, err := openVMDK(r, fileSize)
	if err != nil {
		return nil, fmt.Errorf("vmdk image: %w", err)
	}
	return m, nil
}

func openVMDK(r io.ReaderAt, fileSize int64) (*Image, error) {
	h := make([]byte, sector)
	if err := readFull(r, fileSize, h, 0); err != nil {
		return nil, err
	}
	if err := checkDescriptor(r, fileSize, h); err != nil {
		return nil, err
	}
	return openSparse(r, fileSize)
}

// openSparse opens a sparse extent, whatever its descriptor says.
func openSparse(r io.ReaderAt, fileSize int64) (*Image, error) {
	h := make([]byte, sector)
	if err := readFull(r, fileSize, h, 0); err != nil {
		return nil, err
	}
	if le.U64(h, vmdkGD) == vmdkAtEnd {
		// Footer and end-of-stream marker are the last two sectors.
		if err := readFull(r, fileSize, h, fileSize-2*sector); err != nil {
			return nil, err
		}
	}
	switch {
	case string(h[:4]) != VMDKMagic:
		return nil, fmt.Errorf("no header at its end: %w", errCut)
	case string(h[vmdkChars:vmdkChars+4]) != "\n \r\n":
		return nil, errors.New("it was damaged by a transfer as text")
	case h[vmdkUnclean] != 0:
		return nil, errors.New("it was not closed by the program that wrote it: " + hint)
	}
	const maxSectors = maxSize / sector
	v := &vmdk{r: r, fileSize: fileSize, flags: le.U32(h, vmdkFlags), entries: int64(le.U32(h, vmdkEntries)), tables: map[int64]*table{}}
	capacity, grain, gd := le.U64(h, vmdkCapacity), le.U64(h, vmdkGrain), le.U64(h, vmdkGD)
	if capacity > maxSectors || grain == 0 || grain > 64<<10 || gd > maxSectors || v.entries == 0 || v.entries > 64<<10 {
		return nil, fmt.Errorf("%d sectors in grains of %d with %d in a table at sector %d", capacity, grain, v.entries, gd)
	}
	if v.flags&vmdkFlagPacked != 0 && le.U16(h, vmdkCompress) != 1 {
		return nil, fmt.Errorf("compressed by method %d: %s", le.U16(h, vmdkCompress), hint)
	}
	v.grain = int64(grain) * sector
	grains := (int64(capacity) + int64(grain) - 1) / int64(grain)
	v.gd = table{r: r, fileSize: fileSize, at: int64(gd) * sector, bytes: (grains + v.entries - 1) / v.entries * 4}
	return newImage(r, fileSize, int64(capacity)*sector, v.grain, v)
}

func (v *vmdk) find(i int64) (piece, error) {
	b, err := v.gd.entry(i/v.entries*4, 4)
	if err != nil {
		return piece{}, err
	}
	gt := int64(le.U32(b, 0))
	if gt == 0 {
		return piece{zero: true}, nil
	}
	t := v.tables[gt]
	if t == nil {
		clear(v.tables) // disks are read in order
		t = &table{r: v.r, fileSize: v.fileSize, at: gt * sector, bytes: v.entries * 4}
		v.tables[gt] = t
	}
	if b, err = t.entry(i%v.entries*4, 4); err != nil {
		return piece{}, err
	}
	at := int64(le.U32(b, 0))
	switch {
	case at == 0, at == 1 && v.flags&vmdkFlagZeroGrain != 0:
		return piece{zero: true}, nil
	case v.flags&vmdkFlagPacked == 0:
		return piece{at: at * sector}, nil
	}
	return piece{at: at * sector, unpack: func(p []byte) error { return v.unpack(p, at*sector, i) }}, nil
}

// unpack reads a packed grain and the marker in front of it.
func (v *vmdk) unpack(p []byte, at, i int64) error {
	head := 4
	if v.flags&vmdkFlagMarkers != 0 {
		head = 12
	}
	b := make([]byte, head)
	if err := readFull(v.r, v.fileSize, b, at); err != nil {
		return err
	}
	if head == 12 && le.U64(b, 0) != uint64(i)*uint64(v.grain/sector) {
		return fmt.Errorf("the marker of the grain at %d is that of sector %d", at, le.U64(b, 0))
	}
	size := int64(le.U32(b, head-4))
	if size == 0 || size > 2*v.grain+1<<10 {
		return fmt.Errorf("a packed grain of %d bytes at %d", size, at)
	}
	packed := make([]byte, size)
	if err := readFull(v.r, v.fileSize, packed, at+int64(head)); err != nil {
		return err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpack the grain at %d: %w", at, err)
	}
	clear(p)
	// The last grain of a disk may be short.
	if n, err := io.ReadFull(z, p); err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || n == 0) {
		return fmt.Errorf("unpack the grain at %d: %w", at, err)
	}
	// The checksum is behind the last byte.
	if n, err := z.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("unpack the grain at %d: it is damaged, or longer than a grain", at)
	}
	return nil
}
