package source

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// The LZ4 frame format 1.6.2 (lz4_Frame_format.md) and block format.
const (
	lz4Magic  = "\x04\x22\x4d\x18"
	lz4Window = 64 << 10 // how far a linked block looks back
)

var errLZ4 = errors.New("damaged lz4 data")

// lz4Reader decompresses a sequence of LZ4 frames, skippable ones included. Its
// EOF means that every frame was whole and every checksum right.
type lz4Reader struct {
	r *bufio.Reader

	inFrame bool
	linked  bool // blocks look back into those before
	sums    bool // blocks have checksums
	sum     *xxh32
	length  int64 // what the frame says to hold; -1: nothing
	got     int64
	max     int // bytes of one block

	packed []byte
	out    []byte // the window and, behind it, the last block
	rest   []byte // of out: not yet read
}

func newLZ4(r *bufio.Reader) io.ReadCloser { return io.NopCloser(&lz4Reader{r: r}) }

func (z *lz4Reader) Read(p []byte) (int, error) {
	for len(z.rest) == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next reads the header of a frame, a block, or the end of a frame.
func (z *lz4Reader) next() error {
	if !z.inFrame {
		return z.header()
	}
	var b [4]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return noEOF(err)
	}
	size := binary.LittleEndian.Uint32(b[:])
	if size == 0 {
		return z.end()
	}
	return z.block(int(size&^(1<<31)), size>>31 == 1)
}

// header reads what begins a frame; io.EOF where the source ends instead.
func (z *lz4Reader) header() error {
	if _, err := z.r.Peek(1); err != nil {
		return err
	}
	var b [4 + 2 + 8 + 4 + 1]byte
	if _, err := io.ReadFull(z.r, b[:4]); err != nil {
		return noEOF(err)
	}
	if isSkippableFrame(b[:4]) {
		if _, err := io.ReadFull(z.r, b[4:8]); err != nil {
			return noEOF(err)
		}
		_, err := io.CopyN(io.Discard, z.r, int64(binary.LittleEndian.Uint32(b[4:])))
		return noEOF(err)
	}
	if string(b[:4]) != lz4Magic {
		return errTrailing
	}
	if _, err := io.ReadFull(z.r, b[4:6]); err != nil {
		return noEOF(err)
	}
	flags, size := b[4], b[5]>>4
	if flags>>6 != 1 || flags&2 != 0 || b[5]&0x8f != 0 || size < 4 {
		return fmt.Errorf("%w: a frame of an unknown version", errLZ4)
	}
	if flags&1 != 0 {
		return errors.New("it was packed with a dictionary, which is not in it: unpack it first")
	}
	n := 6
	z.length = -1
	if flags&8 != 0 {
		if _, err := io.ReadFull(z.r, b[6:14]); err != nil {
			return noEOF(err)
		}
		z.length, n = int64(binary.LittleEndian.Uint64(b[6:])), 14
	}
	if _, err := io.ReadFull(z.r, b[n:n+1]); err != nil {
		return noEOF(err)
	}
	if want := sum32(b[4:n]); b[n] != byte(want>>8) {
		return fmt.Errorf("%w: the checksum of a frame's header is wrong", errLZ4)
	}
	z.linked, z.sums = flags&0x20 == 0, flags&0x10 != 0
	z.max, z.got, z.inFrame = 1<<(8+2*size), 0, true
	z.sum = nil
	if flags&4 != 0 {
		z.sum = newXXH32()
	}
	z.out = z.out[:0]
	return nil
}

func (z *lz4Reader) block(size int, stored bool) error {
	if size > z.max {
		return fmt.Errorf("%w: a block of %d bytes, at most %d", errLZ4, size, z.max)
	}
	want := size
	if z.sums {
		want += 4
	}
	if cap(z.packed) < want {
		z.packed = make([]byte, want)
	}
	z.packed = z.packed[:want]
	if _, err := io.ReadFull(z.r, z.packed); err != nil {
		return noEOF(err)
	}
	if z.sums && sum32(z.packed[:size]) != binary.LittleEndian.Uint32(z.packed[size:]) {
		return fmt.Errorf("%w: the checksum of a block is wrong", errLZ4)
	}
	keep := 0
	if z.linked {
		keep = min(len(z.out), lz4Window)
	}
	z.out = append(z.out[:0], z.out[len(z.out)-keep:]...)
	if stored {
		z.out = append(z.out, z.packed[:size]...)
	} else {
		var err error
		if z.out, err = lz4Block(z.out, z.packed[:size], keep+z.max); err != nil {
			return err
		}
	}
	z.rest = z.out[keep:]
	z.got += int64(len(z.rest))
	if z.sum != nil {
		z.sum.write(z.rest)
	}
	return nil
}

// end holds a frame to what it says of itself.
func (z *lz4Reader) end() error {
	z.inFrame = false
	if z.length >= 0 && z.length != z.got {
		return fmt.Errorf("%w: a frame of %d bytes that should have %d", errLZ4, z.got, z.length)
	}
	if z.sum == nil {
		return nil
	}
	var b [4]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return noEOF(err)
	}
	if z.sum.sum() != binary.LittleEndian.Uint32(b[:]) {
		return fmt.Errorf("%w: the checksum of the content is wrong", errLZ4)
	}
	return nil
}

// lz4Block appends what a block holds to out, which may look back into what is
// there, up to limit bytes in all.
func lz4Block(out, src []byte, limit int) ([]byte, error) {
	long := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for len(src) > 0 && n <= limit {
			b := src[0]
			src = src[1:]
			if n += int(b); b != 255 {
				return n, true
			}
		}
		return 0, false
	}
	for len(src) > 0 {
		token := src[0]
		src = src[1:]
		literals, ok := long(int(token >> 4))
		if !ok || literals > len(src) || len(out)+literals > limit {
			return nil, errLZ4
		}
		out = append(out, src[:literals]...)
		if src = src[literals:]; len(src) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(src) < 2 {
			return nil, errLZ4
		}
		offset := int(binary.LittleEndian.Uint16(src))
		src = src[2:]
		length, ok := long(int(token & 15))
		if length += 4; !ok || offset == 0 || offset > len(out) || len(out)+length > limit {
			return nil, errLZ4
		}
		// A match may reach into itself: then it repeats.
		for from := len(out) - offset; length > 0; {
			n := min(length, offset)
			out = append(out, out[from:from+n]...)
			from, length = from+n, length-n
		}
	}
	return out, nil
}

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
