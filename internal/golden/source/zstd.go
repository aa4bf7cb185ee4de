package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is the memory that one zstd frame may ask for: what
// zstd --long=27 makes, and what zstd -d accepts without being told.
const maxWindow = 128 << 20

// newZstd decompresses a sequence of zstd frames, skippable ones included.
func newZstd(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(&frames{r: r, want: 4}, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// frames passes zstd data through and follows its framing (RFC 8878), because
// the decoder takes one to three bytes after the last frame for the end: a
// download cut in the magic of a further frame, or garbage, would pass.
type frames struct {
	r io.Reader

	part part
	buf  [18]byte // the part being collected; a frame header is the longest
	have int      // bytes of it in buf
	want int      // bytes of it in all
	skip int64    // bytes of a body still to pass

	checksum bool // the frame ends with one
	last     bool // the block is the frame's last
}

// part is the piece of framing that comes next.
type part int

const (
	partMagic part = iota
	partSkippable
	partDescriptor
	partHeader
	partBlock
	partChecksum
)

const (
	zstdMagic      = 0xfd2fb528
	skippableMagic = 0x184d2a50 // its low four bits are free
)

func isSkippableFrame(b []byte) bool {
	return len(b) >= 4 && binary.LittleEndian.Uint32(b)&^0xf == skippableMagic
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if scanErr := f.scan(p[:n]); scanErr != nil {
		return 0, scanErr
	}
	if errors.Is(err, io.EOF) && (f.part != partMagic || f.have > 0 || f.skip > 0) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (f *frames) scan(p []byte) error {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, int64(len(p)))
			f.skip -= n
			p = p[n:]
			continue
		}
		n := copy(f.buf[f.have:f.want], p)
		f.have += n
		p = p[n:]
		if f.have < f.want {
			return nil
		}
		if err := f.next(); err != nil {
			return err
		}
	}
	return nil
}

// next takes a complete part and says which one follows.
func (f *frames) next() error {
	b := f.buf[:f.want]
	le := binary.LittleEndian
	switch f.part {
	case partMagic:
		switch {
		case le.Uint32(b) == zstdMagic:
			f.expect(partDescriptor, 1)
		case isSkippableFrame(b):
			f.expect(partSkippable, 4)
		default:
			return errTrailing
		}
	case partSkippable:
		f.skip = int64(le.Uint32(b))
		f.expect(partMagic, 4)
	case partDescriptor:
		// The descriptor stays in buf: its flags say what the header holds.
		f.part, f.want = partHeader, 1+headerLength(b[0])
	case partHeader:
		if err := checkWindow(b); err != nil {
			return err
		}
		f.checksum = b[0]&4 != 0
		f.expect(partBlock, 3)
	case partBlock:
		v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		f.last = v&1 != 0
		f.skip = int64(v >> 3)
		if v>>1&3 == 1 { // RLE: one byte, repeated
			f.skip = 1
		}
		switch {
		case !f.last:
			f.expect(partBlock, 3)
		case f.checksum:
			f.expect(partChecksum, 4)
		default:
			f.expect(partMagic, 4)
		}
	case partChecksum:
		f.expect(partMagic, 4)
	}
	return nil
}

func (f *frames) expect(p part, n int) { f.part, f.have, f.want = p, 0, n }

// headerLength is the length of the window, dictionary and content size fields
// that frame header descriptor d announces (RFC 8878, 3.1.1.1.1).
func headerLength(d byte) int {
	single := d>>5&1 != 0
	n := [4]int{0, 1, 2, 4}[d&3] + [4]int{0, 2, 4, 8}[d>>6]
	if single && d>>6 == 0 {
		n++
	}
	if !single {
		n++
	}
	return n
}

// checkWindow refuses a frame header that asks for more than maxWindow.
func checkWindow(b []byte) error {
	var h zstd.Header
	magic := binary.LittleEndian.AppendUint32(nil, zstdMagic)
	if err := h.Decode(append(magic, b...)); err != nil {
		return err
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if window > maxWindow {
		return fmt.Errorf("it needs a window of %d MiB to decompress, at most %d are allowed: compress it again with zstd --long=27 or less",
			window>>20, maxWindow>>20)
	}
	return nil
}
