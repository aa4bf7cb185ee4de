package lz4

import (
	"encoding/binary"
	"io"
)

// legacyBlock is what each block of a legacy frame unpacks to, in bytes; the
// last one may hold less.
const legacyBlock = 8 << 20

// LegacyReader decompresses one legacy frame (lz4_Frame_format.md, "Legacy
// frame"), which is what kernels and initramfs images are packed with. Such a
// frame has neither a length nor checksums.
type LegacyReader struct {
	r      io.Reader
	opened bool
	packed []byte
	out    []byte
	rest   []byte // of out: not yet read
}

// NewLegacyReader makes a LegacyReader of r.
func NewLegacyReader(r io.Reader) *LegacyReader { return &LegacyReader{r: r} }

// Read ends with io.EOF where the source ends after a block, or where no block
// can follow because of its length: the kernel's build appends the unpacked
// size to packed data. It fails with [ErrDamaged] or io.ErrUnexpectedEOF.
func (z *LegacyReader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if err := z.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

func (z *LegacyReader) block() error {
	var b [4]byte
	if !z.opened {
		if _, err := io.ReadFull(z.r, b[:]); err != nil {
			return noEOF(err)
		}
		if string(b[:]) != LegacyMagic {
			return ErrDamaged
		}
		z.opened = true
	}
	for again := true; again; again = string(b[:]) == LegacyMagic { // frames may be joined
		if _, err := io.ReadFull(z.r, b[:]); err != nil {
			return err
		}
	}
	size := binary.LittleEndian.Uint32(b[:])
	if size > legacyBlock+legacyBlock/255+16 {
		return io.EOF
	}
	var err error
	if z.packed, err = readBlock(z.r, z.packed, int(size)); err != nil {
		return err
	}
	z.out, err = Block(z.out[:0], z.packed, legacyBlock)
	z.rest = z.out
	return err
}
