package virtual

import (
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden/le"
)

// VDIMagic stands at byte VDIMagicAt of a VDI, behind a line of text
// (VirtualBox, VDICore.h; QEMU, block/vdi.c).
const (
	VDIMagic   = "\x7f\x10\xda\xbe"
	VDIMagicAt = 0x40
)

// Offsets in the header, version 1.1; all fields are little-endian.
const (
	vdiVersion = 0x44
	vdiType    = 0x4c
	vdiMapAt   = 0x154
	vdiDataAt  = 0x158
	vdiSector  = 0x168
	vdiSize    = 0x170
	vdiBlock   = 0x178
	vdiExtra   = 0x17c // bytes in front of each block
	vdiBlocks  = 0x180

	vdiDynamic, vdiStatic = 1, 2

	vdiNone      = ^uint32(0) // a block that was never written
	vdiDiscarded = ^uint32(1)
)

// vdi finds the blocks of a VDI.
type vdi struct {
	blocks  table
	data    int64 // place of the first block
	spacing int64 // bytes from one block to the next
	extra   int64
}

// OpenVDI opens a dynamic or static VDI.
func OpenVDI(r io.ReaderAt, fileSize int64) (*Image, error) {
	m, err := openVDI(r, fileSize)
	if err != nil {
		return nil, fmt.Errorf("vdi image: %w", err)
	}
	return m, nil
}

func openVDI(r io.ReaderAt, fileSize int64) (*Image, error) {
	h := make([]byte, sector)
	if err := readFull(r, fileSize, h, 0); err != nil {
		return nil, err
	}
	kind, size, block, count := le.U32(h, vdiType), le.U64(h, vdiSize), int64(le.U32(h, vdiBlock)), int64(le.U32(h, vdiBlocks))
	switch {
	case string(h[VDIMagicAt:VDIMagicAt+len(VDIMagic)]) != VDIMagic:
		return nil, errors.New("no header")
	case le.U32(h, vdiVersion)>>16 != 1:
		return nil, fmt.Errorf("of version %d.%d: %s", le.U32(h, vdiVersion)>>16, le.U32(h, vdiVersion)&0xffff, hint)
	case kind != vdiDynamic && kind != vdiStatic:
		return nil, errors.New("it holds the changes to another disk only: merge them first, or " + hint)
	case size > maxSize || le.U32(h, vdiSector) != sector || block == 0 || count < (int64(size)+block-1)/block:
		return nil, fmt.Errorf("%d blocks of %d bytes for a disk of %d, in sectors of %d", count, block, size, le.U32(h, vdiSector))
	}
	v := &vdi{
		blocks: table{r: r, fileSize: fileSize, at: int64(le.U32(h, vdiMapAt)), bytes: count * 4},
		data:   int64(le.U32(h, vdiDataAt)), extra: int64(le.U32(h, vdiExtra)),
	}
	v.spacing = block + v.extra
	return newImage(r, fileSize, int64(size), block, v)
}

func (v *vdi) find(i int64) (piece, error) {
	b, err := v.blocks.entry(i*4, 4)
	if err != nil {
		return piece{}, err
	}
	at := le.U32(b, 0)
	if at == vdiNone || at == vdiDiscarded {
		return piece{zero: true}, nil
	}
	return piece{at: v.data + int64(at)*v.spacing + v.extra}, nil
}
