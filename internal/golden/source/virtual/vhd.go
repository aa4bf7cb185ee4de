package virtual

import (
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden/be"
)

// VHDMagic begins a dynamic VHD, and the last sector of any VHD (Microsoft,
// Virtual Hard Disk Image Format Specification 1.0).
const VHDMagic = "conectix"

// Offsets in the footer and in the dynamic header; all fields are big-endian.
const (
	vhdDataAt   = 16
	vhdSize     = 48
	vhdType     = 60
	vhdChecksum = 64

	vhdTableAt = 16
	vhdEntries = 28
	vhdBlock   = 32
	vhdSum     = 36

	vhdFixed, vhdDynamic, vhdDiff = 2, 3, 4

	vhdNone = ^uint32(0) // a block that is not there
)

// vhd finds the blocks of a dynamic VHD.
type vhd struct {
	bat    table
	bitmap int64 // bytes in front of each block
}

// OpenVHD opens a fixed or dynamic VHD.
func OpenVHD(r io.ReaderAt, fileSize int64) (*Image, error) {
	m, err := openVHD(r, fileSize)
	if err != nil {
		return nil, fmt.Errorf("vhd image: %w", err)
	}
	return m, nil
}

func openVHD(r io.ReaderAt, fileSize int64) (*Image, error) {
	footer := make([]byte, sector)
	if err := readFull(r, fileSize, footer, fileSize-sector); err != nil {
		return nil, err
	}
	if string(footer[:8]) != VHDMagic || !vhdSumIs(footer, vhdChecksum) {
		return nil, fmt.Errorf("no footer at its end: %w", errCut)
	}
	size := be.U64(footer, vhdSize)
	if size > maxSize {
		return nil, fmt.Errorf("a disk of %d bytes", size)
	}
	switch kind := be.U32(footer, vhdType); kind {
	case vhdFixed:
		if int64(size) > fileSize-sector {
			return nil, fmt.Errorf("a disk of %d bytes: %w", size, errCut)
		}
		return newImage(r, fileSize, int64(size), 1<<20, fixed{})
	case vhdDynamic:
		return openDynamic(r, fileSize, int64(size), be.U64(footer, vhdDataAt))
	case vhdDiff:
		return nil, errors.New("it holds the changes to another disk only: merge them first, or " + hint)
	default:
		return nil, fmt.Errorf("of unknown type %d: %s", kind, hint)
	}
}

// FixedSize is the size of the disk in front of a footer, in bytes. It is an
// error where that is not the footer of a fixed VHD.
func FixedSize(footer []byte) (int64, error) {
	size := uint64(0)
	if len(footer) == sector {
		size = be.U64(footer, vhdSize)
	}
	if size == 0 || size > maxSize || string(footer[:8]) != VHDMagic || !vhdSumIs(footer, vhdChecksum) || be.U32(footer, vhdType) != vhdFixed {
		return 0, errors.New("vhd image: no footer of a fixed one")
	}
	return int64(size), nil
}

// fixed is a disk that lies in the file as it is.
type fixed struct{}

func (fixed) find(i int64) (piece, error) { return piece{at: i << 20}, nil }

func openDynamic(r io.ReaderAt, fileSize, size int64, at uint64) (*Image, error) {
	h := make([]byte, 1024)
	if at > maxSize {
		return nil, fmt.Errorf("header at %d: %w", at, errCut)
	}
	if err := readFull(r, fileSize, h, int64(at)); err != nil {
		return nil, err
	}
	if string(h[:8]) != "cxsparse" || !vhdSumIs(h, vhdSum) {
		return nil, errors.New("the header of its blocks is damaged")
	}
	tableAt, entries, block := be.U64(h, vhdTableAt), int64(be.U32(h, vhdEntries)), int64(be.U32(h, vhdBlock))
	if tableAt > maxSize || block < sector || block&(block-1) != 0 || entries < (size+block-1)/block {
		return nil, fmt.Errorf("%d blocks of %d bytes for a disk of %d", entries, block, size)
	}
	bits := (block/sector + 7) / 8
	v := &vhd{bat: table{r: r, fileSize: fileSize, at: int64(tableAt), bytes: entries * 4}, bitmap: (bits + sector - 1) / sector * sector}
	return newImage(r, fileSize, size, block, v)
}

func (v *vhd) find(i int64) (piece, error) {
	b, err := v.bat.entry(i*4, 4)
	if err != nil {
		return piece{}, err
	}
	at := be.U32(b, 0)
	if at == vhdNone {
		return piece{zero: true}, nil
	}
	// The bitmap says which sectors were written; the others are zeros in the file
	// as well.
	return piece{at: int64(at)*sector + v.bitmap}, nil
}

// vhdSumIs reports whether the checksum at off is right: the ones' complement
// of the sum of all other bytes.
func vhdSumIs(b []byte, off int) bool {
	sum := uint32(0)
	for i, c := range b {
		if i < off || i >= off+4 {
			sum += uint32(c)
		}
	}
	return ^sum == be.U32(b, off)
}
