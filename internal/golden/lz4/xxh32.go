package lz4

import (
	"encoding/binary"
	"math/bits"
)

// xxh32 is the checksum of LZ4 (xxHash, XXH32 with seed 0).
type xxh32 struct {
	acc   [4]uint32
	buf   []byte
	total uint64
}

const (
	xxP1, xxP2, xxP3 uint32 = 2654435761, 2246822519, 3266489917
	xxP4, xxP5       uint32 = 668265263, 374761393
)

func newXXH32() *xxh32 {
	first, last := xxP1, uint32(0)
	first, last = first+xxP2, last-xxP1 // which wrap around, as constants must not
	return &xxh32{acc: [4]uint32{first, xxP2, 0, last}}
}

func (x *xxh32) write(p []byte) {
	x.total += uint64(len(p))
	if len(x.buf) > 0 {
		n := min(16-len(x.buf), len(p))
		x.buf = append(x.buf, p[:n]...)
		if p = p[n:]; len(x.buf) < 16 {
			return
		}
		x.lane(x.buf)
		x.buf = x.buf[:0]
	}
	for ; len(p) >= 16; p = p[16:] {
		x.lane(p)
	}
	x.buf = append(x.buf, p...)
}

func (x *xxh32) lane(p []byte) {
	for i := range x.acc {
		x.acc[i] = bits.RotateLeft32(x.acc[i]+binary.LittleEndian.Uint32(p[4*i:])*xxP2, 13) * xxP1
	}
}

func (x *xxh32) sum() uint32 {
	h := xxP5
	if x.total >= 16 {
		h = bits.RotateLeft32(x.acc[0], 1) + bits.RotateLeft32(x.acc[1], 7) + bits.RotateLeft32(x.acc[2], 12) + bits.RotateLeft32(x.acc[3], 18)
	}
	h += uint32(x.total)
	p := x.buf
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*xxP3, 17) * xxP4
	}
	for _, b := range p {
		h = bits.RotateLeft32(h+uint32(b)*xxP5, 11) * xxP1
	}
	h = (h ^ h>>15) * xxP2
	h = (h ^ h>>13) * xxP3
	return h ^ h>>16
}

func sum32(p []byte) uint32 {
	x := newXXH32()
	x.write(p)
	return x.sum()
}
