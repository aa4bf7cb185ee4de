// Package lz4 decompresses LZ4.
package lz4

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The LZ4 frame format 1.6.2 (lz4_Frame_format.md) and block format.
const (
	Magic       = "\x04\x22\x4d\x18" // what a frame begins with
	LegacyMagic = "\x02\x21\x4c\x18" // what the legacy frame begins with

	window = 64 << 10 // how far a linked block looks back
	// skippable is the magic of frames that hold something else; its low four
	// bits are free.
	skippable = 0x184d2a50
)

// ErrDamaged is wrapped when the data is not what a packer writes.
var ErrDamaged = errors.New("damaged lz4 data")

// Reader decompresses a sequence of LZ4 frames, skippable ones included. Its
// EOF means that every frame was whole and every checksum right, and that the
// source ends there or continues with something else, which is not read.
type Reader struct {
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

// NewReader makes a Reader of r.
func NewReader(r *bufio.Reader) *Reader { return &Reader{r: r} }

// Read fails with io.ErrUnexpectedEOF in the midst of a frame.
func (z *Reader) Read(p []byte) (int, error) {
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
func (z *Reader) next() error {
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

// header reads what begins a frame; io.EOF where none begins.
func (z *Reader) header() error {
	begin, err := z.r.Peek(4)
	if len(begin) < 4 {
		if len(begin) > 0 {
			err = noEOF(err)
		}
		return err
	}
	skip := binary.LittleEndian.Uint32(begin)&^0xf == skippable
	if !skip && string(begin) != Magic {
		return io.EOF
	}
	var b [4 + 2 + 8 + 4 + 1]byte
	if _, err := io.ReadFull(z.r, b[:4]); err != nil {
		return noEOF(err)
	}
	if skip {
		if _, err := io.ReadFull(z.r, b[4:8]); err != nil {
			return noEOF(err)
		}
		_, err := io.CopyN(io.Discard, z.r, int64(binary.LittleEndian.Uint32(b[4:])))
		return noEOF(err)
	}
	if _, err := io.ReadFull(z.r, b[4:6]); err != nil {
		return noEOF(err)
	}
	flags, size := b[4], b[5]>>4
	if flags>>6 != 1 || flags&2 != 0 || b[5]&0x8f != 0 || size < 4 {
		return fmt.Errorf("%w: a frame of an unknown version", ErrDamaged)
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
		return fmt.Errorf("%w: the checksum of a frame's header is wrong", ErrDamaged)
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

func (z *Reader) block(size int, stored bool) error {
	if size > z.max {
		return fmt.Errorf("%w: a block of %d bytes, at most %d", ErrDamaged, size, z.max)
	}
	want := size
	if z.sums {
		want += 4
	}
	var err error
	if z.packed, err = readBlock(z.r, z.packed, want); err != nil {
		return err
	}
	if z.sums && sum32(z.packed[:size]) != binary.LittleEndian.Uint32(z.packed[size:]) {
		return fmt.Errorf("%w: the checksum of a block is wrong", ErrDamaged)
	}
	keep := 0
	if z.linked {
		keep = min(len(z.out), window)
	}
	z.out = append(z.out[:0], z.out[len(z.out)-keep:]...)
	if stored {
		z.out = append(z.out, z.packed[:size]...)
	} else {
		if z.out, err = Block(z.out, z.packed[:size], keep+z.max); err != nil {
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
func (z *Reader) end() error {
	z.inFrame = false
	if z.length >= 0 && z.length != z.got {
		return fmt.Errorf("%w: a frame of %d bytes that should have %d", ErrDamaged, z.got, z.length)
	}
	if z.sum == nil {
		return nil
	}
	var b [4]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return noEOF(err)
	}
	if z.sum.sum() != binary.LittleEndian.Uint32(b[:]) {
		return fmt.Errorf("%w: the checksum of the content is wrong", ErrDamaged)
	}
	return nil
}

// Block appends to out what a block holds, which may look back into what is
// there, up to limit bytes in all. It fails with [ErrDamaged].
func Block(out, src []byte, limit int) ([]byte, error) {
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
			return nil, ErrDamaged
		}
		out = append(out, src[:literals]...)
		if src = src[literals:]; len(src) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(src) < 2 {
			return nil, ErrDamaged
		}
		offset := int(binary.LittleEndian.Uint16(src))
		src = src[2:]
		length, ok := long(int(token & 15))
		if length += 4; !ok || offset == 0 || offset > len(out) || len(out)+length > limit {
			return nil, ErrDamaged
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

// readBlock fills buf with n bytes. Memory is taken as bytes arrive, not as a
// header claims.
func readBlock(r io.Reader, buf []byte, n int) ([]byte, error) {
	const piece = 64 << 10
	for buf = buf[:0]; len(buf) < n; {
		more := min(piece, n-len(buf))
		buf = slices.Grow(buf, more)
		if _, err := io.ReadFull(r, buf[len(buf):len(buf)+more]); err != nil {
			return buf, noEOF(err)
		}
		buf = buf[:len(buf)+more]
	}
	return buf, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
